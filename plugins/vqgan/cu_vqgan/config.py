"""The architecture of a VQ-GAN in the words of diffusers; every layout is brought into this form."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from compliance_unlearn.api import ImageShape, ModelError
from cu_vqgan.params import Architecture

Parsed = TypeVar("Parsed", bound=BaseModel)


class NetworkConfig(BaseModel):
    """What `VQModel` of diffusers is built from, with its defaults for what a file leaves out."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    in_channels: int = Field(default=3, ge=1)
    out_channels: int = Field(default=3, ge=1)
    down_block_types: tuple[Literal["DownEncoderBlock2D", "AttnDownEncoderBlock2D"], ...] = ("DownEncoderBlock2D",)
    up_block_types: tuple[Literal["UpDecoderBlock2D", "AttnUpDecoderBlock2D"], ...] = ("UpDecoderBlock2D",)
    block_out_channels: tuple[int, ...] = (64,)
    layers_per_block: int = Field(default=1, ge=1)
    act_fn: Literal["silu", "swish", "mish", "gelu", "relu"] = "silu"
    latent_channels: int = Field(default=3, ge=1)
    sample_size: int = Field(default=32, ge=1)
    num_vq_embeddings: int = Field(default=256, ge=1)
    norm_num_groups: int = Field(default=32, ge=1)
    vq_embed_dim: int | None = Field(default=None, ge=1)
    scaling_factor: float = 0.18215
    norm_type: Literal["group"] = "group"
    mid_block_add_attention: bool = True
    lookup_from_codebook: bool = False
    force_upcast: bool = False

    @property
    def levels(self) -> int:
        """Number of resolutions; each but the last is followed by a halving."""
        return len(self.block_out_channels)

    @property
    def image_shape(self) -> ImageShape:
        """Size of the images."""
        return ImageShape(self.in_channels, self.sample_size, self.sample_size)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.in_channels != self.out_channels:
            raise ValueError(f"takes {self.in_channels} channels and gives {self.out_channels}: not image to image")
        if not len(self.down_block_types) == len(self.up_block_types) == self.levels:
            raise ValueError(
                f"down_block_types, up_block_types and block_out_channels have {len(self.down_block_types)}, "
                f"{len(self.up_block_types)} and {self.levels} entries"
            )
        for width in self.block_out_channels:
            if width < 1 or width % self.norm_num_groups:
                raise ValueError(f"a block of {width} channels does not divide into {self.norm_num_groups} groups")
        if self.sample_size % 2 ** (self.levels - 1):
            raise ValueError(f"images of {self.sample_size} pixels cannot be halved {self.levels - 1} times")
        return self


def architecture_config(architecture: Architecture) -> NetworkConfig:
    """The configuration of a new model."""
    levels = len(architecture.block_out_channels)
    return NetworkConfig(
        in_channels=architecture.channels,
        out_channels=architecture.channels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=architecture.block_out_channels,
        layers_per_block=architecture.layers_per_block,
        latent_channels=architecture.latent_channels,
        sample_size=architecture.image_size,
        num_vq_embeddings=architecture.codes,
        norm_num_groups=architecture.norm_groups,
    )


def parsed(kind: type[Parsed], content: Mapping[str, Any], path: Path, key: str = "") -> Parsed:
    """``content``, which stands at ``key`` of a file, as a pydantic model.

    Raises:
        ModelError: names the first key whose value does not suit.
    """
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join([part for part in (key,) if part] + [str(part) for part in first["loc"]])
        problem = first["msg"].removeprefix("Value error, ")
        raise ModelError(
            f"{path}: no VQ-GAN that we can work with: {place + ': ' if place else ''}{problem}"
        ) from error
