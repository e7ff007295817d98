"""The adapter: a masked generative encoder as an image-to-image model that fills in hidden tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch.nn import functional

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
from cu_vqgan.discriminator import new_discriminator
from cu_vqgan.mage import layout
from cu_vqgan.mage.initialise import new_network
from cu_vqgan.mage.network import MageNetwork, split_places
from cu_vqgan.mage.params import MageParams
from cu_vqgan.mage.sampling import fill_in
from cu_vqgan.mage.shapes import infer_sizes, require_same
from cu_vqgan.mage.tokens import TokenCache
from cu_vqgan.mage.training import MASKS, PictureCritic, reveal, token_loss, tokeniser_loss

ENCODER = ("blocks.", "norm.", "token_emb.position_embeddings.", "token_emb.LayerNorm.")
"""The encoder's tensors begin with these. The word embeddings are not among them: they are the output head, too."""


MIDDLE = 0.5
"""Mean and deviation that bring pixels into [-1, 1]."""


@dataclass(frozen=True)
class VisibleTokens:
    """T(x) for a MAGE.

    Attributes:
        ids: integer ``[n, tokens]``, computed from ``shown``.
        hidden: boolean ``[n, tokens]``, the tokens that the encoder does not see.
        shown: the image with its hidden pixels replaced, ``[n, channels, height, width]``.
        unseen: boolean ``[n, 1, height, width]``, the hidden pixels.
        seeds: integer ``[n]``.
    """

    ids: torch.Tensor
    hidden: torch.Tensor
    shown: torch.Tensor
    unseen: torch.Tensor
    seeds: torch.Tensor


