"""Unlearning one model: from the original weights to a candidate in a folder of its own."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from cu_audit.canonical import canonical, folder_files
from cu_audit.records import LossCurve

from compliance_unlearn.api import (
    Batch,
    LoopSettings,
    LossTerms,
    PolicyError,
    Strategy,
    StrategyContext,
    WorkspaceError,
)
from compliance_unlearn.api.plan import PlannedModel
from compliance_unlearn.engine.loop import Loop, LoopState, precision, shown_by
from compliance_unlearn.engine.randomness import generator_for
from compliance_unlearn.engine.reporting import Reporter
from compliance_unlearn.workspace.files import publish_folder, write_atomic

VALIDATION_SHARE = 10
"""One image in so many of the retain set is kept for early stopping, where a policy asks for it."""

VALIDATION_BATCHES = 4
"""Batches that a look for early stopping averages over."""


@dataclass(frozen=True)
class Unlearned:
    """Unlearned weights and how they came about.

    Attributes:
        folder: of the weights.
        files: path -> SHA-256 of each.
        loss: terms over the steps.
        seconds: that the loop took.
        steps: that it made.
        stopped: why it ended early; empty if it did not.
    """

    folder: Path
    files: dict[str, str]
    loss: LossCurve
    seconds: float
    steps: int
    stopped: str


@dataclass(frozen=True)
class Unlearning:
    """The unlearning of one model in one run; call it again after a crash and it goes on.

    Attributes:
        planned: with the settings of the loop.
        state: folder of the run for this model: checkpoint and summary.
        version: folder of the candidate, absent until it is complete.
        identity: plan digest and code digests; a checkpoint of another identity is not resumed.
    """

    planned: PlannedModel
    state: Path
    version: Path
    identity: str
    reporter: Reporter

    def run(self, strategy: Strategy, context: StrategyContext) -> Unlearned:
        """Optimise, export, and move the finished candidate to its place in one rename.

        Raises:
            WorkspaceError: another folder stands where the candidate belongs.
        """
        summary_path = self.state / "unlearned.json"
        if summary_path.exists():
            summary = json.loads(summary_path.read_bytes())
            if summary["identity"] == self.identity and _files(self.version) == summary["files"]:
                return self._unlearned(summary)
        state = self._optimise(strategy, context)
        temporary = self.version.with_name(f".{self.version.name}.partial")
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            temporary.mkdir(parents=True)
            context.student.export(temporary)
            summary = {**_summary(state), "identity": self.identity, "files": folder_files(temporary)}
            write_atomic(summary_path, canonical(summary))
            self._publish(temporary, summary["files"])
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return self._unlearned(summary)

    def _publish(self, temporary: Path, files: dict[str, str]) -> None:
        if not self.version.exists():
            publish_folder(temporary, self.version)
        elif _files(self.version) != files:
            raise WorkspaceError(
                f"{self.version.parent.name}/{self.version.name} holds other weights than this run made; move it away "
                "and run again"
            )

    def _optimise(self, strategy: Strategy, context: StrategyContext) -> LoopState:
        settings = self.planned.loop
        self.state.mkdir(parents=True, exist_ok=True)
        with self.reporter.phase(f"Unlearning {self.planned.name}", settings.steps) as advance:
            parameters = strategy.trainable(context.student)
            context.student.module.requires_grad_(False)
            for parameter in parameters.values():
                parameter.requires_grad_(True)
            training, apart = _parts(context, settings)
            if settings.steps:
                with precision(settings, next(context.student.module.parameters()).device):
                    strategy.prepare(context)
            loop = Loop(
                objective=_Halves(strategy, context, settings.batch, training),
                parameters=parameters,
                settings=settings,
                generator=context.generator,
                checkpoint=self.state / "checkpoint.pt",
                identity=self.identity,
                progress=shown_by(advance),
                validation=None if apart is None else _validation(strategy, context, settings, apart),
            )
            return loop.run()

    def _unlearned(self, summary: dict[str, Any]) -> Unlearned:
        return Unlearned(
            folder=self.version,
            files=summary["files"],
            loss=LossCurve(steps=tuple(summary["curve_steps"]), terms=summary["curve"]),
            seconds=summary["seconds"],
            steps=summary["steps"],
            stopped=summary["stopped"],
        )


def _files(folder: Path) -> dict[str, str]:
    return folder_files(folder) if folder.is_dir() else {}


class _Halves:
    """Draws balanced halves, so that α means what it says whatever the sizes of the sets."""

    def __init__(self, strategy: Strategy, context: StrategyContext, batch: int, retain: torch.Tensor | None) -> None:
        self._strategy = strategy
        self._context = context
        self._batch = batch
        self._retain = retain

    def __call__(self, generator: torch.Generator) -> LossTerms:
        context = self._context
        forget = torch.randint(len(context.forget), (self._batch,), generator=generator)
        retain = None
        if context.retain is not None and self._retain is not None:
            drawn = self._retain[torch.randint(len(self._retain), (self._batch,), generator=generator)]
            retain = Batch(context.retain.batch(drawn), drawn)
        return self._strategy.objective(context, Batch(context.forget.batch(forget), forget), retain)


def _parts(context: StrategyContext, settings: LoopSettings) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Indices of the retain set to train on, and to look at for early stopping if that is asked for.

    Raises:
        PolicyError: early stopping without enough retain data to keep a part of it aside.
    """
    if context.retain is None or not settings.early_stop_every:
        if settings.early_stop_every:
            raise PolicyError("loop: early_stop_every needs retain data to look at")
        return (None if context.retain is None else torch.arange(len(context.retain))), None
    count = len(context.retain)
    if count < VALIDATION_SHARE:
        raise PolicyError(f"loop: early_stop_every needs at least {VALIDATION_SHARE} retain records, there are {count}")
    order = torch.randperm(count, generator=generator_for(context.seed, "early stop"))
    apart = count // VALIDATION_SHARE
    return order[apart:], order[:apart]


def _validation(strategy: Strategy, context: StrategyContext, settings: LoopSettings, apart: torch.Tensor) -> Any:
    """The objective on retain images that are not trained on, always on the same draws."""

    def value() -> float:
        kept = context.generator.get_state()
        context.generator.set_state(generator_for(context.seed, "validation").get_state())
        try:
            halves = _Halves(strategy, context, settings.batch, apart)
            return sum(float(halves(context.generator).total) for _ in range(VALIDATION_BATCHES)) / VALIDATION_BATCHES
        finally:
            context.generator.set_state(kept)

    return value


def _summary(state: LoopState) -> dict[str, Any]:
    steps = sorted(state.curve)
    names = sorted({name for terms in state.curve.values() for name in terms})
    return {
        "seconds": state.seconds,
        "steps": state.step,
        "stopped": state.stopped,
        "curve_steps": steps,
        "curve": {name: [state.curve[step].get(name, 0.0) for step in steps] for name in names},
    }
