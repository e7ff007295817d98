"""The configuration of a Palette model, as its release writes it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from compliance_unlearn.api import ModelError, parse_json

_COMMENTS = re.compile(rb'("(?:\\.|[^"\\])*")|//[^\n]*')


class UNetConfig(BaseModel):
    """Arguments of the release's UNet, with its defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_size: int = Field(ge=2)
    in_channel: int = Field(ge=2)
    inner_channel: int = Field(ge=32, multiple_of=2)
    out_channel: int = Field(ge=1)
    res_blocks: int = Field(ge=1)
    attn_res: tuple[int, ...]
    channel_mults: tuple[float, ...] = Field(default=(1, 2, 4, 8), min_length=1)
    conv_resample: bool = True
    num_heads: int = Field(default=1, ge=1)
    num_head_channels: int = Field(default=-1, ge=-1)
    num_heads_upsample: int = Field(default=-1, ge=-1)
    use_scale_shift_norm: bool = True
    resblock_updown: bool = True
    use_new_attention_order: bool = False
    dropout: float = 0.0
    use_checkpoint: bool = False
    use_fp16: bool = True

    @property
    def levels(self) -> int:
        """Number of resolutions."""
        return len(self.channel_mults)

    @property
    def embedding(self) -> int:
        """Width of the embedding of the noise level."""
        return 4 * self.inner_channel

    def width(self, level: int) -> int:
        """Channels at a resolution, 0 the full one."""
        return int(self.channel_mults[level] * self.inner_channel)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.in_channel != 2 * self.out_channel:
            raise ValueError(
                f"in_channel is {self.in_channel} and out_channel {self.out_channel}; the network takes a condition "
                f"and a noised image, so in_channel must be {2 * self.out_channel}"
            )
        if self.image_size % 2 ** (self.levels - 1):
            raise ValueError(f"image_size must be a multiple of {2 ** (self.levels - 1)}")
        widths = [self.width(level) for level in range(self.levels)]
        if any(width < 1 or width % 32 for width in widths):
            raise ValueError("every width (inner_channel times channel_mults) must be a multiple of 32")
        heads = self.num_head_channels if self.num_head_channels > 0 else self.num_heads
        if any(width % heads for width in widths) or 0 in (self.num_head_channels, self.num_heads_upsample):
            raise ValueError("heads do not divide the widths")
        return self


class BetaSchedule(BaseModel):
    """How the variance of the noise grows in one phase."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    schedule: Literal["linear", "quad", "const", "warmup10", "warmup50", "cosine"]
    n_timestep: int = Field(ge=2, le=100_000)
    linear_start: float = Field(default=1e-6, gt=0, lt=1)
    linear_end: float = Field(default=1e-2, gt=0, lt=1)
    cosine_s: float = Field(default=8e-3, gt=0)

    def betas(self) -> torch.Tensor:
        """β of each step, float64 ``[n_timestep]``."""
        start, end, count = self.linear_start, self.linear_end, self.n_timestep
        if self.schedule == "quad":
            return torch.linspace(start**0.5, end**0.5, count, dtype=torch.float64) ** 2
        if self.schedule == "cosine":
            places = torch.arange(count + 1, dtype=torch.float64) / count + self.cosine_s
            levels = torch.cos(places / (1 + self.cosine_s) * torch.pi / 2) ** 2
            return (1 - levels[1:] / levels[:-1]).clamp(max=0.999)
        rising = {"linear": 1.0, "const": 0.0, "warmup10": 0.1, "warmup50": 0.5}[self.schedule]
        betas = torch.full((count,), end, dtype=torch.float64)
        rise = int(count * rising)
        betas[:rise] = torch.linspace(start, end, rise, dtype=torch.float64)
        return betas


class _Phases(BaseModel):
    train: BetaSchedule


class PaletteConfig(BaseModel):
    """Arguments of the release's network; what it holds beyond these does not matter here."""

    module_name: Literal["guided_diffusion"]
    unet: UNetConfig
    beta_schedule: _Phases


def without_comments(content: bytes) -> bytes:
    """JSON without what stands behind ``//``."""
    return _COMMENTS.sub(lambda match: match[1] or b"", content)


def read_config(content: bytes, path: Path) -> tuple[PaletteConfig, bytes]:
    """The network's arguments, and the same file without its comments.

    Args:
        content: a whole configuration of the release, whose comments (``//``) are no JSON, or the ``args`` of its first
            network alone.
        path: of the file, for messages.

    Raises:
        ModelError: not the configuration of a Palette model, or one that cannot be.
    """
    plain = without_comments(content)
    stored = parse_json(plain, path)
    try:
        config = PaletteConfig.model_validate(_arguments(stored, path))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ModelError(f"{path}: {place}: {first['msg']}") from error
    return config, content if plain == content else json.dumps(stored, indent=2).encode() + b"\n"


def _arguments(stored: Mapping[str, Any], path: Path) -> Any:
    if "unet" in stored:
        return stored
    try:
        return stored["model"]["which_networks"][0]["args"]
    except (KeyError, IndexError, TypeError) as error:
        raise ModelError(
            f"{path}: neither the config.json of a UNet2DModel (no _class_name) nor that of a Palette model "
            "(no model.which_networks[0].args)"
        ) from error
