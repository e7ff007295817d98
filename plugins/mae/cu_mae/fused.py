"""Attention whose maps to query, key and value are one tensor, as the authors of MAE store it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class FusedAttention(nn.Module):
    """Multi-head self-attention of timm's `Block`: rows of ``qkv`` hold all queries, then all keys, then all values.

    It stands where transformers has its own attention, which keeps three tensors: a tensor that is one in the file
    stays one parameter, under one name, with the bits that it had.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: torch.Tensor, _mask: None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens ``[n, length, width]`` to the same shape, and the weights ``[n, heads, length, length]``."""
        split = self.qkv(tokens).unflatten(2, (3, self.heads, -1))
        query, key, value = split.permute(2, 0, 3, 1, 4)
        scores = query @ key.transpose(2, 3) * query.shape[-1] ** -0.5
        # Like transformers' plain attention: exact weights under autocast.
        weights = scores.softmax(dim=-1, dtype=torch.float32).to(value.dtype)
        return self.proj((weights @ value).transpose(1, 2).flatten(2)), weights


def fuse_attention(network: Any) -> Any:
    """Give every layer of a ViTMAEForPreTraining without weights (device ``meta``) a `FusedAttention`."""
    for layer in (*network.vit.layers, *network.decoder.decoder_layers):
        config = layer.attention.config
        with torch.device("meta"):
            layer.attention = FusedAttention(config.hidden_size, config.num_attention_heads)
    return network
