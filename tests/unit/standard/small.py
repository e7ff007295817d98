"""A small student and teacher, images in memory, and halves of a batch, for tests of strategies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from cu_echo.adapter import EchoAdapter
from cu_echo.params import EchoAdapterParams

from compliance_unlearn.api import Batch, PixelStatistics, RandomMask, StrategyContext, Task
from compliance_unlearn.engine.noise import identity_noise

SIZE = 8
CPU = torch.device("cpu")


class Counting(EchoAdapter):
    """Remembers what it encoded."""

    def __init__(self, params: EchoAdapterParams, task: Task) -> None:
        super().__init__(params, task)
        self.encoded: list[torch.Tensor] = []

    def _encode(self, inputs: Any) -> tuple[torch.Tensor, ...]:
        self.encoded.append(inputs.detach().clone())
        return super()._encode(inputs)

    @property
    def images(self) -> int:
        """How many images it encoded."""
        return sum(len(inputs) for inputs in self.encoded)


@dataclass(frozen=True)
class Images:
    """Images in memory."""

    pixels: torch.Tensor
    asked: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.pixels)

    def batch(self, indices: torch.Tensor | Sequence[int]) -> torch.Tensor:
        chosen = torch.as_tensor(indices)
        self.asked.extend(chosen.tolist())
        return self.pixels[chosen]


def pictures(count: int, seed: int) -> torch.Tensor:
    return torch.rand(count, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def new_context(task: Task | None = None, *, retain: bool = True, moved: float = 0.1) -> StrategyContext:
    """A student whose encoder lies a little away from the teacher's."""
    adapter = Counting(EchoAdapterParams(size=SIZE, width=3), task or RandomMask(ratio=0.5))
    adapter.create(PixelStatistics((0.5,), (0.25,)), torch.Generator().manual_seed(0), CPU)
    teacher, student = adapter.replica(), adapter.replica()
    with torch.no_grad():
        student.module.encoder.weight.add_(moved)
    return StrategyContext(
        student=student,
        teacher=teacher,
        forget=Images(pictures(3, 1)),
        retain=Images(pictures(5, 2)) if retain else None,
        noise=identity_noise(teacher),
        generator=torch.Generator().manual_seed(7),
        seed=0,
    )


def counting(adapter: object) -> Counting:
    assert isinstance(adapter, Counting)
    return adapter


def halves(context: StrategyContext, size: int = 4) -> tuple[Batch, Batch | None]:
    forget = torch.arange(size) % len(context.forget)
    retain = None
    if context.retain is not None:
        chosen = torch.arange(size) % len(context.retain)
        retain = Batch(context.retain.batch(chosen), chosen)
    return Batch(context.forget.batch(forget), forget), retain
