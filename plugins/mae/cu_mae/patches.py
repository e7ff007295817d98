"""Images as sequences of patches, and masks of pixels as choices of patches."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from compliance_unlearn.api import ModelError


@dataclass(frozen=True)
class VisiblePatches:
    """T(x) for a masked autoencoder. It holds no hidden pixel, so none can leak into what the model makes.

    Attributes:
        pixels: ``[n, visible, patch * patch, channels]``, visible patches in raster order, black 0 and white 1.
        visible: integer ``[n, visible]``, places of the visible patches in the grid, ascending.
        hidden: integer ``[n, hidden]``, places of the hidden patches, ascending.
    """

    pixels: torch.Tensor
    visible: torch.Tensor
    hidden: torch.Tensor


def patchify(images: torch.Tensor, patch: int) -> torch.Tensor:
    """Cut images into patches.

    Args:
        images: ``[n, channels, rows * patch, columns * patch]``.
        patch: edge of a patch in pixels.

    Returns:
        ``[n, rows * columns, patch * patch, channels]``, patches and pixels in raster order.
    """
    count, channels, height, width = images.shape
    grid = images.reshape(count, channels, height // patch, patch, width // patch, patch)
    return grid.permute(0, 2, 4, 3, 5, 1).reshape(count, -1, patch * patch, channels)


def unpatchify(patches: torch.Tensor, patch: int, height: int, width: int) -> torch.Tensor:
    """Undo `patchify`: ``[n, patches, patch * patch, channels]`` to ``[n, channels, height, width]``."""
    count, channels = len(patches), patches.shape[-1]
    grid = patches.reshape(count, height // patch, width // patch, patch, patch, channels)
    return grid.permute(0, 5, 1, 3, 2, 4).reshape(count, channels, height, width)


def split_patches(hidden: torch.Tensor, patch: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Places of the visible and of the hidden patches.

    Args:
        hidden: boolean ``[n, 1, height, width]``, True where a pixel is hidden.
        patch: edge of a patch in pixels.

    Returns:
        Integer ``[n, visible]`` and ``[n, hidden]``, each ascending.

    Raises:
        ModelError: a patch is hidden in part, or the images of the batch do not hide the same number of patches.
    """
    cells = patchify(hidden, patch).flatten(2)
    masked = cells.any(dim=2)
    if not torch.equal(masked, cells.all(dim=2)):
        raise ModelError(f"a mask must hide whole patches of {patch} by {patch} pixels")
    counts = masked.sum(dim=1)
    if not torch.equal(counts, counts[:1].expand_as(counts)):
        raise ModelError("all images of a batch must hide the same number of patches")
    order = masked.int().argsort(dim=1, stable=True)
    shown = masked.shape[1] - (int(counts[0]) if len(counts) else 0)
    return order[:, :shown], order[:, shown:]


def take(patches: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Patches ``[n, k, ...]`` at ``places`` ``[n, k]``, out of ``[n, patches, ...]``."""
    return patches[torch.arange(len(patches), device=patches.device)[:, None], places]


def assemble(shown: VisiblePatches, generated: torch.Tensor) -> torch.Tensor:
    """Put the visible patches and the ``generated`` ones ``[n, hidden, patch * patch, channels]`` back in order."""
    places = torch.cat([shown.visible, shown.hidden], dim=1)
    return take(torch.cat([shown.pixels.to(generated.dtype), generated], dim=1), places.argsort(dim=1))
