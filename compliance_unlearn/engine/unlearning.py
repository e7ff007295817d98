"""Unlearning one model: from the original weights to a candidate in a folder of its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from cu_audit.canonical import canonical, files_sha256, folder_files
from cu_audit.records import Candidate, LossCurve

from compliance_unlearn.api import Batch, LossTerms, ModelAdapter, Strategy, StrategyContext
from compliance_unlearn.api.plan import PlannedModel
from compliance_unlearn.engine.loop import Loop, LoopState, precision
from compliance_unlearn.engine.randomness import generator_for
from compliance_unlearn.engine.reporting import Reporter
from compliance_unlearn.workspace import Workspace
from compliance_unlearn.workspace.files import publish_folder, write_atomic

VALIDATION_SHARE = 10
"""One image in so many of the retain set is kept for early stopping, where a policy asks for it."""


@dataclass(frozen=True)
class Unlearned:
    """A candidate and how it came about."""

    candidate: Candidate
    loss: LossCurve
    seconds: float
    steps: int
    stopped: str


@dataclass(frozen=True)
class Unlearning:
    """The unlearning of one model in one run; call it again after a crash and it goes on.

    Attributes:
        state: folder of the run for this model: checkpoint and summary.
        version: folder of the candidate, absent until it is complete.
        identity: plan digest and code digests; a checkpoint of another identity is not resumed.
    """

    planned: PlannedModel
    workspace: Workspace
    state: Path
    version: Path
    identity: str
    reporter: Reporter

    def run(self, strategy: Strategy, context: StrategyContext) -> Unlearned:
        """Optimise, export, and move the finished candidate to its place in one rename."""
        summary = self.state / "unlearned.json"
        if not (self.version.exists() and summary.exists()):
            state = self._optimise(strategy, context)
            write_atomic(summary, canonical(_summary(state)))
            self._export(context.student)
        return self._read(json.loads(summary.read_bytes()))

    def _optimise(self, strategy: Strategy, context: StrategyContext) -> LoopState:
        settings = self.planned.loop
        self.state.mkdir(parents=True, exist_ok=True)
        with self.reporter.phase(f"Unlearning {self.planned.name}", settings.steps) as advance:
            if settings.steps:
                with precision(settings, next(context.student.module.parameters()).device):
                    strategy.prepare(context)
            reached = 0

            def progress(state: LoopState, terms: Mapping[str, float]) -> None:
                nonlocal reached
                advance(state.step - reached, ", ".join(f"{name} {value:.4f}" for name, value in terms.items()))
                reached = state.step

            parameters = strategy.trainable(context.student)
            context.student.module.requires_grad_(False)
            for parameter in parameters.values():
                parameter.requires_grad_(True)
            loop = Loop(
                objective=_Halves(strategy, context, settings.batch, bool(settings.early_stop_every)),
                parameters=parameters,
                settings=settings,
                generator=context.generator,
                checkpoint=self.state / "checkpoint.pt",
                identity=self.identity,
                progress=progress,
                validation=_validation(strategy, context) if settings.early_stop_every else None,
            )
            return loop.run()

    def _export(self, student: ModelAdapter) -> None:
        if self.version.exists():
            return
        temporary = self.version.with_name(f".{self.version.name}.partial")
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            temporary.mkdir(parents=True)
            student.export(temporary)
            publish_folder(temporary, self.version)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _read(self, summary: dict[str, Any]) -> Unlearned:
        files = folder_files(self.version)
        return Unlearned(
            candidate=Candidate(path=self.workspace.relative(self.version), sha256=files_sha256(files), files=files),
            loss=LossCurve(steps=tuple(summary["curve_steps"]), terms=summary["curve"]),
            seconds=summary["seconds"],
            steps=summary["steps"],
            stopped=summary["stopped"],
        )


class _Halves:
    """Draws balanced halves, so that α means what it says whatever the sizes of the sets."""

    def __init__(self, strategy: Strategy, context: StrategyContext, batch: int, keep_apart: bool) -> None:
        self._strategy = strategy
        self._context = context
        self._batch = batch
        self._retain = torch.arange(len(context.retain)) if context.retain is not None else torch.empty(0)
        if keep_apart:
            self._retain = self._retain[self._retain % VALIDATION_SHARE != 0]

    def __call__(self, generator: torch.Generator) -> LossTerms:
        context = self._context
        forget = torch.randint(len(context.forget), (self._batch,), generator=generator)
        retain = None
        if context.retain is not None:
            drawn = self._retain[torch.randint(len(self._retain), (self._batch,), generator=generator)]
            retain = Batch(context.retain.batch(drawn), drawn)
        return self._strategy.objective(context, Batch(context.forget.batch(forget), forget), retain)


def _validation(strategy: Strategy, context: StrategyContext) -> Any:
    """The objective on retain images that are not trained on, always on the same draws."""

    def value() -> float:
        generator = generator_for(context.seed, "validation")
        forget = torch.arange(len(context.forget))
        kept = context.generator.get_state()
        retain = None
        if context.retain is not None:
            apart = torch.arange(0, len(context.retain), VALIDATION_SHARE)
            size = min(len(apart), len(forget))
            apart, forget = apart[:size], forget[:size]
            retain = Batch(context.retain.batch(apart), apart)
        context.generator.set_state(generator.get_state())
        try:
            terms = strategy.objective(context, Batch(context.forget.batch(forget), forget), retain)
        finally:
            context.generator.set_state(kept)
        return float(terms.total)

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
