"""Parallel decoding of MaskGIT (Chang et al., CVPR 2022, section 3.2), as MAGE uses it."""

from __future__ import annotations

import math

import torch

from compliance_unlearn.api import seeded_uniform
from cu_vqgan.mage.network import MageNetwork, split_places


def fill_in(
    network: MageNetwork,
    ids: torch.Tensor,
    hidden: torch.Tensor,
    seeds: torch.Tensor,
    *,
    steps: int,
    temperature: float,
) -> torch.Tensor:
    """Ids for hidden tokens, a few more in each round: the surest stay, the others are hidden again.

    Args:
        network: encoder and decoder.
        ids: integer ``[n, tokens]``.
        hidden: boolean ``[n, tokens]``, with as many True in each row.
        seeds: integer ``[n]``, for what is drawn.
        steps: rounds; after round ``k`` a share ``cos(k / steps * pi / 2)`` of the hidden tokens is still hidden.
        temperature: 0 takes the likeliest code at each place and keeps the surest. Above 0, codes are drawn from the
            predicted distribution, and Gumbel noise is added to their log-probabilities before the surest are chosen;
            its scale falls from ``temperature`` to 0, as in the released code of MAGE.

    Returns:
        Integer ``[n, tokens]``; those of visible tokens are as they came in.
    """
    total = left = int(hidden[0].sum())
    for step in range(1, steps + 1):
        _, places = split_places(hidden)
        logits = network.decode(network.encode(ids, hidden), hidden)
        chosen, confidence = _choose(logits, seeds, step, temperature, temperature * (1 - step / steps))
        ids = ids.scatter(1, places, chosen)
        left = min(left - 1, math.floor(total * math.cos(step / steps * math.pi / 2)))
        if left < 1:
            break
        unsure = places.gather(1, confidence.argsort(dim=1)[:, :left])
        hidden = torch.zeros_like(hidden).scatter(1, unsure, True)
    return ids


def _choose(
    logits: torch.Tensor, seeds: torch.Tensor, step: int, temperature: float, noise: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """A code for each place, and how sure it is: two tensors ``[n, places]`` from logits ``[n, places, codes]``."""
    log_probabilities = logits.log_softmax(dim=2)
    if temperature == 0:
        confidence, chosen = log_probabilities.max(dim=2)
        return chosen, confidence
    drawn, shaken = seeded_uniform(seeds, (2, logits.shape[1]), purpose=step).to(logits.device).unbind(dim=1)
    below = log_probabilities.exp().cumsum(dim=2) < drawn[..., None]
    chosen = below.sum(dim=2).clamp_max(logits.shape[2] - 1)
    gumbel = -(-shaken.clamp(1e-6, 1 - 1e-6).log()).log()
    return chosen, log_probabilities.gather(2, chosen[..., None])[..., 0] + noise * gumbel
