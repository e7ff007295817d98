"""One model of a run: load, measure, unlearn, measure again, check."""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from time import monotonic

import torch
from cu_audit.canonical import canonical, folder_files
from cu_audit.records import FORGET, RETAIN, ModelResult

from compliance_unlearn.api import (
    AdapterSpec,
    LoopSettings,
    ModelAdapter,
    Strategy,
    StrategyContext,
    StrategySpec,
    Task,
    WorkspaceError,
    World,
)
from compliance_unlearn.api.plan import PlannedModel
from compliance_unlearn.engine.checking import Checks
from compliance_unlearn.engine.environment import environment
from compliance_unlearn.engine.images import RecordImages, notes
from compliance_unlearn.engine.measured import Measured, Prepared, Repeated
from compliance_unlearn.engine.noise import GaussianNoise, identity_noise, training_noise
from compliance_unlearn.engine.outputs_on_disk import OutputsOnDisk
from compliance_unlearn.engine.planning import ResolvedPlan
from compliance_unlearn.engine.randomness import generator_for
from compliance_unlearn.engine.reference import Reference
from compliance_unlearn.engine.reporting import Reporter
from compliance_unlearn.engine.sets import ModelSets
from compliance_unlearn.engine.unlearning import Unlearned, Unlearning
from compliance_unlearn.engine.worlds import MeasuredWorlds


