"""What a checkpoint of the authors is: sizes from the shapes of its tensors, the rest from ``config.json`` or known."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from math import isqrt
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt, ValidationError

from compliance_unlearn.api import ModelError, read_json
from cu_mae.network import complete_config
from cu_mae.stored import IMAGENET

_log = logging.getLogger(__name__)

# Attention heads by width: ViT-B, ViT-L, ViT-H and the decoder of all three (He et al. 2022, models_mae.py).
_HEADS = {768: 12, 1024: 16, 1280: 16}
_DECODER_HEADS = {512: 16}


class OfficialConfig(BaseModel):
    """What ``config.json`` may say of a model in this layout: all that the shapes of its tensors do not show.

    Attributes:
        heads: attention heads of the encoder.
        decoder_heads: attention heads of the decoder.
        norm_pix_loss: whether the model was trained on patches that are normalised one by one.
        mean: of each channel, of pixels in [0, 1].
        std: of each channel.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    heads: PositiveInt
    decoder_heads: PositiveInt
    norm_pix_loss: bool
    mean: tuple[float, ...]
    std: tuple[PositiveFloat, ...]


def shown_sizes(tensors: Mapping[str, torch.Tensor], path: Path) -> dict[str, int]:
    """Sizes that the shapes of the tensors show, in the words of transformers.

    Raises:
        ModelError: not a masked autoencoder, without a decoder, or not for square images and patches.
    """
    if "cls_token" in tensors and not any(name.startswith("decoder_") for name in tensors):
        raise ModelError(
            f"{path}: holds an encoder alone, so it cannot make images; the authors' checkpoints with a decoder are "
            "called mae_visualize_* and mae_pretrain_*_full"
        )
    width, channels, patch, across = _shape(tensors, "patch_embed.proj.weight", 4, path)
    _, places, _ = _shape(tensors, "pos_embed", 3, path)
    mlp, _ = _shape(tensors, "blocks.0.mlp.fc1.weight", 2, path)
    decoder_width, _ = _shape(tensors, "decoder_embed.weight", 2, path)
    decoder_mlp, _ = _shape(tensors, "decoder_blocks.0.mlp.fc1.weight", 2, path)
    edge = isqrt(max(places - 1, 0))
    if patch != across or edge**2 != places - 1:
        raise ModelError(
            f"{path}: patches are {patch} by {across} pixels and there are {places - 1} of them; "
            "the adapter works on square images and patches only"
        )
    sizes = {
        "image_size": edge * patch,
        "patch_size": patch,
        "num_channels": channels,
        "hidden_size": width,
        "num_hidden_layers": _depth(tensors, "blocks"),
        "intermediate_size": mlp,
        "decoder_hidden_size": decoder_width,
        "decoder_num_hidden_layers": _depth(tensors, "decoder_blocks"),
        "decoder_intermediate_size": decoder_mlp,
    }
    if min(sizes.values()) < 1:
        raise ModelError(f"{path}: holds empty tensors")
    return sizes


def _shape(tensors: Mapping[str, torch.Tensor], name: str, dimensions: int, path: Path) -> tuple[int, ...]:
    if name not in tensors:
        raise ModelError(f"{path}: is no masked autoencoder as the authors store it: there is no tensor {name}")
    shape = tuple(tensors[name].shape)
    if len(shape) != dimensions:
        raise ModelError(f"{path}: {name} has {len(shape)} dimensions, that of a masked autoencoder {dimensions}")
    return shape


def _depth(tensors: Mapping[str, torch.Tensor], blocks: str) -> int:
    return len({name.split(".")[1] for name in tensors if name.startswith(f"{blocks}.")})


def read_config(path: Path, sizes: Mapping[str, int], norm_pix_loss: bool | None) -> OfficialConfig:
    """What ``config.json`` says; what it leaves out is known for the published sizes and for RGB.

    Args:
        path: the file, which need not exist.
        sizes: from `shown_sizes`.
        norm_pix_loss: what the checkpoint says, or None.

    Raises:
        ModelError: something is unknown, or does not fit the sizes.
    """
    width, decoder_width, channels = (sizes[name] for name in ("hidden_size", "decoder_hidden_size", "num_channels"))
    usual = IMAGENET if channels == len(IMAGENET.mean) else None
    known = {
        "heads": _HEADS.get(width),
        "decoder_heads": _DECODER_HEADS.get(decoder_width),
        "norm_pix_loss": norm_pix_loss,
        "mean": usual and usual.mean,
        "std": usual and usual.std,
    }
    given: dict[str, Any] = {name: value for name, value in known.items() if value is not None}
    given |= read_json(path) if path.is_file() else {}
    if "norm_pix_loss" not in given:
        _log.warning("%s: nothing says whether norm_pix_loss was on, as for mae_pretrain_*; taken to be off", path)
    try:
        config = OfficialConfig.model_validate({"norm_pix_loss": False, **given})
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise ModelError(f"{path}: {problems}; this file says what the shapes of the tensors do not show") from error
    _require_fit(config, width, decoder_width, channels, path)
    return config


def _require_fit(config: OfficialConfig, width: int, decoder_width: int, channels: int, path: Path) -> None:
    if width % config.heads or decoder_width % config.decoder_heads:
        raise ModelError(
            f"{path}: {config.heads} and {config.decoder_heads} heads do not divide the widths of the weights, "
            f"{width} and {decoder_width}"
        )
    if not len(config.mean) == len(config.std) == channels:
        raise ModelError(
            f"{path}: mean has {len(config.mean)} figures and std {len(config.std)}, "
            f"the weights take images of {channels} channels"
        )


def network_config(sizes: Mapping[str, int], config: OfficialConfig) -> dict[str, Any]:
    """The whole architecture in the words of transformers."""
    heads = {"num_attention_heads": config.heads, "decoder_num_attention_heads": config.decoder_heads}
    # models_mae.py builds its layer norms with this epsilon; transformers' own default is 1e-12.
    return complete_config({**sizes, **heads, "layer_norm_eps": 1e-6})