class MageAdapter(ModelAdapter):
    """Masked generative encoder of Li et al. (CVPR 2023).

    No hidden pixel reaches the encoder: the tokeniser looks far beyond the square that a token stands for, so hidden
    pixels are replaced *before* the image is tokenised, by the mean that pixels are normalised with: grey for models
    of ours, black for the released checkpoints, as their authors do. A reconstruction is composed of the pixels that
    came in and, where they were hidden, of what the tokeniser's decoder makes of the whole grid.
    """

    samples: ClassVar[bool] = True

    def __init__(self, params: MageParams, task: Task) -> None:
        super().__init__(task)
        self._params = params
        sizes = params.architecture
        self._shape = ImageShape(sizes.channels, sizes.image_size, sizes.image_size)
        self._cell = sizes.cell
        self._network: MageNetwork | None = None
        self._statistics = PixelStatistics((), ())
        self._dtypes: dict[str, torch.dtype] = {}
        self._tokens = TokenCache()
        self._critic = PictureCritic(params)

    @property
    def module(self) -> MageNetwork:
        """The network; names in its state dict are those of the released checkpoints."""
        if self._network is None:
            raise ModelError("no model has been loaded or created yet")
        return self._network

    @property
    def image_shape(self) -> ImageShape:
        """Size of the images; before a model is there, that of the architecture that `create` would make."""
        return self._shape

    @property
    def statistics(self) -> PixelStatistics:
        """Normalisation of the pixels."""
        return self._statistics

    @property
    def cell(self) -> int:
        """Edge in pixels of the square that one token stands for."""
        return self._cell

    def _load(self, weights: Path) -> None:
        path = layout.weights_file(weights)
        config, tensors = layout.read_config(weights), layout.read_tensors(path)
        heads = (config.heads, config.decoder_heads) if config else None
        shapes = {name: tensor.shape for name, tensor in tensors.items()}
        sizes = infer_sizes(shapes, heads, str(path))
        with torch.device("meta"):
            network = MageNetwork(sizes)
        require_same(shapes, {name: tensor.shape for name, tensor in network.state_dict().items()}, str(path))
        channels = sizes.tokeniser.channels
        mean, std = (config.mean, config.std) if config else ((0.0,) * channels, (1.0,) * channels)
        if len(mean) != channels:
            raise ModelError(f"{weights}: config.json has figures for {len(mean)} channels, the model has {channels}")
        self._dtypes = {name: tensor.dtype for name, tensor in tensors.items()}
        network.load_state_dict(
            {
                name: tensor.to(torch.float32, copy=True) if tensor.is_floating_point() else tensor
                for name, tensor in tensors.items()
            },
            assign=True,
        )
        # The output head is this table, so a loaded model keeps it; the encoder's gradients end before it.
        for part in (network.vqgan, network.token_emb.word_embeddings):
            part.requires_grad_(False)
        self._adopt(network, PixelStatistics(mean, std))

    def _create(self, statistics: PixelStatistics, generator: torch.Generator) -> None:
        if not len(statistics.mean) == len(statistics.std) == self._shape.channels:
            raise ModelError(f"the model takes {self._shape.channels} channels, the images have {len(statistics.mean)}")
        # As for other VQ-GANs, pixels lie in [-1, 1] whatever the statistics of the training data.
        middle = (MIDDLE,) * self._shape.channels
        self._adopt(new_network(self._params.architecture, generator), PixelStatistics(middle, middle))
        if self._params.adversarial:
            self._critic.discriminator = new_discriminator(self._shape.channels, generator)

    def _adopt(self, network: MageNetwork, statistics: PixelStatistics) -> None:
        sizes = network.sizes
        self._network, self._statistics = network, statistics
        self._shape = ImageShape(sizes.tokeniser.channels, sizes.image_size, sizes.image_size)
        self._cell = sizes.tokeniser.cell

    def _degrade(self, images: torch.Tensor, views: Views) -> VisibleTokens:
        mean, _ = self._moments(images)
        shown = shown_pixels(self.task, images, views.hidden, mean.flatten())
        ids = self._tokens.ids(self.module.vqgan, self._normalise(shown))
        return VisibleTokens(ids, self._hidden_tokens(views.hidden), shown, views.hidden, views.seeds)

    def _encode(self, inputs: VisibleTokens) -> tuple[torch.Tensor, ...]:
        return (self.module.encode(inputs.ids, inputs.hidden),)

    def _decode(self, features: tuple[torch.Tensor, ...], inputs: VisibleTokens) -> torch.Tensor:
        """One pass: hidden tokens stand for the mean of all codes, weighted by their probabilities."""
        codebook = self.module.vqgan.codebook
        expected = self.module.decode(features[0], inputs.hidden).softmax(dim=2) @ codebook
        codes = codebook[inputs.ids].to(expected)
        _, places = split_places(inputs.hidden)
        return self._composed(codes.scatter(1, places[..., None].expand_as(expected), expected), inputs)

    def _reconstruct(self, inputs: VisibleTokens) -> torch.Tensor:
        """Several passes, each of which fills in some of the hidden tokens; see `fill_in`."""
        ids = fill_in(
            self.module,
            inputs.ids,
            inputs.hidden,
            inputs.seeds,
            steps=self._params.steps,
            temperature=self._params.temperature,
        )
        return self._composed(self.module.vqgan.codebook[ids], inputs)

    def _composed(self, codes: torch.Tensor, inputs: VisibleTokens) -> torch.Tensor:
        mean, std = self._moments(inputs.shown)
        made = self.module.vqgan.decode(codes).float() * std + mean
        return torch.where(inputs.unseen, made, inputs.shown)

    def _encoder_tensors(self) -> frozenset[str]:
        return frozenset(name for name, _ in self.module.named_parameters() if name.startswith(ENCODER))

    def _training_loss(self, images: torch.Tensor, targets: torch.Tensor, views: Views) -> torch.Tensor:
        """Cross-entropy of hidden tokens; in base training the tokeniser learns beside it, from whole pictures."""
        inputs, wanted = self._degrade(images, views), self._normalise(targets)
        network = self.module
        if network.vqgan.codebook.requires_grad:
            picture_loss, answers = tokeniser_loss(network.vqgan, wanted, self._critic)
        else:
            picture_loss, answers = images.new_zeros(()), self._tokens.ids(network.vqgan, wanted)
        losses = [
            token_loss(network, answers, *reveal(inputs.ids, answers, inputs.hidden, inputs.seeds + choice))
            for choice in range(MASKS)
        ]
        return picture_loss + torch.stack(losses).mean()

    def _training_networks(self) -> Mapping[str, torch.nn.Module]:
        discriminator = self._critic.discriminator
        return {"discriminator": discriminator} if discriminator is not None else {}

    def _export(self, folder: Path) -> None:
        sizes, statistics = self.module.sizes, self._statistics
        config = layout.MageConfig(
            heads=sizes.heads, decoder_heads=sizes.decoder_heads, mean=statistics.mean, std=statistics.std
        )
        tensors = {
            name: tensor.to(self._dtypes.get(name, tensor.dtype)) for name, tensor in self.module.state_dict().items()
        }
        try:
            (folder / layout.CONFIG).write_text(config.model_dump_json(indent=2) + "\n", encoding="utf-8")
            (folder / layout.WEIGHTS).write_bytes(weight_bytes(tensors))
        except OSError as error:
            raise WorkspaceError(f"{folder}: the model cannot be written: {error.strerror}") from error

    def _hidden_tokens(self, hidden: torch.Tensor) -> torch.Tensor:
        """Boolean ``[n, 1, height, width]`` to ``[n, tokens]``, with the margin.

        Raises:
            ModelError: a cell is hidden in part, nothing is left to see, or the images of the batch do not hide the
                same number of tokens.
        """
        share = functional.avg_pool2d(hidden.float(), self._cell)
        if ((share > 0) & (share < 1)).any():
            raise ModelError(f"a mask must hide whole cells of {self._cell} by {self._cell} pixels")
        margin = self._params.margin
        masked = functional.max_pool2d(share, 2 * margin + 1, stride=1, padding=margin).flatten(1) > 0
        counts = masked.sum(dim=1)
        if not torch.equal(counts, counts[:1].expand_as(counts)):
            raise ModelError("all images of a batch must hide the same number of tokens; random masks take no margin")
        if masked.all():
            raise ModelError(f"nothing is left to see: the mask and a margin of {margin} tokens hide the whole image")
        return masked

    def _normalise(self, images: torch.Tensor) -> torch.Tensor:
        mean, std = self._moments(images)
        return (images - mean) / std

    def _moments(self, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and deviation of the channels, each ``[channels, 1, 1]``."""
        mean, std = (torch.tensor(part).to(like) for part in (self._statistics.mean, self._statistics.std))
        return mean[:, None, None], std[:, None, None]
