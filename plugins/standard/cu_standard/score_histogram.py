"""The noise envelope as a plot: how far each score lies from the border of its classifier.

0 is the border for all. The plot decides nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from cu_audit.records import Histogram, Question

from cu_standard.envelope import COVERAGE

RETAINED, RETAINED_DRAWN = "retained before", 300
"""A group of the plot, and how many of its pictures are drawn at most."""

BINS = 30
"""About."""


def score_histogram(past_border: Mapping[str, torch.Tensor]) -> Histogram:
    """How the scores of each group lie to the border of the envelope, which is an edge between two bins.

    A score on the border is counted left of it, as it is inside. What is not finite is left out and named.

    Args:
        past_border: see `Scored`, of each group.
    """
    finite = {name: values[torch.isfinite(values)] for name, values in past_border.items()}
    drawn = {name: _some(values) if name == RETAINED else values for name, values in finite.items()}
    edges = _edges(torch.cat(list(drawn.values())))
    caption = (
        "A classifier scores each output: the more it looks like an output on a picture, and the less like one on "
        "noise, the higher. Shown is how far the score lies from the border of the envelope. Left of the border is "
        f"inside, as about {COVERAGE:.0%} of noise outputs are. Before, outputs should lie right of it; afterwards, "
        f"left. At most {RETAINED_DRAWN} retained pictures are drawn."
    )
    left_out = {name: len(values) - len(finite[name]) for name, values in past_border.items()}
    if any(left_out.values()):
        told = ", ".join(f"{count} of {name}" for name, count in left_out.items() if count)
        caption += f" Not drawn, since they have no finite score: {told}."
    return Histogram(
        title="How like noise the outputs are",
        caption=caption,
        question=Question.FORGOTTEN,
        unit="score, less that of the border",
        edges=tuple(edges.tolist()),
        counts={name: _counts(values, edges) for name, values in drawn.items()},
        marks={"border of the envelope": 0.0},
    )


def _some(values: torch.Tensor) -> torch.Tensor:
    """At most `RETAINED_DRAWN`, evenly from all."""
    return values[:: max(1, math.ceil(len(values) / RETAINED_DRAWN))]


def _edges(values: torch.Tensor) -> torch.Tensor:
    """About `BINS` bins of one width from below the lowest value to the highest, one edge at exactly 0."""
    ends = torch.cat([values, torch.zeros(1, dtype=values.dtype)])
    low, high = float(ends.min()), float(ends.max())
    width = (high - low) / BINS or 1.0
    return torch.arange(math.ceil(low / width) - 1, math.ceil(high / width) + 1, dtype=torch.float64) * width


def _counts(values: torch.Tensor, edges: torch.Tensor) -> tuple[int, ...]:
    """Of values between neighbouring edges, the upper one included."""
    bins = len(edges) - 1
    places = (torch.bucketize(values.contiguous(), edges) - 1).clamp(0, bins - 1)
    return tuple(torch.bincount(places, minlength=bins).tolist())
