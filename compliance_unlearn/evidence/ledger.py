"""The ledger of a workspace: appended atomically, read with verification."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from pathlib import Path

from cu_audit.bundle import Bundle, BundleError
from cu_audit.canonical import canonical, sha256
from cu_audit.ledger import LedgerError, read_ledger
from cu_audit.records import Candidate, LedgerEntry, RunResult

from compliance_unlearn.api import WorkspaceError
from compliance_unlearn.workspace.files import write_atomic

LEDGER = "ledger.jsonl"


def open_bundle(folder: Path) -> Bundle:
    """Open a bundle of the workspace.

    Raises:
        WorkspaceError: it is missing, incomplete, or was changed after it was sealed.
    """
    try:
        return Bundle(folder)
    except BundleError as error:
        raise WorkspaceError(f"evidence is damaged: {error}; restore it from a backup") from error


class Ledger:
    """All bundles of a workspace, in the order in which they were sealed."""

    def __init__(self, evidence: Path) -> None:
        """Read and verify.

        Raises:
            WorkspaceError: the chain is broken.
        """
        self._evidence = evidence
        self._path = evidence / LEDGER
        try:
            self.entries = read_ledger(self._path)
        except LedgerError as error:
            raise WorkspaceError(f"the ledger is damaged: {error}; restore it from a backup") from error

    def of_request(self, request: str) -> list[LedgerEntry]:
        """Entries of one request, oldest first."""
        return [entry for entry in self.entries if entry.request == request]

    def bundle(self, entry: LedgerEntry) -> Bundle:
        """The bundle of an entry, verified.

        Raises:
            WorkspaceError: it is missing, or is not the one that was recorded.
        """
        bundle = open_bundle(self._evidence / entry.bundle)
        if entry != _entry(bundle, entry.index, entry.previous, entry.recorded):
            raise WorkspaceError(f"evidence is damaged: the ledger's line for {entry.bundle} does not fit that bundle")
        return bundle

    def result(self, entry: LedgerEntry) -> RunResult:
        """What the run of an entry found."""
        return self._results[entry.bundle]

    def in_force(self, earlier: RunResult, current: Mapping[str, Candidate]) -> bool:
        """Whether an earlier run still stands, or only waits for its candidates to be promoted.

        That is so if each of its models is the one that it started from, its candidate, or one derived from that.
        """
        return all(
            current[model.name].sha256 == model.source.sha256
            or (model.promoted and self.descends(model.name, current[model.name].sha256, model.candidate.sha256))
            for model in earlier.models
        )

    def descends(self, model_name: str, current: str, ancestor: str) -> bool:
        """Whether weights are ``ancestor`` or were derived from it by promoted runs; both are SHA-256 of folders."""
        parents = {
            model.candidate.sha256: model.source.sha256
            for result in self._results.values()
            for model in result.models
            if model.name == model_name and model.promoted
        }
        seen: set[str] = set()
        while current != ancestor and current in parents and current not in seen:
            seen.add(current)
            current = parents[current]
        return current == ancestor

    def append(self, bundle: Bundle, recorded: datetime) -> LedgerEntry:
        """Record a bundle; one that is recorded already is returned as it stands."""
        for entry in self.entries:
            if entry.bundle_sha256 == bundle.sha256:
                return entry
        lines = self._path.read_bytes().splitlines() if self._path.exists() else []
        entry = _entry(bundle, len(self.entries), sha256(lines[-1]) if lines else None, recorded)
        self._evidence.mkdir(parents=True, exist_ok=True)
        write_atomic(self._path, b"\n".join([*lines, canonical(entry), b""]))
        self.entries.append(entry)
        self.__dict__.pop("_results", None)
        return entry

    @cached_property
    def _results(self) -> dict[str, RunResult]:
        return {entry.bundle: self.bundle(entry).result for entry in self.entries}


def _entry(bundle: Bundle, index: int, previous: str | None, recorded: datetime) -> LedgerEntry:
    result = bundle.result
    return LedgerEntry(
        index=index,
        previous=previous,
        request=result.request.id,
        plan_digest=result.plan_digest,
        verdict=result.verdict,
        bundle=bundle.folder.name,
        bundle_sha256=bundle.sha256,
        recorded=recorded,
    )
