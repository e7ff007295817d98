"""The plots: embeddings as in the paper's Figure 4, pictures as in its Figure 1, and the ablations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from cu_audit.records import FORGET, RETAIN

from benchmarks.table.measure import Scorer
from benchmarks.table.run import Varied
from benchmarks.table.summary import figure
from compliance_unlearn.api import Outputs, World
from compliance_unlearn.engine.worlds import MeasuredWorlds

EMBEDDED = 150
"""Outputs of each group in the plot of embeddings."""

COLUMNS = 6
"""Pictures of each set."""

COLOURS = {FORGET: "#c1272d", RETAIN: "#2166ac", "noise": "#999999"}

METADATA = {"Software": None}
"""Nothing about the machine or its time in the files."""


def draw_embeddings(worlds: MeasuredWorlds, scorer: Scorer, path: Path) -> None:
    """t-SNE (van der Maaten and Hinton, 2008) of the embeddings of outputs: one map, before and after side by side."""
    from sklearn.manifold import TSNE

    groups = {
        (world, name): scorer.embed(_head(worlds.outputs(world, name), EMBEDDED))
        for world, name in (
            *((world, name) for world in (World.ORIGINAL, World.CANDIDATE) for name in (RETAIN, FORGET)),
            (World.NOISE, FORGET),
        )
    }
    stacked = torch.cat(list(groups.values()))
    perplexity = min(30.0, (len(stacked) - 1) / 3)
    points = TSNE(init="pca", perplexity=perplexity, random_state=0).fit_transform(stacked.numpy())
    places = dict(
        zip(groups, torch.split(torch.as_tensor(points), [len(part) for part in groups.values()]), strict=True)
    )
    plot, axes = _subplots(1, 2, (8.0, 4.0))
    for axis, world in zip(axes[0], (World.ORIGINAL, World.CANDIDATE), strict=True):
        axis.scatter(*places[World.NOISE, FORGET].T, s=6, c=COLOURS["noise"], label="the original on noise")
        for name in (RETAIN, FORGET):
            axis.scatter(*places[world, name].T, s=6, c=COLOURS[name], label=f"on pictures to {name}")
        axis.set_title("before" if world is World.ORIGINAL else "after", fontsize=9)
        _bare(axis)
    axes[0][0].legend(fontsize=7)
    _save(plot, path)


def draw_pictures(worlds: MeasuredWorlds, inputs: dict[str, torch.Tensor], path: Path) -> None:
    """Truth, input, output of the original and of the unlearned model.

    Args:
        worlds: with a candidate.
        inputs: of the sets forget and retain, T(x) as pictures ``[n, channels, height, width]``.
        path: of the file.
    """
    plot, axes = _subplots(4, 2 * COLUMNS, (8.0, 3.0))
    for first, name in ((0, FORGET), (COLUMNS, RETAIN)):
        before, after = (worlds.outputs(world, name) for world in (World.ORIGINAL, World.CANDIDATE))
        rows = (before.truth, inputs[name], before.images, after.images)
        chosen = torch.linspace(0, len(before) - 1, COLUMNS).long()
        for line, images in zip(axes, rows, strict=True):
            for axis, image in zip(line[first:], images[chosen], strict=False):
                axis.imshow(image.permute(1, 2, 0).squeeze(-1).numpy(), cmap="gray", vmin=0, vmax=1)
        axes[0][first].set_title(f"to {name}", fontsize=9, loc="left")
    for line, label in zip(axes, ("truth", "input", "original", "unlearned"), strict=True):
        line[0].set_ylabel(label, fontsize=8)
        for axis in line:
            _bare(axis)
    _save(plot, path)


def draw_ablations(found: Sequence[Varied], path: Path) -> None:
    """Similarity on forget and PSNR on retain over each setting that has an order."""
    ordered = [(varied.ablation, varied.pairs) for varied in found if varied.ablation.values]
    plot, axes = _subplots(2, len(ordered), (2.8 * len(ordered), 4.2))
    for column, (ablation, pairs) in enumerate(ordered):
        for line, (set_name, name) in zip(axes, ((FORGET, "similarity"), (RETAIN, "psnr")), strict=True):
            axis = line[column]
            for said, index, style in (("before", 0, "--"), ("after", 1, "-o")):
                means = [figure(pair[index].results, set_name, name) for pair in pairs]
                axis.errorbar(
                    ablation.values,
                    [float("nan") if mean.value is None else mean.value for mean in means],
                    yerr=[mean.half or 0.0 for mean in means],
                    fmt=style,
                    markersize=3,
                    color=COLOURS[set_name],
                    label=said,
                )
            if ablation.spans_decades:
                axis.set_xscale("log")
            axis.tick_params(labelsize=7)
        axes[1][column].set_xlabel(ablation.name, fontsize=8)
    axes[0][0].set_ylabel("similarity on forget", fontsize=8)
    axes[1][0].set_ylabel("PSNR on retain (dB)", fontsize=8)
    axes[0][0].legend(fontsize=7)
    _save(plot, path)


def _head(outputs: Outputs, count: int) -> Outputs:
    return Outputs(*(part[:count] for part in (outputs.truth, outputs.images, outputs.generated, outputs.subjects)))


def _subplots(rows: int, columns: int, size: tuple[float, float]) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    plot = Figure(figsize=size, layout="constrained")
    return plot, plot.subplots(rows, columns, squeeze=False)


def _bare(axis: Any) -> None:
    axis.set_xticks([])
    axis.set_yticks([])


def _save(plot: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    plot.savefig(path, dpi=110, metadata=METADATA)
