"""Encoder features as figures: standardised for probes, and drawn where they vary most.

The drawing shows features along the two principal components of those of the original on pictures to forget and on
noise, standardised over these two together, so that places can be compared. It decides nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from cu_audit.records import FORGET, RETAIN, Question, Scatter

from compliance_unlearn.api import CheckContext, World

WIDTH = 4096
"""Numbers that features are hashed to where they are more."""

ROUNDING = 1e-5
"""What varies by less than this share of its own size, of that of most features, or of the truth, is a constant."""

DRAWN_AT_LEAST, DRAWN_AT_MOST = 3, 150
"""Pictures of a group in the plot of features: without so many before and of noise there is none."""

ROUNDED_TO = 100
"""Steps that the widest axis is divided into."""

BEFORE, NOISE = "forget before", "noise"
"""Groups that the plot's axes come from."""

DRAWN = {
    BEFORE: (World.ORIGINAL, FORGET),
    NOISE: (World.NOISE, FORGET),
    "forget after": (World.CANDIDATE, FORGET),
    "retained before": (World.ORIGINAL, RETAIN),
}
"""Groups in the plot of features: world and set of each."""


def standardised(
    depths: tuple[torch.Tensor, ...], generator: torch.Generator, known: int | None = None
) -> torch.Tensor:
    """Features of all depths side by side, each with mean 0 and deviation 1 or constantly 0, ``[n, at most WIDTH]``.

    More than that are hashed: each is added with a random sign to one of `WIDTH` sums. What is not finite makes some
    results not finite.

    Args:
        depths: ``[n, ...]`` each.
        generator: of the hashing.
        known: the first rows, whose mean and deviation are taken for all; None: those of all rows.
    """
    parts = []
    for depth in depths:
        values = depth.flatten(1).double()
        mean, deviation = values[:known].mean(dim=0), values[:known].std(dim=0)
        size = values[:known].square().mean(dim=0).sqrt()
        varies = ~(deviation <= ROUNDING * torch.maximum(size, size.median()))
        parts.append(torch.where(varies, (values - mean) / deviation.clamp(min=1e-30), 0.0).float())
    features = torch.cat(parts, dim=1)
    if (width := features.shape[1]) <= WIDTH:
        return features
    signs = 2.0 * torch.randint(2, (width,), generator=generator) - 1.0
    sums = torch.randint(WIDTH, (width,), generator=generator)
    hashed: torch.Tensor = torch.zeros(len(features), WIDTH).index_add_(1, sums, features * signs)
    return hashed * math.sqrt(WIDTH / width)


def principal_components(features: torch.Tensor, known: int) -> tuple[torch.Tensor, float]:
    """Coordinates along the two directions in which the first ``known`` rows vary most (Pearson, 1901).

    Args:
        features: ``[n, d]``.
        known: at least 2.

    Returns:
        ``[n, 2]``, and the share of the variance of the known rows that they hold. The largest weight of a direction is
        positive; a direction that does not exist is 0 everywhere.
    """
    centred = features.double() - features[:known].double().mean(dim=0)
    _, sizes, directions = torch.linalg.svd(centred[:known], full_matrices=False)
    chosen = directions[:2]
    largest = chosen.gather(1, chosen.abs().argmax(dim=1, keepdim=True))
    points = torch.zeros(len(features), 2, dtype=torch.float64)
    points[:, : len(chosen)] = centred @ (chosen * largest.sign()).T
    variances = sizes.square()
    return points, float(variances[:2].sum() / variances.sum().clamp(min=1e-30))


def feature_map(context: CheckContext) -> tuple[Scatter, ...]:
    """Where the features lie; nothing with fewer than `DRAWN_AT_LEAST` pictures before, or of noise.

    Coordinates are rounded and each group is sorted: a point must not tell, to who holds a photograph and the original
    model, whether that very photograph was among those to forget.
    """
    if context.counts.get(FORGET, 0) < DRAWN_AT_LEAST:
        return ()
    groups = {name: _drawn(context, *where) for name, where in DRAWN.items() if context.counts.get(where[1])}
    finite = {
        name: torch.stack([depth.isfinite().all(dim=1) for depth in depths]).all(dim=0)
        for name, depths in groups.items()
    }
    counts = {name: int(rows.sum()) for name, rows in finite.items()}
    if min(counts[BEFORE], counts[NOISE]) < DRAWN_AT_LEAST:
        return ()
    rows = torch.cat(list(finite.values()))
    depths = tuple(torch.cat(parts)[rows] for parts in zip(*groups.values(), strict=True))
    known = counts[BEFORE] + counts[NOISE]
    features = standardised(depths, context.generator("hashing of features"), known)
    points, share = principal_components(features, known)
    parts = dict(zip(counts, torch.split(points, list(counts.values())), strict=True))
    drawn = {name: _rounded(part, points) for name, part in parts.items()}
    left_out = {name: len(rows) - len(drawn[name]) for name, rows in finite.items()}
    return (
        Scatter(
            title="What the encoder makes of the pictures",
            caption=_caption(share, left_out),
            question=Question.RECOVERABLE,
            axes=("first principal component", "second principal component"),
            points=drawn,
        ),
    )


def _rounded(part: torch.Tensor, points: torch.Tensor) -> tuple[tuple[float, float], ...]:
    """The finite ones of some points, to a hundredth of what all points span, in the order of their coordinates."""
    finite = points[points.isfinite().all(dim=1)]
    step = float((finite.amax(dim=0) - finite.amin(dim=0)).max()) / ROUNDED_TO or 1.0
    kept = part[part.isfinite().all(dim=1)].tolist()
    return tuple(sorted((round(across / step) * step, round(up / step) * step) for across, up in kept))


def _drawn(context: CheckContext, world: World, name: str) -> tuple[torch.Tensor, ...]:
    """Features of some pictures of a set, the same ones in every world, ``[n, d]`` for each depth."""
    order = torch.randperm(context.counts[name], generator=context.generator("pictures that are drawn"))
    return tuple(depth.flatten(1) for depth in context.features(world, name, order[:DRAWN_AT_MOST]))


def _caption(share: float, left_out: Mapping[str, int]) -> str:
    caption = (
        "Each point is what the encoder makes of one picture, at all depths that the probes read. The axes are the two "
        "directions in which noise and the pictures to forget, before, vary most; they hold "
        f"{share:.0%} of that variance. Where these two groups are small, they lie further apart than fresh ones "
        "would, since the axes were fitted to them. If the encoder treats forgotten pictures like noise, they moved "
        "towards noise. This is no test: what lies in other directions does not show. "
        f"At most {DRAWN_AT_MOST} of each group are drawn."
    )
    if not any(left_out.values()):
        return caption
    told = ", ".join(f"{count} of {name}" for name, count in left_out.items() if count)
    return f"{caption} Not drawn, since their features are not finite: {told}."
