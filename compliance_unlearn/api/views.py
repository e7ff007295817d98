"""Views: how each image of a batch is seen, so that student and teacher, before and after, see the very same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Views:
    """One view of each of ``n`` images; everything random about T(x) and about generation stands here.

    Attributes:
        hidden: boolean ``[n, 1, height, width]``, True where the pixel is hidden from the model.
        seeds: integer ``[n]`` on the CPU, of whatever else is random: noise and time of a diffusion model, the order
            in which tokens are filled in. All zero for families that draw nothing.
    """

    hidden: torch.Tensor
    seeds: torch.Tensor

    def __len__(self) -> int:
        return len(self.hidden)

    def __getitem__(self, index: slice | torch.Tensor) -> Views:
        return Views(self.hidden[index], self.seeds[index])

    @staticmethod
    def concatenated(parts: Sequence[Views]) -> Views:
        """The views of several batches, in order."""
        import torch

        return Views(torch.cat([part.hidden for part in parts]), torch.cat([part.seeds for part in parts]))


def seeded_noise(seeds: torch.Tensor, shape: Sequence[int], purpose: int = 0) -> torch.Tensor:
    """Standard normal noise, each image's from its own seed, so that it does not depend on the rest of the batch.

    Args:
        seeds: integer ``[n]``.
        shape: of the noise of one image.
        purpose: a small number; other numbers give other noise for the same seeds.

    Returns:
        Float ``[n, *shape]`` on the CPU.
    """
    import torch

    generator = torch.Generator()
    noise = torch.empty(len(seeds), *shape)
    for row, seed in zip(noise, seeds.tolist(), strict=True):
        row.normal_(generator=generator.manual_seed((seed + purpose) % 2**63))
    return noise


def seeded_uniform(seeds: torch.Tensor, shape: Sequence[int] = (), purpose: int = 0) -> torch.Tensor:
    """Numbers drawn evenly from [0, 1), like `seeded_noise`: float ``[n, *shape]`` on the CPU."""
    import torch

    generator = torch.Generator()
    drawn = torch.empty(len(seeds), *shape)
    for index, seed in enumerate(seeds.tolist()):
        drawn[index] = torch.rand(tuple(shape), generator=generator.manual_seed((seed + purpose) % 2**63))
    return drawn
