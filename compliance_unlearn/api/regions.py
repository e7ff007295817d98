"""What of a picture is scored: the part that a model generated, and nothing that it was given."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

BLANK = 0.5
"""Grey that stands for given pixels where they cannot be cut off."""


def generated_region(images: torch.Tensor, generated: torch.Tensor) -> torch.Tensor:
    """Cut the smallest box around all generated pixels out of each picture, and make given pixels in it grey.

    For a hidden rectangle that is the rectangle; for a frame or a random mask the whole picture, where outputs and
    truths show the same grey.

    Args:
        images: ``[n, channels, height, width]``.
        generated: boolean ``[n, 1, height, width]`` with at least one True.
    """
    import torch

    anywhere = generated.any(dim=0)[0]
    rows, columns = (torch.nonzero(anywhere.any(dim=axis)).flatten() for axis in (1, 0))
    box = (..., slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1))
    return torch.where(generated[box], images[box], BLANK)
