"""YAML of other people's, of which only plain data is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import AliasEvent, CollectionStartEvent, NodeEvent, ScalarEvent

from compliance_unlearn.api import ModelError

MAX_BYTES = 256 * 1024


def read_yaml(path: Path) -> dict[str, Any]:
    """Read one mapping; tags, anchors and aliases are refused before anything is built.

    Raises:
        ModelError: not such a file.
    """
    if path.stat().st_size > MAX_BYTES:
        raise ModelError(f"{path}: larger than {MAX_BYTES // 1024} KiB; no configuration of a model is")
    try:
        text = path.read_text(encoding="utf-8-sig")
        for event in YAML(typ="safe", pure=True).parse(text):
            if isinstance(event, AliasEvent) or (isinstance(event, NodeEvent) and event.anchor):
                raise ModelError(f"{path}: anchors and aliases (& and *) are not read; write the value out")
            if isinstance(event, ScalarEvent | CollectionStartEvent) and event.ctag is not None:
                raise ModelError(f"{path}: tags (!) are not read; a configuration of a model is plain data")
        content = YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: not valid YAML") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path}: must hold keys and values")
    return content
