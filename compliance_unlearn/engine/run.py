"""Carrying out a plan: measure, unlearn, measure again, decide, seal the evidence, and only then replace a model.

Every step leaves something complete on disk or nothing, and finds out what is there already. A run that was killed is
carried on by calling `apply` again.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import torch
from cu_audit.bundle import PLAN, Bundle
from cu_audit.canonical import canonical
from cu_audit.records import LedgerEntry, Receipt, RequestRecord, RunResult

from compliance_unlearn.api import PolicyError, PublishError, WorkspaceError
from compliance_unlearn.engine.environment import environment
from compliance_unlearn.engine.measured import Measured, Prepared, correct_by_holm
from compliance_unlearn.engine.measuring import ModelRun
from compliance_unlearn.engine.pictures import report_pictures
from compliance_unlearn.engine.planning import ResolvedPlan
from compliance_unlearn.engine.reporting import Reporter
from compliance_unlearn.engine.room import require_room
from compliance_unlearn.engine.settling import Settlement
from compliance_unlearn.engine.verdict import decide, sentence
from compliance_unlearn.evidence.ledger import open_bundle
from compliance_unlearn.evidence.sealing import seal_bundle
from compliance_unlearn.policy import redacted_yaml
from compliance_unlearn.workspace.files import full_disk_is_an_error

WORLDS_KEPT = 3
"""Whose outputs are kept for the time of a run, beside those of the candidate of each seed: the original's, those on
noise, and the reference's."""

NOISE_KEPT = 4096
"""Outputs on noise images that are kept beside: more than the checks ask for."""


@dataclass(frozen=True)
class Applied:
    """What `apply` hands back: the evidence, where it is, and what could not be published."""

    bundle: Bundle
    entry: LedgerEntry
    receipts: tuple[Receipt, ...]
    unpublished: PublishError | None
    reused: bool


class Run:
    """One plan being carried out."""

    def __init__(
        self, resolved: ResolvedPlan, *, reporter: Reporter, clock: Callable[[], datetime], device: torch.device
    ) -> None:
        self._resolved = resolved
        self._workspace = resolved.workspace
        self._reporter = reporter
        self._clock = clock
        self._device = device
        self._name = f"{resolved.plan.request}-{resolved.short_digest}"
        self._state = self._workspace.state / "runs" / self._name
        self._bundle_folder = self._workspace.evidence / self._name

    def apply(self) -> Applied:
        """Do what is not done yet. The caller holds the workspace's lock.

        Raises:
            PolicyError: a reviewer of the plan blocks it.
            DataError: a file is missing, changed, or not an image; nothing was changed.
            ModelError: weights cannot be used; nothing was changed.
            WorkspaceError: the disk is full, or the workspace is damaged.
        """
        with full_disk_is_an_error(self._workspace.root):
            reused = self._bundle_folder.exists()
            if not reused:
                self._refuse_blocked()
                self._sweep()
                self._check_space()
                self._carry_out()
            bundle = open_bundle(self._bundle_folder)
            self._require_same_plan(bundle)
            settled = Settlement(self._resolved, self._reporter, self._clock).settle(bundle)
            shutil.rmtree(self._state, ignore_errors=True)
        if not reused:
            for warning in self._resolved.registry.finished(bundle.result):
                self._reporter.note(warning)
        return Applied(bundle, settled.entry, settled.receipts, settled.unpublished, reused)

    def _refuse_blocked(self) -> None:
        blocking = [finding.message for finding in self._resolved.findings if finding.severity == "block"]
        if blocking:
            raise PolicyError("the plan was blocked: " + "; ".join(blocking))

    def _sweep(self) -> None:
        """Remove what runs of other plans of this request left: they hold outputs on the records to forget."""
        for folder in self._state.parent.glob(f"{self._resolved.plan.request}-*"):
            if folder != self._state and len(folder.name) == len(self._state.name):
                shutil.rmtree(folder)

    def _check_space(self, prepared: Sequence[Prepared] = ()) -> None:
        """Check that there is room; once models and pictures were read, also for what models make of them."""
        worlds = WORLDS_KEPT + self._resolved.plan.seeds
        outputs = 0
        for made in (model.worlds for model in prepared):
            outputs += made.bytes_of(NOISE_KEPT) + worlds * (made.bytes_of_sets + made.bytes_of_features)
        outputs = max(0, outputs - sum(path.stat().st_size for path in self._state.glob("*/outputs/*")))
        weights = sum(
            (self._workspace.root / model.source.path / name).stat().st_size
            for model in self._resolved.plan.models
            for name in model.source.files
        )
        require_room(self._workspace.root, weights * self._resolved.plan.seeds, outputs)

    def _require_same_plan(self, bundle: Bundle) -> None:
        """A bundle that was found must be the one of this very plan."""
        plan, result = self._resolved.plan, bundle.result
        same = (
            (bundle.folder / PLAN).read_bytes() == canonical(plan)
            and result.plan_digest == self._resolved.digest
            and result.request.id == plan.request
            and {model.name: model.source for model in result.models} == {m.name: m.source for m in plan.models}
        )
        if not same:
            raise WorkspaceError(f"evidence is damaged: the bundle {bundle.folder.name} is not that of this plan")

    def _carry_out(self) -> None:
        started = self._clock()
        models = ModelRun(
            self._resolved,
            state=self._state,
            name=self._name,
            reporter=self._reporter,
            device=self._device,
            keeps_outputs=True,
        )
        # All models first, so that one that cannot be used is found before another one is changed.
        models.checks.require()
        prepared = [models.prepare(planned) for planned in self._resolved.plan.models]
        for model in prepared:
            models.require_reference(model)
        self._check_space(prepared)
        measured = [models.carry_out(model) for model in prepared]
        result = self._result(measured, started)
        pictures = {
            model.prepared.planned.name: report_pictures(
                self._workspace, model.prepared.sets, model.prepared.worlds, result.verdict
            )
            for model in measured
        }
        with self._reporter.phase("Sealing the evidence", 1) as advance:
            seal_bundle(
                self._bundle_folder,
                result=result,
                plan=self._resolved.plan,
                policy_yaml=redacted_yaml(self._resolved.policy, self._resolved.key),
                pictures=pictures,
            )
            advance()

    def _result(self, measured: list[Measured], started: datetime) -> RunResult:
        plan = self._resolved.plan
        correct_by_holm(measured)
        checks = {model.prepared.planned.name: model.checked.results for model in measured}
        outcome = decide([check for results in checks.values() for check in results])
        return RunResult(
            request=RequestRecord(
                id=plan.request, ground=plan.ground, received=plan.received.isoformat(), due=plan.due.isoformat()
            ),
            plan_digest=self._resolved.digest,
            verdict=outcome,
            sentence=sentence(outcome, checks),
            started=started,
            finished=self._clock(),
            lineage=plan.models[0].lineage,
            models=tuple(
                model.result(outcome, self._workspace.relative(model.unlearned.folder), self._device)
                for model in measured
            ),
            environment=environment(self._resolved.registry, self._device),
            not_reached=plan.not_reached,
        )
