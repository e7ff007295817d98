"""What follows a sealed bundle: ledger, lineage, sinks, promotion. Each step finds out whether it was done already."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from cu_audit.bundle import POLICY, Bundle
from cu_audit.canonical import files_sha256, folder_files
from cu_audit.records import LedgerEntry, ModelResult, Outcome, Receipt

from compliance_unlearn.api import LineageStep, PublishError, WorkspaceError
from compliance_unlearn.engine.measuring import require_unchanged
from compliance_unlearn.engine.planning import ResolvedPlan
from compliance_unlearn.engine.reporting import Reporter
from compliance_unlearn.engine.standing import StandingObligations
from compliance_unlearn.evidence.ledger import Ledger
from compliance_unlearn.evidence.publishing import publish
from compliance_unlearn.workspace import current_version, promote


@dataclass(frozen=True)
class Settled:
    """The bundle is in the ledger; what could not be published waits for `cu publish`."""

    entry: LedgerEntry
    receipts: tuple[Receipt, ...]
    unpublished: PublishError | None


class Settlement:
    """Brings the workspace to where a sealed bundle says that it should be."""

    def __init__(self, resolved: ResolvedPlan, reporter: Reporter, clock: Callable[[], datetime]) -> None:
        self._resolved = resolved
        self._workspace = resolved.workspace
        self._reporter = reporter
        self._clock = clock

    def settle(self, bundle: Bundle) -> Settled:
        """Do what is not done yet.

        Raises:
            WorkspaceError: a candidate is not the one that was sealed, another version took the model's place during
                the run, or the lineage cannot be recorded. The evidence is safe; the message says what to do.
        """
        ledger = Ledger(self._workspace.evidence)
        waiting = [model for model in bundle.result.models if model.promoted and not self._in_use(ledger, model)]
        for model in waiting:
            require_unchanged(self._workspace.root / model.candidate.path, model.candidate.files)
        if bundle.result.verdict is Outcome.COMPLIANT:
            forgotten = {name: sets.sets for name, sets in self._resolved.sets.items()}
            StandingObligations(self._workspace).remember(bundle.folder.name, forgotten)
        entry = ledger.append(bundle, self._clock())
        self._record_lineage(bundle)
        receipts, unpublished = publish(bundle, self._workspace, self._resolved.registry, self._reporter)
        for model in waiting:
            self._promote(ledger, model)
        return Settled(entry, receipts, unpublished)

    def _in_use(self, ledger: Ledger, model: ModelResult) -> bool:
        """Whether the model is the candidate already, or a later version derived from it."""
        current = current_version(self._workspace, self._workspace.file.models[model.name])
        return ledger.descends(model.name, files_sha256(folder_files(current)), model.candidate.sha256)

    def _promote(self, ledger: Ledger, model: ModelResult) -> None:
        entry = self._workspace.file.models[model.name]
        expected = {model.source.sha256}
        if self._resolved.superseded is not None:
            expected |= {other.candidate.sha256 for other in ledger.result(self._resolved.superseded).models}
        if files_sha256(folder_files(current_version(self._workspace, entry))) not in expected:
            raise WorkspaceError(
                f"the evidence is sealed, but {model.name} was replaced by another version during the run; "
                "look at `cu plan` and apply again"
            )
        promote(self._workspace, entry, self._workspace.root / model.candidate.path)

    def _record_lineage(self, bundle: Bundle) -> None:
        with self._reporter.phase("Recording the lineage", len(bundle.result.models)) as advance:
            for model in bundle.result.models:
                training = self._workspace.file.models[model.name].training
                self._resolved.lineage_store.record(
                    LineageStep(
                        name=f"{model.name}-{bundle.folder.name}",
                        command=f": cu apply, request {bundle.result.request.id}",
                        inputs=(
                            self._workspace.relative(bundle.folder / POLICY),
                            self._workspace.file.datasets[training.dataset].path,
                            model.source.path,
                        ),
                        output=model.candidate.path,
                    )
                )
                advance()
