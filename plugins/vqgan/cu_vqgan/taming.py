"""The layout of taming-transformers (Esser, Rombach, Ommer 2021): its configuration and its names of tensors.

Its network is that of diffusers' `VQModel` under other names, with two differences: levels of the decoder are counted
from the finest, and projections of attention are stored as convolutions of one pixel.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from compliance_unlearn.api import ModelError
from cu_vqgan.config import NetworkConfig, parsed

BESIDE = ("loss.", "model_ema.", "colorize")
"""Beginnings of names in a checkpoint that are not the model's: networks of the loss, an average, a palette."""

NORM_GROUPS = 32
_TARGETS = ("VQModel", "VQModelInterface", "VQNoDiscModel")

_INSIDE = (
    (re.compile(r"\.nin_shortcut\."), ".conv_shortcut."),
    (re.compile(r"\.mid\.block_([12])\."), lambda match: f".mid_block.resnets.{int(match[1]) - 1}."),
    (re.compile(r"\.mid\.attn_1\."), ".mid_block.attentions.0."),
    (re.compile(r"\.(down|up)\.(\d+)\.block\."), r".\1_blocks.\2.resnets."),
    (re.compile(r"\.(down|up)\.(\d+)\.attn\."), r".\1_blocks.\2.attentions."),
    (re.compile(r"\.(down|up)\.(\d+)\.\1sample\."), r".\1_blocks.\2.\1samplers.0."),
    (re.compile(r"(\.attentions\.\d+)\.norm\."), r"\1.group_norm."),
    (re.compile(r"(\.attentions\.\d+)\.([qkv])\."), r"\1.to_\2."),
    (re.compile(r"(\.attentions\.\d+)\.proj_out\."), r"\1.to_out.0."),
    (re.compile(r"^(encoder|decoder)\.norm_out\."), r"\1.conv_norm_out."),
)


class _Sizes(BaseModel):
    """``ddconfig``; a key that is not known could mean another network, so it is refused."""

    model_config = ConfigDict(extra="forbid")

    double_z: Literal[False]
    z_channels: int = Field(ge=1)
    resolution: int = Field(ge=1)
    in_channels: int = Field(ge=1)
    out_ch: int = Field(ge=1)
    ch: int = Field(ge=1)
    ch_mult: tuple[int, ...] = Field(min_length=1)
    num_res_blocks: int = Field(ge=1)
    attn_resolutions: tuple[int, ...]
    dropout: float = 0.0
    resamp_with_conv: Literal[True] = True
    attn_type: Literal["vanilla", "none"] = "vanilla"
    use_linear_attn: Literal[False] = False
    give_pre_end: Literal[False] = False
    tanh_out: Literal[False] = False


class _Model(BaseModel):
    """``model.params``; what concerns training only is passed over."""

    model_config = ConfigDict(extra="ignore")

    embed_dim: int = Field(ge=1)
    n_embed: int = Field(ge=1)
    ddconfig: _Sizes
    remap: None = None


def network_config(stored: Mapping[str, Any], path: Path) -> NetworkConfig:
    """The architecture that a configuration of taming-transformers describes.

    Raises:
        ModelError: another family, or a variant that diffusers' network does not have.
    """
    model = stored.get("model")
    if not isinstance(model, Mapping) or not isinstance(model.get("params"), Mapping):
        raise ModelError(f"{path}: model.params is absent; a VQ-GAN of taming-transformers has it")
    target = str(model.get("target", _TARGETS[0]))
    if target.rpartition(".")[2] not in _TARGETS:
        raise ModelError(f"{path}: model.target is {target}, expected taming.models.vqgan.{_TARGETS[0]}")
    params = parsed(_Model, model["params"], path, "model.params")
    sizes = params.ddconfig
    if sizes.ch_mult[0] != 1:
        raise ModelError(f"{path}: model.params.ddconfig.ch_mult begins with {sizes.ch_mult[0]}, expected 1")
    edges = [sizes.resolution // 2**level for level in range(len(sizes.ch_mult))]
    attended = [edge in sizes.attn_resolutions and sizes.attn_type != "none" for edge in edges]
    content = {
        "in_channels": sizes.in_channels,
        "out_channels": sizes.out_ch,
        "down_block_types": [f"{'Attn' * attends}DownEncoderBlock2D" for attends in attended],
        "up_block_types": [f"{'Attn' * attends}UpDecoderBlock2D" for attends in reversed(attended)],
        "block_out_channels": [sizes.ch * factor for factor in sizes.ch_mult],
        "layers_per_block": sizes.num_res_blocks,
        "latent_channels": sizes.z_channels,
        "sample_size": sizes.resolution,
        "num_vq_embeddings": params.n_embed,
        "norm_num_groups": NORM_GROUPS,
        "vq_embed_dim": params.embed_dim,
        "mid_block_add_attention": sizes.attn_type != "none",
    }
    return parsed(NetworkConfig, content, path)


def network_name(stored: str, levels: int) -> str:
    """The name that diffusers gives a tensor, from its name in a checkpoint of a model with ``levels`` resolutions."""
    counted = re.sub(r"^decoder\.up\.(\d+)\.", lambda match: f"decoder.up.{levels - 1 - int(match[1])}.", stored)
    for pattern, replacement in _INSIDE:
        counted = pattern.sub(replacement, counted)
    return counted
