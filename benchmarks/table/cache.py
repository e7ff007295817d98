"""Results that were computed before are read, not computed again: an interrupted run goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cu_audit.canonical import canonical

from compliance_unlearn.workspace import write_atomic

KEY_DIGITS = 16


def key_of(settings: Mapping[str, Any]) -> str:
    """A short name for settings: equal ones have the same, on every machine."""
    return hashlib.sha256(canonical(dict(settings))).hexdigest()[:KEY_DIGITS]


def cached(folder: Path, settings: Mapping[str, Any], compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The result for these settings, from its file in ``folder`` if there is one.

    The file holds the settings, too, so that a person can see what it is the result of.
    """
    path = folder / f"{key_of(settings)}.json"
    if path.exists():
        content: dict[str, Any] = json.loads(path.read_bytes())
        return dict(content["result"])
    result = compute()
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"settings": dict(settings), "result": result}, indent=1, sort_keys=True, allow_nan=False)
    write_atomic(path, text.encode())
    return result
