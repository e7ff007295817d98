"""Handing bundles to the sinks. A receipt on disk says that it was done, so that `cu publish` knows what is left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from cu_audit.bundle import Bundle
from cu_audit.canonical import canonical
from cu_audit.records import Receipt

from compliance_unlearn.api import EvidenceSink, PublishError, SinkSpec
from compliance_unlearn.registry import Registry
from compliance_unlearn.workspace import Workspace
from compliance_unlearn.workspace.files import write_atomic


class _Phases(Protocol):
    def phase(self, title: str, total: int) -> AbstractContextManager[Any]: ...


def publish(
    bundle: Bundle, workspace: Workspace, registry: Registry, phases: _Phases
) -> tuple[tuple[Receipt, ...], PublishError | None]:
    """Publish to every sink of the workspace that has no receipt for this bundle yet.

    Returns:
        All receipts, and the first failure; a sink that fails does not keep the others from being tried.
    """
    receipts: list[Receipt] = []
    failure: PublishError | None = None
    for name, params in workspace.file.evidence.sinks.items():
        stored = receipt_path(workspace, bundle, name)
        if stored.exists():
            receipts.append(Receipt.model_validate_json(stored.read_bytes()))
            continue
        try:
            with phases.phase(f"Publishing to {name}", 1) as advance:
                receipt = open_sink(workspace, registry, name, params).publish(bundle)
                advance()
        except PublishError as error:
            failure = failure or error
            continue
        stored.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(stored, canonical(receipt))
        receipts.append(receipt)
    return tuple(receipts), failure


def open_sink(workspace: Workspace, registry: Registry, name: str, params: dict[str, Any]) -> EvidenceSink:
    """The sink that the workspace names."""
    registered = registry.find(SinkSpec, name)
    sink = registry.make(registered, registry.params(registered, params), workspace.root)
    assert isinstance(sink, EvidenceSink)
    return sink


def receipt_path(workspace: Workspace, bundle: Bundle, sink: str) -> Path:
    """Where the receipt of a sink for a bundle is kept: beside the bundles, which are sealed."""
    return workspace.evidence / "receipts" / bundle.folder.name / f"{sink}.json"


def unpublished(workspace: Workspace, bundles: Iterator[Bundle]) -> Iterator[Bundle]:
    """Bundles that lack the receipt of some sink of the workspace."""
    for bundle in bundles:
        if any(not receipt_path(workspace, bundle, sink).exists() for sink in workspace.file.evidence.sinks):
            yield bundle
