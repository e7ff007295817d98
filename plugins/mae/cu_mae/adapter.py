"""The adapter: a ViT-MAE as an image-to-image model that fills in hidden patches."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch

from compliance_unlearn.api import (
    ImageShape,
    ModelAdapter,
    ModelError,
    PixelStatistics,
    RandomMask,
    Task,
    Views,
    WorkspaceError,
)
from cu_mae import layout
from cu_mae.forward import decode, encode, hidden_target, patch_moments
from cu_mae.network import (
    POSITION_TABLES,
    NamedNetwork,
    architecture_config,
    build_network,
    complete_config,
    initialise_network,
    zero_tables,
)
from cu_mae.params import MaeParams
from cu_mae.patches import VisiblePatches, assemble, patchify, split_patches, take, unpatchify
from cu_mae.weights import classic_name, read_weights, weight_bytes

_log = logging.getLogger(__name__)


class MaeAdapter(ModelAdapter):
    """Masked autoencoder of He et al. (2022), as `ViTMAEForPreTraining` of transformers.

    The encoder is ``vit``: it sees the visible patches only, and its output after the last layer norm is what an
    objective aligns. Neither the fixed position tables nor any tensor of ``decoder`` belong to it.
    """

    def __init__(self, params: MaeParams, task: Task) -> None:
        super().__init__(task)
        self._params = params
        sizes = params.architecture
        self._shape = ImageShape(sizes.channels, sizes.image_size, sizes.image_size)
        self._patch = sizes.patch_size
        self._named: NamedNetwork | None = None
        self._config: dict[str, Any] = {}
        self._files: dict[str, bytes] = {}
        self._dtypes: dict[str, torch.dtype] = {}

    @property
    def module(self) -> NamedNetwork:
        """The network; names in its state dict are those of the weights file."""
        if self._named is None:
            raise ModelError("no model has been loaded or created yet")
        return self._named

    @property
    def image_shape(self) -> ImageShape:
        """Size of the images; before a model is there, that of the architecture that `create` would make."""
        return self._shape

    @property
    def statistics(self) -> PixelStatistics:
        """Normalisation of the pixels."""
        if self._named is None:
            raise ModelError("no model has been loaded or created yet")
        return self._statistics

    @property
    def cell(self) -> int:
        """The patch size."""
        return self._patch

    def _load(self, weights: Path) -> None:
        layout.check_folder(weights)
        path = weights / layout.CONFIG
        stored = layout.read_json(path)
        if stored.get("model_type") != layout.MODEL_TYPE:
            raise ModelError(f"{path}: model_type is {stored.get('model_type')!r}, expected {layout.MODEL_TYPE!r}")
        self._config = complete_config(stored)
        self._shape, self._patch = layout.image_geometry(self._config, path)
        self._statistics = layout.read_statistics(weights, self._shape.channels)
        network = build_network({**self._config, "image_size": self._shape.height, "patch_size": self._patch}, "meta")
        shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
        content = read_weights(weights / layout.WEIGHTS, shapes)
        network.load_state_dict(content.tensors, assign=True)
        for table in zero_tables(network):
            _log.warning("%s: %s is all zeros, the model cannot tell places apart", weights, table)
        self._named = NamedNetwork(network, content.names)
        self._dtypes = {content.names[name]: dtype for name, dtype in content.dtypes.items()}
        self._files = {
            name: (weights / name).read_bytes()
            for name in (layout.CONFIG, layout.PREPROCESSOR)
            if (weights / name).is_file()
        }

    def _create(self, statistics: PixelStatistics, generator: torch.Generator) -> None:
        ratio = self.task.ratio if isinstance(self.task, RandomMask) else getattr(self.task, "area", 0.75)
        self._config = architecture_config(self._params.architecture, ratio)
        if not len(statistics.mean) == len(statistics.std) == self._shape.channels:
            raise ModelError(f"the model takes {self._shape.channels} channels, the images have {len(statistics.mean)}")
        self._statistics = statistics
        network = initialise_network(complete_config(self._config), generator)
        self._named = NamedNetwork(network, {name: classic_name(name) for name in network.state_dict()})

    def _degrade(self, images: torch.Tensor, views: Views) -> VisiblePatches:
        shown, masked = split_patches(views.hidden, self._patch)
        return VisiblePatches(take(patchify(images, self._patch), shown), shown, masked)

    def _encode(self, inputs: VisiblePatches) -> tuple[torch.Tensor, ...]:
        return (encode(self.module.network, self._normalise(inputs.pixels), inputs.visible),)

    def _decode(self, features: tuple[torch.Tensor, ...], inputs: VisiblePatches) -> torch.Tensor:
        """Composite: visible pixels as they came in, hidden ones as the decoder fills them in.

        A model trained with ``norm_pix_loss`` predicts each patch in units of its own mean and deviation, which are
        hidden. The averages over the visible patches of the same image stand in, never the truth.
        """
        (tokens,) = features
        filled = decode(self.module.network, tokens, inputs.visible, inputs.hidden).float()
        if self._config["norm_pix_loss"]:
            moments = patch_moments(self._normalise(inputs.pixels))
            mean, variance = (moment.mean(dim=1, keepdim=True) for moment in moments)
            filled = filled * (variance + 1e-6) ** 0.5 + mean
        filled = filled.reshape(*filled.shape[:2], -1, self._shape.channels)
        mean, std = self._moments(filled)
        return unpatchify(assemble(inputs, filled * std + mean), self._patch, self._shape.height, self._shape.width)

    def _training_loss(self, images: torch.Tensor, targets: torch.Tensor, views: Views) -> torch.Tensor:
        inputs = self._degrade(images, views)
        tokens = encode(self.module.network, self._normalise(inputs.pixels), inputs.visible)
        predicted = decode(self.module.network, tokens, inputs.visible, inputs.hidden).float()
        wanted = self._normalise(patchify(targets, self._patch))
        return torch.mean((predicted - hidden_target(wanted, inputs.hidden, self._config["norm_pix_loss"])) ** 2)

    def _encoder_tensors(self) -> frozenset[str]:
        return frozenset(
            name
            for name, _ in self.module.named_parameters()
            if name.startswith("vit.") and name not in POSITION_TABLES
        )

    def _export(self, folder: Path) -> None:
        tensors = {
            name: tensor.to(self._dtypes.get(name, torch.float32)) for name, tensor in self.module.state_dict().items()
        }
        try:
            if layout.CONFIG in self._files:
                (folder / layout.CONFIG).write_bytes(self._files[layout.CONFIG])
            else:
                layout.write_json(folder / layout.CONFIG, self._config)
            if layout.PREPROCESSOR in self._files:
                (folder / layout.PREPROCESSOR).write_bytes(self._files[layout.PREPROCESSOR])
            else:
                processor = layout.preprocessor_config(self._statistics, self._shape)
                layout.write_json(folder / layout.PREPROCESSOR, processor)
            (folder / layout.WEIGHTS).write_bytes(weight_bytes(tensors))
        except OSError as error:
            raise WorkspaceError(f"{folder}: the model cannot be written: {error.strerror}") from error

    def _normalise(self, patches: torch.Tensor) -> torch.Tensor:
        mean, std = self._moments(patches)
        return (patches - mean) / std

    def _moments(self, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and deviation of the channels, each ``[channels]``."""
        mean, std = (torch.tensor(part, device=like.device) for part in (self._statistics.mean, self._statistics.std))
        return mean, std
