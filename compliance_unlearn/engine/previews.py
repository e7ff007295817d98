"""What a model in training makes of a few pictures that it never saw, and how well it does on all of those."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from compliance_unlearn.api import ModelAdapter, shown_pixels
from compliance_unlearn.engine.images import RecordImages
from compliance_unlearn.engine.randomness import generator_for
from compliance_unlearn.engine.worlds import reconstruct
from compliance_unlearn.workspace.files import write_atomic

COLUMNS = 8
"""Pictures in a preview."""

MEASURED_AT_MOST = 200
"""Held-out pictures that the figure is an average over."""

GREY = 0.5
PERFECT = 1e-10
"""Mean squared error below which a picture counts as perfect, 100 dB."""


class Previews:
    """Held-out pictures under views that stay the same during the whole training.

    Everything random comes from generators of its own, and the module is back in training mode afterwards, so that a
    training with previews ends in the same bits as one without.
    """

    def __init__(self, adapter: ModelAdapter, images: RecordImages, held_out: torch.Tensor, seed: int) -> None:
        """Draw the views.

        Args:
            adapter: with a model.
            images: decoded pictures.
            held_out: indices of those that are not trained on; may be empty.
            seed: of the training.
        """
        order = torch.randperm(len(held_out), generator=generator_for(seed, "pictures of the previews"))
        self._adapter = adapter
        self._truth = images.batch(held_out[order][:MEASURED_AT_MOST])
        self._views = adapter.views(len(self._truth), generator_for(seed, "views of the previews"))

    def __len__(self) -> int:
        return len(self._truth)

    def write(self, path: Path) -> None:
        """Write a PNG with three rows: the truth, what the model is shown, and what it makes of that."""
        truth, views = self._truth[:COLUMNS], self._views[:COLUMNS]
        training = self._adapter.module.training
        self._adapter.module.eval()
        made = reconstruct(self._adapter, truth, views).images
        self._adapter.module.train(training)
        shown = shown_pixels(self._adapter.task, truth, views.hidden, torch.full((truth.shape[1],), GREY))
        write_atomic(path, _grid(torch.stack([truth, shown, made])))

    def psnr(self) -> float | None:
        """Mean PSNR in dB of what the model in evaluation mode makes up, None without held-out pictures."""
        if not len(self):
            return None
        made = reconstruct(self._adapter, self._truth, self._views)
        scored = made.generated.expand_as(self._truth)
        squared = torch.where(scored, (made.images - self._truth).double() ** 2, 0.0)
        error = squared.flatten(1).sum(dim=1) / scored.flatten(1).sum(dim=1)
        return float(-10.0 * torch.log10(error.clamp(min=PERFECT)).mean())


def _grid(pictures: torch.Tensor) -> bytes:
    """A PNG of ``[rows, columns, channels, height, width]`` in [0, 1]."""
    rows, columns, channels, height, width = pictures.shape
    grid = pictures.permute(0, 3, 1, 4, 2).reshape(rows * height, columns * width, channels)
    pixels = np.rint(grid.clamp(0.0, 1.0).numpy() * 255.0).astype(np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(buffer, "PNG")
    return buffer.getvalue()
