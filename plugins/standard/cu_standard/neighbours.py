"""Which retained pictures are most like those to forget: the first that forgetting may harm."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from cu_audit.records import FORGET, RETAIN, Histogram, Question

from compliance_unlearn.api import CheckContext, ModelError, World, generated_region
from cu_standard.nets import default_net

SHARE = 0.1
"""Of the retained pictures that count as near."""

BINS = 24


def nearest_retained(context: CheckContext, *, by_pixels: bool = True) -> tuple[torch.Tensor, str]:
    """The tenth of retained pictures whose hidden content is nearest to that of any picture to forget.

    Args:
        context: what was measured.
        by_pixels: compare pixels if the feature network is not at hand; what is returned says so.

    Returns:
        Boolean ``[n]`` over the retained set, and how nearness was measured, in words.

    Raises:
        ModelError: the network is not at hand, and pixels are not wanted in its place.
    """
    outputs = [context.outputs(World.TRUTH, name) for name in (RETAIN, FORGET)]
    try:
        net = default_net()
    except ModelError as error:
        if not by_pixels:
            raise
        rows = [generated_region(part.images, part.generated).flatten(1) for part in outputs]
        measured_by = f"pixels, for want of a feature network: {error}"
    else:
        rows = [context.embeddings(net, part).cpu() for part in outputs]
        measured_by = net.label
    distances = torch.cdist(rows[0].double(), rows[1].double()).min(dim=1).values
    near = torch.zeros(len(distances), dtype=torch.bool)
    near[distances.argsort(stable=True)[: max(1, round(SHARE * len(distances)))]] = True
    return near, measured_by


def drop_histogram(drops: Mapping[str, torch.Tensor], margin: float | None, measured_by: str) -> tuple[Histogram, ...]:
    """How drops of single pictures are spread; none if there is no finite one.

    Args:
        drops: ``[n]`` in dB, of near neighbours and of others.
        margin: largest mean drop that near neighbours may have, if there is one.
        measured_by: how nearness was measured.
    """
    finite = {name.replace("-", " "): values[torch.isfinite(values)] for name, values in drops.items()}
    pooled = torch.cat(list(finite.values()))
    if not len(pooled):
        return ()
    low = float(pooled.min())
    high = max(float(pooled.max()), low + 0.1)
    left_out = sum(len(values) for values in drops.values()) - len(pooled)
    caption = (
        "If forgetting harms others, it harms those first who are most like what was forgotten. "
        f"Near are the nearest tenth, by {measured_by}."
    )
    marks = {f"mean of {name}": float(values.mean()) for name, values in finite.items() if len(values)}
    return (
        Histogram(
            title="Loss of quality on retained pictures",
            caption=f"{caption} {left_out} pictures have no finite drop and are left out." if left_out else caption,
            question=Question.RETAINED,
            unit="drop of PSNR in dB",
            edges=tuple(torch.linspace(low, high, BINS + 1, dtype=torch.float64).tolist()),
            counts={
                name: tuple(int(count) for count in torch.histc(values, BINS, low, high))
                for name, values in finite.items()
            },
            marks=marks if margin is None else {**marks, "allowed mean of near neighbours": margin},
        ),
    )
