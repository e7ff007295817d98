"""A feature network that costs nothing, for tests of what is done with features."""

from __future__ import annotations

import torch

from compliance_unlearn.api import FeatureNet


class QuickNet(FeatureNet):
    """48 random projections of 8 × 8 pixels, and how bright a picture is; knows three classes."""

    classifies = True

    def __init__(self) -> None:
        super().__init__("quick", "0123456789abcdef" * 4, 8)
        self._weights = torch.randn(64, 48, generator=torch.Generator().manual_seed(0)) / 8

    def class_probabilities(self, embeddings: torch.Tensor) -> torch.Tensor:
        return embeddings[:, :3].softmax(dim=1)

    def _embed(self, images: torch.Tensor) -> torch.Tensor:
        pixels = torch.nn.functional.interpolate(images.mean(dim=1, keepdim=True), (8, 8)).flatten(1)
        return torch.relu(pixels @ self._weights) + pixels.square().mean(dim=1, keepdim=True)
