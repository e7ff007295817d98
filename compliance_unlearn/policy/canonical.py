"""The policy as bytes for its digest, and as a copy that may leave the house: without what names a subject."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from cu_audit.canonical import canonical, keyed
from ruamel.yaml import YAML

from compliance_unlearn.api import Selector
from compliance_unlearn.policy.model import LoadedPolicy
from compliance_unlearn.policy.selector import selector_data


def canonical_policy(loaded: LoadedPolicy) -> bytes:
    """Canonical JSON (RFC 8785) of what the policy means: the order of keys, layout and shorthands do not count.

    Holds the selectors, with the ids of an ``ids_file``: take only keyed digests over it.
    """
    return canonical(_with_selectors(loaded, selector_data))


def redacted(loaded: LoadedPolicy, key: bytes) -> dict[str, Any]:
    """The policy with every selector replaced by its HMAC under the key of the request."""
    return _with_selectors(loaded, lambda selector: {"redacted": keyed(key, canonical(selector_data(selector)))})


def redacted_yaml(loaded: LoadedPolicy, key: bytes) -> str:
    """`redacted` as a YAML file. Comments of the original are dropped: they may name the subject."""
    stream = io.StringIO()
    yaml = YAML()
    yaml.width = 4096
    yaml.dump(redacted(loaded, key), stream)
    return stream.getvalue()


def _with_selectors(loaded: LoadedPolicy, show: Callable[[Selector], dict[str, Any]]) -> dict[str, Any]:
    data: dict[str, Any] = loaded.policy.model_dump(mode="json", exclude_none=True)
    data["forget"]["where"] = show(loaded.forget_selector)
    if loaded.retain_selector is not None:
        data["retain"]["where"] = show(loaded.retain_selector)
    return data
