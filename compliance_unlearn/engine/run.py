"""Carrying out a plan: measure, unlearn, measure again, decide, seal the evidence, and only then replace a model.

Every step leaves something complete on disk or nothing, and finds out what is there already. A run that was killed is
carried on by calling `apply` again.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from time import monotonic

import torch
from cu_audit.bundle import Bundle
from cu_audit.records import (
    SETS,
    BeforeAfter,
    CheckResult,
    LedgerEntry,
    ModelResult,
    Outcome,
    Receipt,
    RequestRecord,
    RunResult,
)

from compliance_unlearn.api import (
    AdapterSpec,
    Check,
    CheckSpec,
    LineageStep,
    ModelAdapter,
    PolicyError,
    PublishError,
    Strategy,
    StrategyContext,
    StrategySpec,
    WorkspaceError,
    World,
)
from compliance_unlearn.api.plan import PlannedModel
from compliance_unlearn.engine.environment import environment
from compliance_unlearn.engine.images import RecordImages
from compliance_unlearn.engine.noise import GaussianNoise, identity_noise, training_noise
from compliance_unlearn.engine.pictures import report_pictures
from compliance_unlearn.engine.planning import ResolvedPlan
from compliance_unlearn.engine.randomness import generator_for
from compliance_unlearn.engine.reporting import Reporter
from compliance_unlearn.engine.sets import ModelSets
from compliance_unlearn.engine.unlearning import Unlearned, Unlearning
from compliance_unlearn.engine.verdict import decide, sentence
from compliance_unlearn.engine.worlds import MeasuredWorlds
from compliance_unlearn.evidence.ledger import Ledger
from compliance_unlearn.evidence.pictures import ReportPictures
from compliance_unlearn.evidence.publishing import publish
from compliance_unlearn.evidence.sealing import seal_bundle
from compliance_unlearn.policy import redacted_yaml
from compliance_unlearn.workspace import current_version, promote

SPARE_BYTES = 64 * 2**20
"""Room on the disk that a run asks for beside four times the weights."""


@dataclass(frozen=True)
class Applied:
    """What `apply` hands back: the evidence, where it is, and what could not be published."""

    bundle: Bundle
    entry: LedgerEntry
    receipts: tuple[Receipt, ...]
    unpublished: PublishError | None
    reused: bool


@dataclass(frozen=True)
class _Prepared:
    """One model of the run, read into memory: nothing was changed yet.

    Attributes:
        original: the weights in use, frozen.
        images: decoded images of each set that is not empty.
        retain: those that the optimiser may use, None without retain data.
        seconds: that reading took.
        notes: what was done to the images, in words.
    """

    planned: PlannedModel
    sets: ModelSets
    original: ModelAdapter
    images: dict[str, RecordImages]
    retain: RecordImages | None
    noise: GaussianNoise
    worlds: MeasuredWorlds
    seconds: float
    notes: tuple[str, ...]


@dataclass
class _Measured:
    """One model of the run, measured: pieces of its `ModelResult`."""

    planned: PlannedModel
    unlearned: Unlearned
    worlds: MeasuredWorlds
    sets: ModelSets
    checks: list[CheckResult] = field(default_factory=list)
    metrics: dict[str, dict[str, BeforeAfter]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        started = monotonic()
        yield
        self.seconds[phase] = self.seconds.get(phase, 0.0) + monotonic() - started


class Run:
    """One plan being carried out."""

    def __init__(
        self, resolved: ResolvedPlan, *, reporter: Reporter, clock: Callable[[], datetime], device: torch.device
    ) -> None:
        self._resolved = resolved
        self._workspace = resolved.workspace
        self._registry = resolved.registry
        self._reporter = reporter
        self._clock = clock
        self._device = device
        name = f"{resolved.plan.request}-{resolved.short_digest}"
        self._state = self._workspace.state / "runs" / name
        self._version_name = name
        self._bundle_folder = self._workspace.evidence / name

    def apply(self) -> Applied:
        """Do what is not done yet. The caller holds the workspace's lock.

        Raises:
            PolicyError: a reviewer of the plan blocks it.
            DataError: a file is missing, changed, or not an image; nothing was changed.
            ModelError: weights cannot be used; nothing was changed.
            WorkspaceError: the disk is full, or the workspace is damaged.
        """
        reused = self._bundle_folder.exists()
        if not reused:
            self._refuse_blocked()
            self._check_space()
            self._carry_out()
        bundle = Bundle(self._bundle_folder)
        return self._finish(bundle, reused)

    def _refuse_blocked(self) -> None:
        blocking = [finding.message for finding in self._resolved.findings if finding.severity == "block"]
        if blocking:
            raise PolicyError("the plan was blocked: " + "; ".join(blocking))

    def _check_space(self) -> None:
        weights = sum(
            (self._workspace.root / model.source.path / name).stat().st_size
            for model in self._resolved.plan.models
            for name in model.source.files
        )
        needed, free = 4 * weights + SPARE_BYTES, shutil.disk_usage(self._workspace.root).free
        if free < needed:
            raise WorkspaceError(
                f"the disk is full: the run needs {needed // 2**20} MB, {free // 2**20} MB are free; "
                "nothing was changed"
            )

    # -- the work ----------------------------------------------------------------------------------------------------

    def _carry_out(self) -> None:
        started = self._clock()
        for model in self._resolved.plan.models:
            with self._reporter.phase(f"Checking the files of {model.name}", 1) as advance:
                self._resolved.sets[model.name].verify_files()
                advance()
        # All models first, so that one that cannot be used is found before another one is changed.
        prepared = [self._prepare(model) for model in self._resolved.plan.models]
        measured = [self._one_model(model) for model in prepared]
        outcome = decide([check for model in measured for check in model.checks])
        result = self._result(measured, outcome, started)
        pictures = {
            model.planned.name: report_pictures(self._workspace, model.sets, model.worlds, outcome)
            for model in measured
        }
        self._seal(result, pictures)

    def _prepare(self, planned: PlannedModel) -> _Prepared:
        """Load the weights and decode the images; reads only."""
        sets = self._resolved.sets[planned.name]
        began = monotonic()
        original = self._adapter(planned).load(self._workspace.root / planned.source.path, self._device).replica()
        images = {
            name: RecordImages(sets.dataset.source, records, original.image_shape)
            for name, records in sets.sets.items()
            if records
        }
        retain = self._retain_images(sets, images, original)
        used = [*images.values(), *([retain] if retain is not None else [])]
        with self._reporter.phase(f"Reading the images of {planned.name}", sum(len(part) for part in used)) as advance:
            for part in used:
                part.decode_all(advance)
        noise = self._noise(planned, original, images)
        worlds = MeasuredWorlds(
            sets=images,
            subjects=_subject_numbers(sets, images),
            original_model=original,
            noise=noise,
            original=self._workspace.root / planned.source.path,
            seed=planned.loop.seed,
        )
        notes = tuple(sorted(set().union(*(part.conversions for part in used))))
        return _Prepared(planned, sets, original, images, retain, noise, worlds, monotonic() - began, notes)

    def _one_model(self, prepared: _Prepared) -> _Measured:
        planned, worlds = prepared.planned, prepared.worlds
        began = monotonic()
        with self._reporter.phase(f"Measuring {planned.name} before", sum(worlds.counts.values())) as advance:
            worlds.measure(World.ORIGINAL, advance)
        before = monotonic() - began
        unlearned = self._unlearn(planned, prepared.original, prepared.images, prepared.retain, prepared.noise)
        measured = _Measured(planned, unlearned, worlds, prepared.sets, notes=prepared.notes)
        measured.seconds |= {"read": prepared.seconds, "measure before": before, "unlearn": unlearned.seconds}
        self._measure_after(measured)
        return measured

    def _adapter(self, planned: PlannedModel) -> ModelAdapter:
        registered = self._registry.find(AdapterSpec, planned.adapter)
        adapter = self._registry.make(
            registered, self._registry.params(registered, planned.adapter_params), planned.task
        )
        assert isinstance(adapter, ModelAdapter)
        return adapter

    @staticmethod
    def _retain_images(sets: ModelSets, images: dict[str, RecordImages], original: ModelAdapter) -> RecordImages | None:
        if sets.retain_dataset is None:
            return None
        own = images.get("retain")
        if own is not None and sets.retain_dataset is sets.dataset and len(sets.retain) == len(own):
            return own
        return RecordImages(sets.retain_dataset.source, sets.retain, original.image_shape)

    @staticmethod
    def _noise(planned: PlannedModel, original: ModelAdapter, images: dict[str, RecordImages]) -> GaussianNoise:
        if planned.noise == "identity":
            return identity_noise(original)
        return training_noise(
            original, torch.cat([images[name].all() for name in ("forget", "retain") if name in images])
        )

    def _unlearn(
        self,
        planned: PlannedModel,
        original: ModelAdapter,
        images: dict[str, RecordImages],
        retain: RecordImages | None,
        noise: GaussianNoise,
    ) -> Unlearned:
        registered = self._registry.find(StrategySpec, planned.strategy)
        strategy = self._registry.make(registered, self._registry.params(registered, planned.strategy_params))
        assert isinstance(strategy, Strategy)
        seed = planned.loop.seed
        context = StrategyContext(
            student=original.replica(),
            teacher=original,
            forget=images["forget"],
            retain=retain,
            noise=noise,
            generator=generator_for(seed, "unlearning"),
            seed=seed,
        )
        source = self._workspace.root / planned.source.path
        code = " ".join(f"{plugin.name}:{plugin.sha256}" for plugin in self._registry.plugins)
        return Unlearning(
            planned=planned,
            workspace=self._workspace,
            state=self._state / planned.name,
            version=source.parent / self._version_name,
            identity=f"{self._resolved.digest} {code}",
            reporter=self._reporter,
        ).run(strategy, context)

    def _measure_after(self, measured: _Measured) -> None:
        planned, worlds = measured.planned, measured.worlds
        folder = self._workspace.root / measured.unlearned.candidate.path
        with measured.timed("measure after"):
            candidate = self._adapter(planned).load(folder, self._device).replica()
            worlds.add_candidate(candidate, folder)
            with self._reporter.phase(f"Measuring {planned.name} after", sum(worlds.counts.values())) as advance:
                worlds.measure(World.CANDIDATE, advance)
        checks = self._resolved.plan.checks
        with measured.timed("checks"), self._reporter.phase(f"Checking {planned.name}", len(checks)) as advance:
            for check in checks:
                registered = self._registry.find(CheckSpec, check.name)
                instance = self._registry.make(registered, self._registry.params(registered, check.params))
                assert isinstance(instance, Check)
                measurement = instance.run(worlds)
                measured.checks += measurement.results
                measured.metrics |= {name: dict(sets) for name, sets in measurement.metrics.items()}
                advance(1, check.name)

    # -- the evidence ------------------------------------------------------------------------------------------------

    def _result(self, measured: list[_Measured], outcome: Outcome, started: datetime) -> RunResult:
        plan = self._resolved.plan
        checks = [check for model in measured for check in model.checks]
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
            models=tuple(self._model_result(model, outcome) for model in measured),
            environment=environment(self._registry),
            not_reached=plan.not_reached,
        )

    @staticmethod
    def _model_result(measured: _Measured, outcome: Outcome) -> ModelResult:
        planned, unlearned = measured.planned, measured.unlearned
        loop = planned.loop.model_dump(mode="json")
        loop["betas"] = " ".join(str(beta) for beta in planned.loop.betas)
        notes = measured.notes
        if unlearned.stopped:
            notes = (*notes, f"the loop ended after {unlearned.steps} steps: {unlearned.stopped}")
        return ModelResult(
            name=planned.name,
            adapter=planned.adapter,
            strategy=planned.strategy,
            parameters={**planned.strategy_params, **loop, "noise": planned.noise, "task": planned.task.kind},
            source=planned.source,
            candidate=unlearned.candidate,
            promoted=outcome is Outcome.COMPLIANT,
            counts={name: planned.counts[name] for name in SETS},
            seconds=measured.seconds,
            metrics=measured.metrics,
            checks=tuple(measured.checks),
            loss=unlearned.loss,
            notes=notes,
        )

    def _seal(self, result: RunResult, pictures: dict[str, ReportPictures]) -> None:
        with self._reporter.phase("Sealing the evidence", 1) as advance:
            seal_bundle(
                self._bundle_folder,
                result=result,
                plan=self._resolved.plan,
                policy_yaml=redacted_yaml(self._resolved.policy, self._resolved.key),
                pictures=pictures,
            )
            advance()

    def _finish(self, bundle: Bundle, reused: bool) -> Applied:
        """Ledger, lineage, sinks, promotion: each is idempotent, so that a run killed among them can be carried on."""
        entry = Ledger(self._workspace.evidence).append(bundle, self._clock())
        self._record_lineage(bundle)
        receipts, unpublished = publish(bundle, self._workspace, self._registry, self._reporter)
        for model in bundle.result.models:
            current = self._workspace.file.models[model.name]
            if model.promoted and current_version(self._workspace, current) == self._workspace.root / model.source.path:
                promote(self._workspace, current, self._workspace.root / model.candidate.path)
        shutil.rmtree(self._state, ignore_errors=True)
        if not reused:
            for warning in self._registry.finished(bundle.result):
                self._reporter.note(warning)
        return Applied(bundle, entry, receipts, unpublished, reused)

    def _record_lineage(self, bundle: Bundle) -> None:
        with self._reporter.phase("Recording the lineage", len(bundle.result.models)) as advance:
            for model in bundle.result.models:
                dataset = self._workspace.file.datasets[self._workspace.file.models[model.name].training.dataset]
                self._resolved.lineage_store.record(
                    LineageStep(
                        name=f"{model.name}-{bundle.folder.name}",
                        command=f": cu apply, request {bundle.result.request.id}",
                        inputs=(
                            self._workspace.relative(bundle.folder / "policy.yaml"),
                            dataset.path,
                            model.source.path,
                        ),
                        output=model.candidate.path,
                    )
                )
                advance()


def _subject_numbers(sets: ModelSets, images: dict[str, RecordImages]) -> dict[str, torch.Tensor]:
    """A number for each subject, the same in all sets; -1 where a record has none."""
    names = sorted(
        {record.subject for records in sets.sets.values() for record in records if record.subject is not None}
    )
    numbers = {name: index for index, name in enumerate(names)}
    return {
        name: torch.tensor([numbers.get(record.subject or "", -1) for record in part.records])
        for name, part in images.items()
    }
