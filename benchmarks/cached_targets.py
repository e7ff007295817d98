"""What caching the retain targets saves: one step of encoder alignment with and without the cache, in turn.

Prints samples a second of each side and their ratio, on a masked autoencoder of the demonstration's size.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import torch
from cu_mae.adapter import MaeAdapter
from cu_mae.params import MaeParams
from cu_standard.params import AlignmentParams
from cu_standard.strategies.encoder_alignment import EncoderAlignment

from compliance_unlearn.api import Batch, Inpaint, LoopSettings, PixelStatistics, StrategyContext
from compliance_unlearn.engine.loop import Loop
from compliance_unlearn.engine.noise import identity_noise

BATCH, STEPS, ROUNDS, RETAIN = 16, 15, 7, 273


class Images:
    """Random pictures; the arithmetic does not depend on what they show."""

    def __init__(self, count: int) -> None:
        self._pixels = torch.rand(count, 1, 64, 64, generator=torch.Generator().manual_seed(count))

    def __len__(self) -> int:
        return len(self._pixels)

    def batch(self, indices: torch.Tensor | Sequence[int]) -> torch.Tensor:
        """See `ImageSet.batch`."""
        return self._pixels[torch.as_tensor(indices)]


def steps_of(cache_megabytes: int) -> tuple[float, float]:
    """Seconds of `prepare`, and samples a second of the steps after it."""
    teacher = MaeAdapter(MaeParams(), Inpaint())
    teacher.create(PixelStatistics((0.46,), (0.19,)), torch.Generator().manual_seed(0), torch.device("cpu"))
    forget, retain = Images(7), Images(RETAIN)
    context = StrategyContext(
        student=teacher.replica(),
        teacher=teacher.replica(),
        forget=forget,
        retain=retain,
        noise=identity_noise(teacher),
        generator=torch.Generator().manual_seed(0),
        seed=0,
    )
    strategy = EncoderAlignment(AlignmentParams(cache_megabytes=cache_megabytes))
    started = time.perf_counter()
    strategy.prepare(context)
    prepared = time.perf_counter() - started
    parameters = strategy.trainable(context.student)
    for parameter in parameters.values():
        parameter.requires_grad_(True)

    def objective(generator: torch.Generator):  # type: ignore[no-untyped-def]
        first = torch.randint(len(forget), (BATCH,), generator=generator)
        other = torch.randint(len(retain), (BATCH,), generator=generator)
        return strategy.objective(context, Batch(forget.batch(first), first), Batch(retain.batch(other), other))

    settings = LoopSettings(steps=STEPS, precision="auto")
    started = time.perf_counter()
    Loop(objective=objective, parameters=parameters, settings=settings, generator=context.generator).run()
    return prepared, STEPS * 2 * BATCH / (time.perf_counter() - started)


def main() -> None:
    """Run both sides in turn and print medians."""
    sides: dict[str, list[tuple[float, float]]] = {"cached": [], "computed in each step": []}
    for _ in range(ROUNDS):
        sides["cached"].append(steps_of(1024))
        sides["computed in each step"].append(steps_of(0))
    medians = {name: statistics.median(speed for _, speed in runs) for name, runs in sides.items()}
    for name, runs in sides.items():
        prepared = statistics.median(seconds for seconds, _ in runs)
        print(f"{name:22} {medians[name]:7.1f} samples/s   prepare {prepared:.2f} s")
    print(f"ratio {medians['cached'] / medians['computed in each step']:.2f}")


if __name__ == "__main__":
    main()
