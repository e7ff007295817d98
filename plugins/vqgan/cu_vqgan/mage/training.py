"""The losses of base training: of tokens, and of a tokeniser that is trained beside the encoder."""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from compliance_unlearn.api import seeded_uniform
from compliance_unlearn.api.features import FeatureNet, feature_net
from cu_vqgan.discriminator import PatchDiscriminator
from cu_vqgan.losses import adversarial_loss, perceptual_loss
from cu_vqgan.mage.network import MageNetwork, split_places, take
from cu_vqgan.mage.params import MageParams
from cu_vqgan.mage.tokeniser import Tokeniser

SMOOTHING = 0.1
"""Label smoothing of the cross-entropy (Li et al., section 3.2)."""

MASKS = 2
"""Choices of hidden tokens for each image of a step: they cost little beside the tokeniser."""

PERCEPTION = "efficientnet-lite0"


class PictureCritic:
    """How far pictures are from those they should be: pixels, features, and what a discriminator says of them."""

    def __init__(self, params: MageParams) -> None:
        self._params = params
        self._perception: FeatureNet | None = None
        self.discriminator: PatchDiscriminator | None = None

    def loss(self, made: torch.Tensor, wanted: torch.Tensor, last_layer: torch.nn.Parameter) -> torch.Tensor:
        """A scalar for images ``[n, channels, height, width]`` in [-1, 1].

        Args:
            made: what the tokeniser's decoder makes.
            wanted: what it should make.
            last_layer: of that decoder.
        """
        fidelity = (made - wanted).abs().mean()
        if self._params.perceptual:
            self._perception = self._perception or feature_net(PERCEPTION)
            fidelity = fidelity + self._params.perceptual * perceptual_loss(self._perception, made, wanted)
        # Where nothing is learnt, the loss is only looked at, and two players' game says nothing about quality.
        if self.discriminator is None or not made.requires_grad:
            return fidelity
        fooling, telling = adversarial_loss(self.discriminator, made, wanted, fidelity, last_layer)
        return fidelity + self._params.adversarial * fooling + telling


def tokeniser_loss(
    tokeniser: Tokeniser, images: torch.Tensor, critic: PictureCritic
) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss of a VQ-GAN (Esser et al. 2021, equation 4).

    Args:
        tokeniser: in training.
        images: ``[n, channels, height, width]`` in [-1, 1].
        critic: judges reconstructions.

    Returns:
        A scalar, and the ids of the images, integer ``[n, tokens]``.
    """
    latents = tokeniser.encoder(images).float()
    ids = tokeniser.nearest(latents)
    rows = latents.flatten(2).transpose(1, 2)
    codes = tokeniser.codebook[ids]
    made = tokeniser.decode(rows + (codes - rows).detach()).float()
    # Both halves weigh the same: with a weaker pull, latents run away from a codebook that takes small steps.
    quantisation = functional.mse_loss(codes, rows.detach()) + functional.mse_loss(rows, codes.detach())
    return critic.loss(made, images, tokeniser.get_parameter("decoder.conv_out.weight")) + quantisation, ids


def reveal(
    ids: torch.Tensor, answers: torch.Tensor, hidden: torch.Tensor, seeds: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Show the model some of the hidden tokens, as it meets them in the later rounds of generation.

    The share that stays hidden is ``cos(u * pi / 2)`` with ``u`` drawn evenly from [0, 1) (Chang et al., equation 2);
    one share for the whole batch, other tokens in each image.

    Args:
        ids: integer ``[n, tokens]`` of the degraded images.
        answers: integer ``[n, tokens]`` of the whole images.
        hidden: boolean ``[n, tokens]``.
        seeds: integer ``[n]``.

    Returns:
        Ids of the visible tokens and of those revealed, and which ones are still hidden.
    """
    total = int(hidden[0].sum())
    share = math.cos(float(seeded_uniform(seeds[:1])) * math.pi / 2)
    order = seeded_uniform(seeds, (total,), purpose=1).argsort(dim=1).to(ids.device)
    still = split_places(hidden)[1].gather(1, order[:, : max(1, math.ceil(total * share))])
    return torch.where(hidden, answers, ids), torch.zeros_like(hidden).scatter(1, still, True)


def token_loss(network: MageNetwork, answers: torch.Tensor, ids: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the hidden tokens, with smoothed labels: a scalar."""
    logits = network.decode(network.encode(ids, hidden), hidden)
    wanted = take(answers, split_places(hidden)[1])
    return functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), label_smoothing=SMOOTHING)
