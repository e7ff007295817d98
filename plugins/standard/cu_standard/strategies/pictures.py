"""Small variations of pictures, so that unseen ones of the same subject or class follow those that are trained on."""

from __future__ import annotations

import torch


def augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Mirror half of the images, shift each by up to 3 % of its size, and change contrast and brightness a little.

    Args:
        images: ``[n, channels, height, width]``; border pixels are repeated where a shift uncovers nothing.
        generator: source of all choices.
    """
    count, _, height, width = images.shape
    images = mirrored(images, torch.rand(count, generator=generator) < 0.5)
    shifts = [_shifts(size, count, generator) for size in (height, width)]
    rows = (torch.arange(height) + shifts[0][:, None]).clamp(0, height - 1)
    columns = (torch.arange(width) + shifts[1][:, None]).clamp(0, width - 1)
    images = images[torch.arange(count)[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    contrast = 1.0 + 0.15 * (2.0 * torch.rand(count, 1, 1, 1, generator=generator) - 1.0)
    brightness = 0.045 * (2.0 * torch.rand(count, 1, 1, 1, generator=generator) - 1.0)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return (images - mean) * contrast + mean + brightness


def mirrored(images: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
    """Images ``[n, channels, height, width]``, those where the boolean ``which`` ``[n]`` holds from left to right."""
    return torch.where(which[:, None, None, None], images.flip(-1), images)


def _shifts(size: int, count: int, generator: torch.Generator) -> torch.Tensor:
    reach = max(1, round(0.03 * size))
    return torch.randint(-reach, reach + 1, (count,), generator=generator)
