"""One optimisation loop for unlearning, base training, the relearning attack and the retrained reference.

Everything that decides the next step lies in a checkpoint: parameters, optimiser, generator, step. A killed run
goes on from the last one and ends in the same bits as a run that was not.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from compliance_unlearn.api import LoopSettings, LossTerms, ModelError
from compliance_unlearn.engine.reporting import Advance

Objective = Callable[[torch.Generator], LossTerms]
"""One step's loss; draws all its randomness from the generator."""

LOGGED_POINTS = 200
"""A loss curve holds at most this many points, whatever the number of steps."""


@dataclass
class LoopState:
    """Where a loop is."""

    step: int = 0
    seconds: float = 0.0
    curve: dict[int, dict[str, float]] = field(default_factory=dict)
    best: float = math.inf
    looks_without_gain: int = 0
    stopped: str = ""


@dataclass(frozen=True)
class Loop:
    """An optimisation: what is minimised, over what, how, and where checkpoints go.

    Attributes:
        objective: the loss of one step.
        parameters: what may change, by name.
        settings: budget, optimiser, precision.
        generator: on the CPU; its state is part of each checkpoint.
        checkpoint: file of the checkpoint, None to keep none.
        identity: names the run and its code; a checkpoint of another identity is not resumed.
        progress: called after each step with the state and the loss terms.
        validation: objective on a part that is not trained on, for early stopping; lower is better.
    """

    objective: Objective
    parameters: Mapping[str, torch.nn.Parameter]
    settings: LoopSettings
    generator: torch.Generator
    checkpoint: Path | None = None
    identity: str = ""
    progress: Callable[[LoopState, Mapping[str, float]], None] | None = None
    validation: Callable[[], float] | None = None

    def run(self) -> LoopState:
        """Optimise until the budget is spent; resume from the checkpoint if there is one.

        Raises:
            ModelError: the loss or its gradient is not finite; the last checkpoint stays.
        """
        optimiser = self._optimiser()
        state = self._resume(optimiser)
        started = time.monotonic() - state.seconds
        every = max(1, math.ceil(self.settings.steps / LOGGED_POINTS))
        while state.step < self.settings.steps and not state.stopped:
            terms = self._step(optimiser, state.step)
            state.step += 1
            state.seconds = time.monotonic() - started
            if state.step % every == 0 or state.step == 1:
                state.curve[state.step] = self._floats(terms)
            if self.progress:
                self.progress(state, state.curve.get(state.step, {}))
            self._decide_to_stop(state)
            if state.step % self.settings.checkpoint_every == 0 or state.stopped:
                self._save(optimiser, state)
        return state

    @property
    def _device(self) -> torch.device:
        return next(iter(self.parameters.values())).device

    @property
    def _identity(self) -> str:
        return f"{self.identity} {self.settings.model_dump_json()}"

    def _optimiser(self) -> torch.optim.AdamW:
        return torch.optim.AdamW(
            self.parameters.values(),
            lr=self.settings.learning_rate,
            betas=self.settings.betas,
            weight_decay=self.settings.weight_decay,
            fused=True,
        )

    def _step(self, optimiser: torch.optim.Optimizer, step: int) -> LossTerms:
        for group in optimiser.param_groups:
            group["lr"] = self.settings.learning_rate * _rate(self.settings, step)
        with precision(self.settings, self._device):
            terms = self.objective(self.generator)
        optimiser.zero_grad(set_to_none=True)
        total = terms.total
        if not math.isfinite(total.item()):
            raise ModelError(f"the loss is not finite at step {step + 1}; lower the learning rate")
        total.backward()  # type: ignore[no-untyped-call]
        # A finite loss can have an infinite slope: without this look, a checkpoint or an export would hold NaN.
        norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.settings.clip or math.inf)
        if not math.isfinite(norm.item()):
            optimiser.zero_grad(set_to_none=True)
            raise ModelError(f"the gradient is not finite at step {step + 1}; lower the learning rate")
        optimiser.step()
        return terms

    @staticmethod
    def _floats(terms: LossTerms) -> dict[str, float]:
        return {name: float(term.detach()) for name, term in terms.terms.items()}

    def _decide_to_stop(self, state: LoopState) -> None:
        settings = self.settings
        if settings.seconds and state.seconds >= settings.seconds:
            state.stopped = "seconds"
        if not (self.validation and settings.early_stop_every and state.step % settings.early_stop_every == 0):
            return
        with torch.no_grad(), precision(settings, self._device):
            value = self.validation()
        if value < state.best:
            state.best, state.looks_without_gain = value, 0
            return
        state.looks_without_gain += 1
        if state.looks_without_gain >= settings.early_stop_patience:
            state.stopped = "early stop"

    def _save(self, optimiser: torch.optim.Optimizer, state: LoopState) -> None:
        if self.checkpoint is None:
            return
        content = {
            "identity": self._identity,
            "parameters": {name: parameter.detach() for name, parameter in self.parameters.items()},
            "optimiser": optimiser.state_dict(),
            "generator": self.generator.get_state(),
            "state": {**vars(state)},
        }
        save_checkpoint(self.checkpoint, content)

    def _resume(self, optimiser: torch.optim.Optimizer) -> LoopState:
        if self.checkpoint is None or not self.checkpoint.exists():
            return LoopState()
        content = torch.load(self.checkpoint, weights_only=True)
        if content["identity"] != self._identity or set(content["parameters"]) != set(self.parameters):
            return LoopState()
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(content["parameters"][name])
        optimiser.load_state_dict(content["optimiser"])
        self.generator.set_state(content["generator"])
        return LoopState(**content["state"])


def shown_by(advance: Advance) -> Callable[[LoopState, Mapping[str, float]], None]:
    """A loop's ``progress`` that advances a bar; after a resume the first call skips what was done before."""
    reached = 0

    def progress(state: LoopState, terms: Mapping[str, float]) -> None:
        nonlocal reached
        advance(state.step - reached, ", ".join(f"{name} {value:.4f}" for name, value in terms.items()))
        reached = state.step

    return progress


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint so that a reader finds the old one or the new one, whenever the process dies."""
    import io

    from compliance_unlearn.workspace.files import write_atomic

    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomic(path, buffer.getvalue())


@contextlib.contextmanager
def precision(settings: LoopSettings, device: torch.device) -> Iterator[None]:
    """Autocast for student and teacher alike, so that both see the same numbers."""
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=resolved_precision(settings, device) == "bf16"):
        yield


def resolved_precision(settings: LoopSettings, device: torch.device) -> str:
    """What ``auto`` means on this device: ``fp32`` or ``bf16``."""
    if settings.precision == "auto":
        return "bf16" if native_bf16(device) else "fp32"
    return settings.precision


def native_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 itself; elsewhere it is slower than fp32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _rate(settings: LoopSettings, step: int) -> float:
    """Share of the learning rate at a step: linear warm-up, then constant or half a cosine to zero."""
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    if settings.schedule == "constant":
        return 1.0
    remaining = max(1, settings.steps - settings.warmup)
    return 0.5 * (1.0 + math.cos(math.pi * (step - settings.warmup) / remaining))
