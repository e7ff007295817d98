"""What a workspace may say about a VQ-GAN."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

SMALLEST_JUDGED = 12
"""Edge in pixels of the smallest image that holds a patch of the discriminator."""


def require_judged(image_size: int, adversarial: float) -> None:
    """Refuse an adversarial loss for images of which the discriminator makes nothing.

    Raises:
        ValueError: the images are too small.
    """
    if adversarial and image_size < SMALLEST_JUDGED:
        raise ValueError(
            f"images of {image_size} pixels are too small for the patch discriminator, which takes {SMALLEST_JUDGED} "
            "or more: set adversarial to 0, or a larger image_size"
        )


class Architecture(BaseModel):
    """Size of a new model; the defaults make one of a million parameters for 64 by 64 grey images."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_size: int = Field(default=64, ge=4, description="edge of the square images in pixels")
    channels: int = Field(default=1, ge=1, description="1 for grey, 3 for RGB")
    block_out_channels: tuple[int, ...] = Field(
        default=(32, 64, 64), min_length=1, description="width at each resolution; each but the last halves the image"
    )
    layers_per_block: int = Field(default=1, ge=1, description="residual blocks at each resolution of the encoder")
    norm_groups: int = Field(default=16, ge=1, description="groups of the group normalisation")
    latent_channels: int = Field(default=3, ge=1, description="length of a code; more of the codes are used if short")
    codes: int = Field(default=256, ge=2, description="codes in the codebook")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if any(width < 1 or width % self.norm_groups for width in self.block_out_channels):
            raise ValueError("each of block_out_channels must be a multiple of norm_groups")
        if self.image_size % 2 ** (len(self.block_out_channels) - 1):
            raise ValueError("image_size must be a multiple of 2 for each of block_out_channels but the last")
        return self


class VqganParams(BaseModel):
    """Parameters of the adapter ``vqgan``."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    architecture: Architecture = Field(
        default_factory=Architecture, description="of a model that is trained here; one that is loaded brings its own"
    )
    quantiser: float = Field(default=0.1, gt=0, description="weight of the distance between vectors and their codes")
    perceptual: float = Field(
        default=0.2, ge=0, description="weight of the perceptual loss, for grey or RGB; 0 does without it"
    )
    adversarial: float = Field(default=0.1, ge=0, description="weight of the patch discriminator; 0 does without it")

    @model_validator(mode="after")
    def _judged(self) -> Self:
        require_judged(self.architecture.image_size, self.adversarial)
        return self
