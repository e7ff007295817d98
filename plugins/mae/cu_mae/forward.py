"""The passes through the network, on the tokens that matter only.

Equal to `ViTMAEForPreTraining.forward` up to rounding. Attention does not see the order of tokens, so the hidden ones
stay behind the visible ones in the decoder: nothing is shuffled, no gradient goes through a gather, and the last
projection is spared for patches that nobody asked for.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from cu_mae.patches import take


def encode(network: Any, pixels: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
    """Encoder on visible patches.

    Args:
        network: a ViTMAEForPreTraining.
        pixels: ``[n, visible, patch * patch, channels]``, normalised.
        visible: integer ``[n, visible]``, their places in the grid.

    Returns:
        Tokens after the last layer norm, ``[n, 1 + visible, hidden_size]``, the class token first.
    """
    embeddings = network.vit.embeddings
    projection = embeddings.patch_embeddings.projection
    table = embeddings.position_embeddings
    # The convolution has stride and kernel of one patch: a linear map, here with channels last like the patches.
    weight = projection.weight.permute(0, 2, 3, 1).flatten(1)
    patches = functional.linear(pixels.flatten(2), weight, projection.bias) + table[0, 1:][visible]
    first = (embeddings.cls_token + table[:, :1]).expand(len(pixels), -1, -1)
    tokens = torch.cat([first, patches], dim=1)
    for layer in network.vit.layers:
        tokens = layer(tokens)
    return network.vit.layernorm(tokens)  # type: ignore[no-any-return]


def decode(network: Any, tokens: torch.Tensor, visible: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    """Decoder for the hidden patches.

    Args:
        network: a ViTMAEForPreTraining.
        tokens: ``[n, 1 + visible, hidden_size]``, from `encode`.
        visible: integer ``[n, visible]``.
        hidden: integer ``[n, hidden]``.

    Returns:
        What the network predicts for the hidden patches, ``[n, hidden, patch * patch * channels]``.
    """
    decoder = network.decoder
    embedded = decoder.decoder_embed(tokens)
    masked = decoder.mask_token.to(embedded.dtype).expand(*hidden.shape, -1)
    table = decoder.decoder_pos_embed
    places = torch.cat([visible.new_zeros(len(visible), 1), visible + 1, hidden + 1], dim=1)
    sequence = torch.cat([embedded, masked], dim=1) + table[0][places]
    for layer in decoder.decoder_layers:
        sequence = layer(sequence)
    return decoder.decoder_pred(decoder.decoder_norm(sequence[:, tokens.shape[1] :]))  # type: ignore[no-any-return]


def patch_moments(patches: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance of each patch over its pixels and channels, as ``norm_pix_loss`` defines them.

    Args:
        patches: ``[n, patches, patch * patch, channels]``.

    Returns:
        Two tensors ``[n, patches, 1]``.
    """
    flat = patches.flatten(2)
    return flat.mean(dim=2, keepdim=True), flat.var(dim=2, keepdim=True)


def hidden_target(patches: torch.Tensor, hidden: torch.Tensor, norm_pix_loss: bool) -> torch.Tensor:
    """What the decoder is trained to predict: ``[n, hidden, patch * patch * channels]`` from all normalised patches."""
    target = take(patches, hidden)
    if not norm_pix_loss:
        return target.flatten(2)
    mean, variance = patch_moments(target)
    return (target.flatten(2) - mean) / (variance + 1e-6) ** 0.5
