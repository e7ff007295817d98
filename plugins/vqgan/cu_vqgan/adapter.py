"""The adapter: a plain VQ-GAN as an image-to-image model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from compliance_unlearn.api import (
    ImageShape,
    ModelAdapter,
    ModelError,
    PixelStatistics,
    Task,
    Views,
    WorkspaceError,
    shown_pixels,
    weight_bytes,
)
from compliance_unlearn.api.features import FeatureNet, feature_net
from cu_vqgan.config import architecture_config
from cu_vqgan.discriminator import PatchDiscriminator, new_discriminator
from cu_vqgan.layout import CONFIG, Layout, new_layout, read_layout
from cu_vqgan.losses import adversarial_loss, perceptual_loss
from cu_vqgan.network import NamedNetwork, build_network, initialise_network, unchanged_names
from cu_vqgan.params import VqganParams
from cu_vqgan.weights import read_weights

MIDDLE = 0.5
"""The network sees pixels in [-1, 1]: less this mean, divided by this deviation."""

PERCEPTION = "efficientnet-lite0"


class VqganAdapter(ModelAdapter):
    """VQ-GAN of Esser, Rombach, Ommer (2021), trained to make the whole image from T(x).

    The encoder ends before the quantiser: what an objective aligns are the vectors that the quantiser is about to
    replace by their nearest codes. Codebook and decoder do not belong to it.
    """

    def __init__(self, params: VqganParams, task: Task) -> None:
        super().__init__(task)
        self._params = params
        self._named: NamedNetwork | None = None
        self._layout: Layout | None = None
        self._notes = {"format": "pt"}
        self._discriminator: PatchDiscriminator | None = None
        self._perception: FeatureNet | None = None

    @property
    def module(self) -> NamedNetwork:
        """The network; names in its state dict are those of the weights file."""
        if self._named is None:
            raise ModelError("no model has been loaded or created yet")
        return self._named

    @property
    def image_shape(self) -> ImageShape:
        """Size of the images; before a model is there, that of the architecture that `create` would make."""
        return (self._layout.config if self._layout else architecture_config(self._params.architecture)).image_shape

    @property
    def statistics(self) -> PixelStatistics:
        """Always 0.5 and 0.5: VQ-GANs are trained on pixels in [-1, 1]."""
        channels = self.image_shape.channels
        return PixelStatistics((MIDDLE,) * channels, (MIDDLE,) * channels)

    def _load(self, weights: Path) -> None:
        layout, path = read_layout(weights)
        network = build_network(layout.config, "meta")
        shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
        content = read_weights(path, shapes, layout.network_name, layout.beside)
        network.load_state_dict(content.tensors, assign=True)
        self._layout, self._notes = layout, content.notes
        self._named = NamedNetwork(network, content.stored)

    def _create(self, statistics: PixelStatistics, generator: torch.Generator) -> None:
        """A model of the layout of diffusers; the pixels' own statistics do not matter."""
        config = architecture_config(self._params.architecture)
        if len(statistics.mean) != config.in_channels:
            raise ModelError(f"the model takes {config.in_channels} channels, the images have {len(statistics.mean)}")
        network = initialise_network(config, generator)
        self._named = NamedNetwork(network, unchanged_names(network))
        self._layout = new_layout(config)
        if self._params.adversarial:
            self._discriminator = new_discriminator(config.in_channels, generator)

    def _degrade(self, images: torch.Tensor, views: Views) -> torch.Tensor:
        """T(x) as the network sees it; hidden pixels are grey."""
        fill = torch.full((images.shape[1],), MIDDLE, device=images.device)
        return _to_network(shown_pixels(self.task, images, views.hidden, fill))

    def _encode(self, inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (self.module.network.encode(inputs).latents,)

    def _decode(self, features: tuple[torch.Tensor, ...], inputs: torch.Tensor) -> torch.Tensor:
        """The whole image, from the codes nearest to the features.

        Gradients pass the quantiser as if it were not there: the straight-through estimator of the paper's section 3.1.
        """
        del inputs
        (latents,) = features
        made: torch.Tensor = self.module.network.decode(latents).sample
        return made.float() * MIDDLE + MIDDLE

    def _generated(self, hidden: torch.Tensor) -> torch.Tensor:
        return torch.ones_like(hidden)

    def _encoder_tensors(self) -> frozenset[str]:
        return frozenset(
            name for name, _ in self.module.named_parameters() if name.startswith(("encoder.", "quant_conv."))
        )

    def _training_loss(self, images: torch.Tensor, targets: torch.Tensor, views: Views) -> torch.Tensor:
        network, wanted = self.module.network, _to_network(targets)
        made = network.decode(network.encode(self._degrade(images, views)).latents)
        picture = made.sample.float()
        fidelity = (picture - wanted).abs().mean()
        if self._params.perceptual:
            self._perception = self._perception or feature_net(PERCEPTION)
            fidelity = fidelity + self._params.perceptual * perceptual_loss(self._perception, picture, wanted)
        loss: torch.Tensor = fidelity + self._params.quantiser * made.commit_loss
        # Where nothing is learnt, the loss is only looked at, and two players' game says nothing about quality.
        if self._discriminator is not None and picture.requires_grad:
            last = network.decoder.conv_out.weight
            fooling, telling = adversarial_loss(self._discriminator, picture, wanted, fidelity, last)
            loss = loss + self._params.adversarial * fooling + telling
        return loss

    def _training_networks(self) -> Mapping[str, torch.nn.Module]:
        return {"discriminator": self._discriminator} if self._discriminator is not None else {}

    def _export(self, folder: Path) -> None:
        content = weight_bytes(self.module.as_stored(), self._notes)
        assert self._layout is not None  # since there is a module
        try:
            (folder / CONFIG).write_bytes(self._layout.content)
            (folder / self._layout.weights_name).write_bytes(content)
        except OSError as error:
            raise WorkspaceError(f"{folder}: the model cannot be written: {error.strerror}") from error


def _to_network(images: torch.Tensor) -> torch.Tensor:
    """Pixels as the network sees them."""
    return (images - MIDDLE) / MIDDLE
