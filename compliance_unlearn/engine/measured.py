"""What is known of one model of a run: read, then unlearned and checked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic

import torch
from cu_audit.canonical import files_sha256
from cu_audit.records import SETS, Candidate, CheckResult, ModelResult, Outcome, Repeat

from compliance_unlearn.api import ModelAdapter
from compliance_unlearn.api.plan import PlannedModel
from compliance_unlearn.engine.checking import Checked
from compliance_unlearn.engine.images import RecordImages
from compliance_unlearn.engine.loop import resolved_precision
from compliance_unlearn.engine.noise import GaussianNoise
from compliance_unlearn.engine.sets import ModelSets
from compliance_unlearn.engine.unlearning import Unlearned
from compliance_unlearn.engine.verdict import decide, holm
from compliance_unlearn.engine.worlds import MeasuredWorlds


@dataclass(frozen=True)
class Prepared:
    """A model whose weights and images were read, before anything is changed.

    Attributes:
        planned: what the plan says of it.
        sets: its records.
        original: O, frozen.
        images: of each set that is not empty.
        retain: images that the strategy may use to hold the model; None for none.
        noise: source of n.
        worlds: in which the original and its answers to noise can be measured already.
        seconds: that reading took.
        notes: for evidence, such as what was done to pictures.
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
class Repeated:
    """Another unlearning of the same model: what the deciding checks say of it."""

    seed: int
    checks: list[CheckResult]


@dataclass
class Measured:
    """A model that was unlearned; its checks are added when they were run.

    Attributes:
        prepared: what was known before.
        unlearned: the candidate's weights.
        checked: what checks found on it.
        repeats: unlearnings with other seeds.
        seconds: of each phase.
    """

    prepared: Prepared
    unlearned: Unlearned
    checked: Checked = field(default_factory=Checked)
    repeats: list[Repeated] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Add the duration of a phase."""
        started = monotonic()
        yield
        self.seconds[phase] = self.seconds.get(phase, 0.0) + monotonic() - started

    def result(self, outcome: Outcome, candidate: str, device: torch.device) -> ModelResult:
        """As evidence.

        Args:
            outcome: of the run.
            candidate: path of the unlearned weights, relative to the workspace.
            device: that computed.
        """
        planned, unlearned = self.prepared.planned, self.unlearned
        loop = planned.loop.model_dump(mode="json")
        loop["betas"] = " ".join(str(beta) for beta in planned.loop.betas)
        loop["precision"] = resolved_precision(planned.loop, device)
        said = self.prepared.notes
        if unlearned.stopped:
            said = (*said, f"the loop ended after {unlearned.steps} steps: {unlearned.stopped}")
        return ModelResult(
            name=planned.name,
            adapter=planned.adapter,
            strategy=planned.strategy,
            parameters={**planned.strategy_params, **loop, "noise": planned.noise, "task": planned.task.kind},
            source=planned.source,
            candidate=Candidate(path=candidate, sha256=files_sha256(unlearned.files), files=unlearned.files),
            promoted=outcome is Outcome.COMPLIANT,
            counts={name: planned.counts[name] for name in SETS},
            seconds=self.seconds,
            metrics=self.checked.metrics,
            checks=tuple(self.checked.results),
            plots=tuple(self.checked.plots),
            repeats=self.other_seeds,
            loss=unlearned.loss,
            notes=said,
        )

    @property
    def other_seeds(self) -> tuple[Repeat, ...]:
        """The other unlearnings, as evidence."""
        return tuple(
            Repeat(seed=repeat.seed, outcome=decide(repeat.checks), checks=tuple(repeat.checks))
            for repeat in self.repeats
        )


def correct_by_holm(measured: Sequence[Measured]) -> None:
    """Correct deciding results for their number, in place: all models together, each other seed as a run of its own."""
    others = ([repeat.checks for repeat in model.repeats] for model in measured)
    for lists in ([model.checked.results for model in measured], *zip(*others, strict=True)):
        corrected = iter(holm([check for checks in lists for check in checks]))
        for checks in lists:
            checks[:] = [next(corrected) for _ in checks]
