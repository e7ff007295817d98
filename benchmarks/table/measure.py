"""Scores of one model's outputs on one set."""

from __future__ import annotations

import torch
from cu_standard.scores import class_score, frechet_distance, kernel_distance, similarity
from cu_standard.statistics import finite_mean, peak_signal_noise_ratio

from compliance_unlearn.api import FeatureNet, Outputs, generated_region

FIGURES = ("frechet", "kernel", "classes", "similarity", "psnr")
"""Names of the figures, in the order of the table's columns."""


class Scorer:
    """Embeds outputs and truths; truths of a set only once."""

    def __init__(self, net: FeatureNet, device: torch.device) -> None:
        self._net = net
        self._device = device
        self._truths: dict[str, torch.Tensor] = {}

    def score(self, outputs: Outputs, set_name: str) -> dict[str, float | None]:
        """All figures of `FIGURES`, of the generated pixels only.

        Args:
            outputs: of any model.
            set_name: names the truths; outputs of one name must have the same truths.
        """
        made = self.embed(outputs)
        if set_name not in self._truths:
            self._truths[set_name] = self._embed(outputs.truth, outputs.generated)
        truth = self._truths[set_name]
        return {
            "frechet": frechet_distance(made, truth),
            "kernel": kernel_distance(made, truth),
            "classes": class_score(self._probabilities(made)),
            "similarity": similarity(made, truth),
            "psnr": finite_mean(peak_signal_noise_ratio(outputs)),
        }

    def embed(self, outputs: Outputs) -> torch.Tensor:
        """Embeddings of the generated regions, ``[n, d]``."""
        return self._embed(outputs.images, outputs.generated)

    @torch.no_grad()
    def _embed(self, images: torch.Tensor, generated: torch.Tensor) -> torch.Tensor:
        return self._net.embed(generated_region(images, generated).to(self._device)).cpu()

    @torch.no_grad()
    def _probabilities(self, embeddings: torch.Tensor) -> torch.Tensor:
        return self._net.class_probabilities(embeddings.to(self._device)).cpu()
