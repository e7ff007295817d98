"""The adapter: a ViT-MAE as an image-to-image model that fills in hidden patches."""

from __future__ import annotations

from pathlib import Path

import torch

from compliance_unlearn.api import ImageShape, ModelAdapter, ModelError, PixelStatistics, RandomMask, Task, Views
from compliance_unlearn.api.model_files import require_family
from cu_mae import official_layout, transformers_layout
from cu_mae.forward import decode, encode, hidden_target, patch_moments
from cu_mae.network import NamedNetwork
from cu_mae.params import MaeParams
from cu_mae.patches import VisiblePatches, assemble, patchify, split_patches, take, unpatchify
from cu_mae.stored import StoredModel

FAMILY = ("a ViT-MAE of transformers", "an MAE as its authors store it")


class MaeAdapter(ModelAdapter):
    """Masked autoencoder of He et al. (2022), stored as by `ViTMAEForPreTraining` of transformers or by the authors.

    The encoder is ``vit``: it sees the visible patches only, and its output after the last layer norm is what an
    objective aligns. Neither the fixed position tables nor any tensor of ``decoder`` belong to it.
    """

    def __init__(self, params: MaeParams, task: Task) -> None:
        super().__init__(task)
        self._architecture = params.architecture
        self._stored: StoredModel | None = None

    @property
    def _model(self) -> StoredModel:
        if self._stored is None:
            raise ModelError("no model has been loaded or created yet")
        return self._stored

    @property
    def module(self) -> NamedNetwork:
        """The network; names in its state dict are those of the weights file."""
        return self._model.module

    @property
    def image_shape(self) -> ImageShape:
        """Size of the images; before a model is there, that of the architecture that `create` would make."""
        return self._stored.shape if self._stored else self._architecture.image_shape

    @property
    def statistics(self) -> PixelStatistics:
        """Normalisation of the pixels."""
        return self._model.statistics

    @property
    def cell(self) -> int:
        """The patch size."""
        return self._stored.patch if self._stored else self._architecture.patch_size

    def _load(self, weights: Path) -> None:
        require_family(weights, FAMILY)
        layout = official_layout if official_layout.recognises(weights) else transformers_layout
        self._stored = layout.read(weights)

    def _create(self, statistics: PixelStatistics, generator: torch.Generator) -> None:
        channels = self._architecture.channels
        if not len(statistics.mean) == len(statistics.std) == channels:
            raise ModelError(f"the model takes {channels} channels, the images have {len(statistics.mean)}")
        ratio = self.task.ratio if isinstance(self.task, RandomMask) else getattr(self.task, "area", 0.75)
        self._stored = transformers_layout.new(self._architecture, ratio, statistics, generator)

    def _degrade(self, images: torch.Tensor, views: Views) -> VisiblePatches:
        shown, masked = split_patches(views.hidden, self.cell)
        return VisiblePatches(take(patchify(images, self.cell), shown), shown, masked)

    def _encode(self, inputs: VisiblePatches) -> tuple[torch.Tensor, ...]:
        return (encode(self.module.network, self._normalise(inputs.pixels), inputs.visible),)

    def _decode(self, features: tuple[torch.Tensor, ...], inputs: VisiblePatches) -> torch.Tensor:
        """Composite: visible pixels as they came in, hidden ones as the decoder fills them in.

        A model trained with ``norm_pix_loss`` predicts each patch in units of its own mean and deviation, which are
        hidden. The averages over the visible patches of the same image stand in, never the truth.
        """
        (tokens,) = features
        filled = decode(self.module.network, tokens, inputs.visible, inputs.hidden).float()
        if self._model.norm_pix_loss:
            moments = patch_moments(self._normalise(inputs.pixels))
            mean, variance = (moment.mean(dim=1, keepdim=True) for moment in moments)
            filled = filled * (variance + 1e-6) ** 0.5 + mean
        shape = self.image_shape
        filled = filled.reshape(*filled.shape[:2], -1, shape.channels)
        mean, std = self._moments(filled)
        return unpatchify(assemble(inputs, filled * std + mean), self.cell, shape.height, shape.width)

    def _training_loss(self, images: torch.Tensor, targets: torch.Tensor, views: Views) -> torch.Tensor:
        inputs = self._degrade(images, views)
        tokens = encode(self.module.network, self._normalise(inputs.pixels), inputs.visible)
        predicted = decode(self.module.network, tokens, inputs.visible, inputs.hidden).float()
        wanted = self._normalise(patchify(targets, self.cell))
        return torch.mean((predicted - hidden_target(wanted, inputs.hidden, self._model.norm_pix_loss)) ** 2)

    def _encoder_tensors(self) -> frozenset[str]:
        return self.module.encoder_tensors()

    def _export(self, folder: Path) -> None:
        self._model.write(folder)

    def _normalise(self, patches: torch.Tensor) -> torch.Tensor:
        mean, std = self._moments(patches)
        return (patches - mean) / std

    def _moments(self, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and deviation of the channels, each ``[channels]``."""
        mean, std = (torch.tensor(part, device=like.device) for part in (self.statistics.mean, self.statistics.std))
        return mean, std
