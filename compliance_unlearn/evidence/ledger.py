"""The ledger of a workspace: appended atomically, read with verification."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from cu_audit.bundle import Bundle, BundleError
from cu_audit.canonical import canonical, sha256
from cu_audit.ledger import LedgerError, read_ledger
from cu_audit.records import Candidate, LedgerEntry, RunResult

from compliance_unlearn.api import WorkspaceError
from compliance_unlearn.workspace.files import write_atomic

LEDGER = "ledger.jsonl"


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
        try:
            bundle = Bundle(self._evidence / entry.bundle)
        except BundleError as error:
            raise WorkspaceError(f"evidence is damaged: {error}") from error
        if bundle.sha256 != entry.bundle_sha256:
            raise WorkspaceError(f"evidence is damaged: {entry.bundle} is not the bundle that the ledger recorded")
        return bundle

    def result(self, entry: LedgerEntry) -> RunResult:
        """What the run of an entry found."""
        return self.bundle(entry).result

    def in_force(self, earlier: RunResult, current: Mapping[str, Candidate]) -> bool:
        """Whether an earlier run still stands: each of its models is its candidate now, or one derived from that.

        A run that was not promoted stands while the model is the one that it started from.
        """
        return all(
            self._descends(
                current[model.name].sha256,
                model.candidate.sha256 if model.promoted else model.source.sha256,
                model.name,
            )
            for model in earlier.models
        )

    def _descends(self, current: str, ancestor: str, model_name: str) -> bool:
        parents = {
            model.candidate.sha256: model.source.sha256
            for entry in self.entries
            for model in self.result(entry).models
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
        lines = self._path.read_bytes() if self._path.exists() else b""
        entry = LedgerEntry(
            index=len(self.entries),
            previous=sha256(lines.splitlines()[-1]) if lines else None,
            request=bundle.result.request.id,
            plan_digest=bundle.result.plan_digest,
            verdict=bundle.result.verdict,
            bundle=bundle.folder.name,
            bundle_sha256=bundle.sha256,
            recorded=recorded,
        )
        write_atomic(self._path, lines + canonical(entry) + b"\n")
        self.entries.append(entry)
        return entry