class ModelRun:
    """Reads, unlearns and measures the models of one resolved plan, one at a time.

    Attributes:
        state: folder for checkpoints, one sub-folder a model.
        name: of the version that each model gets.
        keeps_outputs: keep what models made in ``state``, for a run that is killed and carried on.
        checks: of the plan.
    """

    def __init__(
        self,
        resolved: ResolvedPlan,
        *,
        state: Path,
        name: str,
        reporter: Reporter,
        device: torch.device,
        keeps_outputs: bool = False,
    ) -> None:
        self._resolved = resolved
        self._workspace = resolved.workspace
        self._registry = resolved.registry
        self._state = state
        self._name = name
        self._reporter = reporter
        self._device = device
        self._keeps_outputs = keeps_outputs
        self.checks = Checks.of(resolved.plan.checks, resolved.registry)

    @property
    def fingerprint(self) -> str:
        """A few digits that stand for the plan, the code and all else that decides the bits."""
        return hashlib.sha256(self._identity().encode()).hexdigest()[:12]

    def prepare(self, planned: PlannedModel) -> Prepared:
        """Verify the files, load the weights and decode the images; reads only.

        Raises:
            DataError: a file is missing, changed or not an image.
            ModelError: the weights cannot be used.
            WorkspaceError: the weights are not those that were planned with.
        """
        sets, source = self._resolved.sets[planned.name], self._workspace.root / planned.source.path
        began = monotonic()
        with self._reporter.phase(f"Checking the files of {planned.name}", 1) as advance:
            sets.verify_files()
            advance()
        original = self._adapter(planned).load(source, self._device).replica()
        require_unchanged(source, planned.source.files)
        shape = original.image_shape
        images = {
            name: RecordImages(sets.dataset.source, records, shape) for name, records in sets.sets.items() if records
        }
        retain = self._retain_images(sets, images, original)
        used = [*images.values(), *([retain] if retain is not None else [])]
        with self._reporter.phase(f"Reading the images of {planned.name}", sum(len(part) for part in used)) as advance:
            for part in used:
                part.decode_all(advance)
        noise = _noise(planned, original, images)
        worlds = MeasuredWorlds(
            sets=images,
            subjects=_subject_numbers(sets, images),
            original_model=original,
            noise=noise,
            original=self._as_exported(planned, source, original),
            seed=planned.loop.seed,
            kept=self._kept(planned),
            load=lambda folder, task: self._adapter(planned, task).load(folder, self._device).replica(),
        )
        said = self._said(planned, sets, images, retain)
        return Prepared(planned, sets, original, images, retain, noise, worlds, monotonic() - began, said)

    def carry_out(self, prepared: Prepared) -> Measured:
        """Measure before, unlearn, measure after, and run the checks."""
        planned, worlds = prepared.planned, prepared.worlds
        began = monotonic()
        with self._reporter.phase(f"Measuring {planned.name} before", sum(worlds.counts.values())) as advance:
            worlds.measure(World.ORIGINAL, advance)
        before = monotonic() - began
        version = (self._workspace.root / planned.source.path).parent / self._name
        measured = Measured(prepared, self._unlearn(prepared, planned.loop, self._state / planned.name, version))
        measured.seconds |= {
            "read": prepared.seconds,
            "measure before": before,
            "unlearn": measured.unlearned.seconds,
        }
        self._add_candidate(measured)
        self._add_reference(measured)
        self._check(measured)
        self._repeat(measured)
        return measured

    def measure_again(self, planned: PlannedModel, recorded: ModelResult, *, trained_anew: bool) -> Measured:
        """Measure the original and the recorded candidate, and run the checks; changes nothing.

        Args:
            planned: the model.
            recorded: what the run said of it.
            trained_anew: train the reference and unlearn with the other seeds again, if the run did; the recorded
                candidate is never made again.

        Raises:
            WorkspaceError: the candidate is gone or changed.
        """
        folder = self._workspace.root / recorded.candidate.path
        unlearned = Unlearned(folder, recorded.candidate.files, recorded.loss, seconds=0.0, steps=0, stopped="")
        measured = Measured(self.prepare(planned), unlearned)
        self._add_candidate(measured)
        if trained_anew:
            self._add_reference(measured)
        self._check(measured)
        if trained_anew:
            self._repeat(measured)
        return measured

    def require_reference(self, prepared: Prepared) -> None:
        """Find out whether a reference can be trained, where the plan asks for one.

        Raises:
            ModelError: it cannot; nothing was changed.
        """
        planned = prepared.planned
        if planned.reference is not None:
            reference = self._reference(planned, prepared.original, prepared.images, planned.reference)
            reference.require_possible(self._device)

    def _kept(self, planned: PlannedModel) -> OutputsOnDisk | None:
        if not self._keeps_outputs:
            return None
        return OutputsOnDisk(self._state / planned.name / "outputs", self._identity())

    def _adapter(self, planned: PlannedModel, task: Task | None = None) -> ModelAdapter:
        registered = self._registry.find(AdapterSpec, planned.adapter)
        params = self._registry.params(registered, planned.adapter_params)
        adapter = self._registry.make(registered, params, task or planned.task)
        assert isinstance(adapter, ModelAdapter)
        return adapter

    def _as_exported(self, planned: PlannedModel, source: Path, original: ModelAdapter) -> Path:
        """The original in the form that a candidate has: the source itself, unless its weights are not safetensors."""
        if any(source.glob("**/*.safetensors")):
            return source
        folder = self._state / planned.name / "original"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        original.export(folder)
        return folder

    @staticmethod
    def _retain_images(sets: ModelSets, images: dict[str, RecordImages], original: ModelAdapter) -> RecordImages | None:
        if sets.retain_dataset is None:
            return None
        own = images.get(RETAIN)
        if own is not None and sets.retain_dataset is sets.dataset and len(sets.retain) == len(own):
            return own
        return RecordImages(sets.retain_dataset.source, sets.retain, original.image_shape)

    def _said(
        self, planned: PlannedModel, sets: ModelSets, images: dict[str, RecordImages], retain: RecordImages | None
    ) -> tuple[str, ...]:
        """What evidence must say beside figures: warnings of the plan, and what was done to pictures, each once."""
        proxy = [retain] if retain is not None and sets.retain_dataset is not sets.dataset else []
        parts = [*images.values(), *proxy]
        done = sum((part.conversions for part in parts), Counter[str]())
        return (*self._resolved.warnings[planned.name], *notes(done, sum(len(part) for part in parts)))

    def _unlearn(self, prepared: Prepared, loop: LoopSettings, state: Path, version: Path) -> Unlearned:
        planned = prepared.planned.model_copy(update={"loop": loop})
        registered = self._registry.find(StrategySpec, planned.strategy)
        strategy = self._registry.make(registered, self._registry.params(registered, planned.strategy_params))
        assert isinstance(strategy, Strategy)
        context = StrategyContext(
            student=prepared.original.replica(),
            teacher=prepared.original,
            forget=prepared.images[FORGET],
            retain=prepared.retain,
            noise=prepared.noise,
            generator=generator_for(loop.seed, "unlearning"),
            seed=loop.seed,
        )
        return Unlearning(
            planned=planned,
            state=state,
            version=version,
            identity=self._identity(),
            reporter=self._reporter,
        ).run(strategy, context)

    def _identity(self) -> str:
        """The plan, the code, its dependencies, threads and device: all that decides the bits."""
        surroundings = canonical(environment(self._registry, self._device)) + str(self._device).encode()
        return f"{self._resolved.digest} {hashlib.sha256(surroundings).hexdigest()}"

    def _add_candidate(self, measured: Measured) -> None:
        planned, worlds = measured.prepared.planned, measured.prepared.worlds
        with measured.timed("measure after"):
            worlds.add(World.CANDIDATE, self._loaded(planned, measured.unlearned), measured.unlearned.folder)
            with self._reporter.phase(f"Measuring {planned.name} after", sum(worlds.counts.values())) as advance:
                worlds.measure(World.CANDIDATE, advance)

    def _loaded(self, planned: PlannedModel, unlearned: Unlearned) -> ModelAdapter:
        candidate = self._adapter(planned).load(unlearned.folder, self._device).replica()
        require_unchanged(unlearned.folder, unlearned.files)
        return candidate

    def _add_reference(self, measured: Measured) -> None:
        """Train the model that never saw the records to forget, where the plan asks for it."""
        prepared = measured.prepared
        planned, worlds = prepared.planned, prepared.worlds
        if planned.reference is None:
            return
        with measured.timed("reference"):
            reference = self._reference(planned, prepared.original, prepared.images, planned.reference)
            folder = reference.train(planned.name, self._device, self._reporter)
            worlds.add(World.RETRAINED, self._adapter(planned).load(folder, self._device).replica(), folder)
            title = f"Measuring the reference of {planned.name}"
            with self._reporter.phase(title, sum(worlds.counts.values())) as advance:
                worlds.measure(World.RETRAINED, advance)

    def _reference(
        self, planned: PlannedModel, original: ModelAdapter, images: Mapping[str, RecordImages], settings: LoopSettings
    ) -> Reference:
        return Reference(
            adapter=self._adapter(planned),
            original=original,
            images=images[RETAIN],
            settings=settings,
            state=self._state / planned.name,
            identity=self._identity(),
        )

    def _check(self, measured: Measured) -> None:
        planned, worlds = measured.prepared.planned, measured.prepared.worlds
        with measured.timed("checks"):
            measured.checked = self.checks.run(worlds, f"Checking {planned.name}", self._reporter)

    def _repeat(self, measured: Measured) -> None:
        """Unlearn again with other seeds, where the plan asks for it, and run what decides."""
        prepared, state = measured.prepared, self._state / measured.prepared.planned.name
        planned, plan = prepared.planned, self._resolved.plan
        for seed in range(planned.loop.seed + 1, planned.loop.seed + plan.seeds):
            with measured.timed("other seeds"):
                loop, folder = planned.loop.model_copy(update={"seed": seed}), state / f"seed-{seed}"
                unlearned = self._unlearn(prepared, loop, folder, folder / "weights")
                worlds = prepared.worlds.with_candidate(self._loaded(planned, unlearned), unlearned.folder)
                checked = self.checks.deciding.run(worlds, f"Checking {planned.name}, seed {seed}", self._reporter)
                measured.repeats.append(Repeated(seed, [result for result in checked.results if result.gates]))


def require_unchanged(folder: Path, files: Mapping[str, str]) -> None:
    """Check that weights on disk are those of a record.

    Args:
        folder: of the weights.
        files: path -> SHA-256 of each, as recorded.

    Raises:
        WorkspaceError: a file is missing, added or changed.
    """
    if not folder.is_dir() or folder_files(folder) != files:
        raise WorkspaceError(
            f"the weights in {folder.parent.name}/{folder.name} are not those that were recorded; restore them and run "
            "again"
        )


def _noise(planned: PlannedModel, original: ModelAdapter, images: dict[str, RecordImages]) -> GaussianNoise:
    if planned.noise == "identity":
        return identity_noise(original)
    return training_noise(original, torch.cat([images[name].all() for name in (FORGET, RETAIN) if name in images]))


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
