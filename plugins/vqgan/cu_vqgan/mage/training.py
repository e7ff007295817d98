"""The losses of base training: of tokens, and of a tokeniser that is trained beside the encoder."""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from compliance_unlearn.api import seeded_uniform
from cu_vqgan.mage.network import MageNetwork, split_places, take
from cu_vqgan.mage.tokeniser import Tokeniser

SMOOTHING = 0.1
"""Label smoothing of the cross-entropy (Li et al., section 3.2)."""

COMMITMENT = 0.25
"""Weight of the commitment loss (van den Oord et al., 2017, equation 3)."""


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


def token_loss(network: MageNetwork, ids: torch.Tensor, answers: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the hidden tokens, with smoothed labels: a scalar."""
    logits = network.decode(network.encode(ids, hidden), hidden)
    wanted = take(answers, split_places(hidden)[1])
    return functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), label_smoothing=SMOOTHING)


def tokeniser_loss(tokeniser: Tokeniser, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss of the tokeniser on normalised images, a scalar, and the ids that it gives them, ``[n, tokens]``."""
    latents = tokeniser.encoder(images).float()
    ids = tokeniser.nearest(latents)
    rows = latents.flatten(2).transpose(1, 2)
    codes = tokeniser.codebook[ids]
    made = tokeniser.decode(rows + (codes - rows).detach()).float()
    loss = functional.mse_loss(made, images) + functional.l1_loss(made, images)
    loss = loss + functional.mse_loss(codes, rows.detach()) + COMMITMENT * functional.mse_loss(rows, codes.detach())
    return loss, ids
