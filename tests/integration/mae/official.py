"""Checkpoints as the authors of MAE store them, and their forward pass written down once more, on torch's own layers.

Names and shapes are those of models_mae.py in github.com/facebookresearch/mae, with the blocks of timm 0.3.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import torch
from torch import nn
from torch.nn import functional

State = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Sizes:
    """Sizes of a small model; the number of heads is not to be seen in its tensors."""

    image: int = 24
    patch: int = 6
    channels: int = 3
    width: int = 32
    depth: int = 2
    heads: int = 4
    decoder_width: int = 24
    decoder_depth: int = 1
    decoder_heads: int = 2


def shapes(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor of a checkpoint by its name."""
    width, decoder, pixels = sizes.width, sizes.decoder_width, sizes.patch**2 * sizes.channels
    places = (sizes.image // sizes.patch) ** 2 + 1
    return {
        "cls_token": (1, 1, width),
        "pos_embed": (1, places, width),
        "mask_token": (1, 1, decoder),
        "decoder_pos_embed": (1, places, decoder),
        "patch_embed.proj.weight": (width, sizes.channels, sizes.patch, sizes.patch),
        "patch_embed.proj.bias": (width,),
        **dict(_blocks("blocks", sizes.depth, width)),
        **dict(_norm("norm", width)),
        **dict(_linear("decoder_embed", width, decoder)),
        **dict(_blocks("decoder_blocks", sizes.decoder_depth, decoder)),
        **dict(_norm("decoder_norm", decoder)),
        **dict(_linear("decoder_pred", decoder, pixels)),
    }


def _blocks(name: str, depth: int, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    for block in (f"{name}.{index}" for index in range(depth)):
        yield from _norm(f"{block}.norm1", width)
        yield from _linear(f"{block}.attn.qkv", width, 3 * width)
        yield from _linear(f"{block}.attn.proj", width, width)
        yield from _norm(f"{block}.norm2", width)
        yield from _linear(f"{block}.mlp.fc1", width, 4 * width)
        yield from _linear(f"{block}.mlp.fc2", 4 * width, width)


def _linear(name: str, inputs: int, outputs: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (outputs, inputs)
    yield f"{name}.bias", (outputs,)


def _norm(name: str, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)


def random_state(sizes: Sizes, seed: int = 0) -> State:
    """Tensors of a checkpoint, all random: tables, tokens and biases too, so that no two can be mixed up unseen."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes(sizes).items():
        noise = torch.randn(shape, generator=generator)
        is_scale = "norm" in name and name.endswith("weight")
        state[name] = 1 + 0.1 * noise if is_scale else noise / max(prod(shape[1:]), 4) ** 0.5
    return state


def forward(state: State, sizes: Sizes, pixels: torch.Tensor, kept: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The published architecture.

    Args:
        state: the tensors.
        sizes: of the model.
        pixels: ``[n, channels, height, width]``, normalised.
        kept: integer ``[n, kept]``, places of the visible patches.

    Returns:
        Latent tokens ``[n, 1 + kept, width]``, the class token first, and the prediction for every patch in raster
        order, ``[n, patches, patch * patch * channels]``, channels last.
    """
    weight, bias = state["patch_embed.proj.weight"], state["patch_embed.proj.bias"]
    patches = functional.conv2d(pixels, weight, bias, stride=sizes.patch).flatten(2).transpose(1, 2)
    patches = patches + state["pos_embed"][:, 1:]
    visible = patches.gather(1, kept[..., None].expand(-1, -1, sizes.width))
    first = (state["cls_token"] + state["pos_embed"][:, :1]).expand(len(pixels), -1, -1)
    tokens = _run(state, "blocks", sizes.depth, sizes.heads, torch.cat([first, visible], dim=1))
    latent = _layer_norm(state, "norm", tokens)

    embedded = functional.linear(latent, state["decoder_embed.weight"], state["decoder_embed.bias"])
    grid = state["mask_token"].repeat(len(pixels), patches.shape[1], 1)
    grid.scatter_(1, kept[..., None].expand(-1, -1, sizes.decoder_width), embedded[:, 1:])
    sequence = torch.cat([embedded[:, :1], grid], dim=1) + state["decoder_pos_embed"]
    sequence = _run(state, "decoder_blocks", sizes.decoder_depth, sizes.decoder_heads, sequence)
    sequence = _layer_norm(state, "decoder_norm", sequence)
    predicted = functional.linear(sequence, state["decoder_pred.weight"], state["decoder_pred.bias"])
    return latent, predicted[:, 1:]


def _layer_norm(state: State, name: str, tokens: torch.Tensor) -> torch.Tensor:
    return functional.layer_norm(tokens, tokens.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-6)


def _run(state: State, name: str, depth: int, heads: int, tokens: torch.Tensor) -> torch.Tensor:
    """Pre-norm transformer blocks: torch's own layer is one, and its attention stores q, k and v as one tensor."""
    width = tokens.shape[-1]
    for index in range(depth):
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, 0.0, "gelu", layer_norm_eps=1e-6, batch_first=True, norm_first=True
        )
        parts = {
            "norm1.": "norm1.",
            "attn.qkv.": "self_attn.in_proj_",
            "attn.proj.": "self_attn.out_proj.",
            "norm2.": "norm2.",
            "mlp.fc1.": "linear1.",
            "mlp.fc2.": "linear2.",
        }
        layer.load_state_dict(
            {
                f"{torch_name}{kind}": state[f"{name}.{index}.{part}{kind}"]
                for part, torch_name in parts.items()
                for kind in ("weight", "bias")
            }
        )
        tokens = layer(tokens)
    return tokens
