"""How much is computed: everything, or enough to see that it works."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Scale:
    """Sizes of a benchmark run.

    Attributes:
        seeds: of the unlearning; the models to unlearn are trained once.
        ablation_seeds: the same, for ablations.
        pictures: of each set that are scored, at most.
        known: retain pictures whose outputs the noise envelope knows, at most; with few, it takes them for noise.
        noise_images: of each part of the noise envelope.
        edge: pixels that scored regions are resized to for the feature network.
        alphas: that are tried.
        shares: of the retain data that are tried.
        loop: settings of every unlearning loop, over those of workspace and strategy.
        workspace: file with other models for the same data; None takes the example's own.
    """

    seeds: Sequence[int] = (0, 1, 2)
    ablation_seeds: Sequence[int] = (0,)
    pictures: int = 400
    known: int = 2000
    noise_images: int = 512
    edge: int = 128
    alphas: Sequence[float] = (0.02, 0.1, 0.4, 2.0)
    shares: Sequence[float] = (1.0, 0.1, 0.01)
    loop: Mapping[str, Any] = field(default_factory=lambda: {"steps": 600})
    workspace: Path | None = None


FULL = Scale()

QUICK = Scale(
    seeds=(0,),
    pictures=100,
    known=100,
    noise_images=100,
    edge=64,
    alphas=(0.2, 1.0),
    shares=(1.0, 0.01),
    loop={"steps": 50, "warmup": 5, "batch": 8},
    workspace=Path(__file__).parent / "quick" / "workspace.yaml",
)
"""Finds no differences worth telling: see `FULL` for those."""
