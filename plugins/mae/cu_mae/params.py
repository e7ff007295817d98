"""What a workspace may say about a masked autoencoder."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from compliance_unlearn.api import ImageShape


class Architecture(BaseModel):
    """Size of a new model; the defaults make one of 1.24 million parameters for 64 by 64 grey images."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_size: int = Field(default=64, ge=2, description="edge of the square images in pixels")
    channels: int = Field(default=1, ge=1, description="1 for grey, 3 for RGB")
    patch_size: int = Field(default=8, ge=1, description="edge of a patch in pixels")
    hidden_size: int = Field(default=128, ge=4, description="width of the encoder")
    layers: int = Field(default=4, ge=1, description="layers of the encoder")
    heads: int = Field(default=4, ge=1, description="attention heads of the encoder")
    intermediate_size: int = Field(default=512, ge=1, description="width of the encoder's MLPs")
    decoder_hidden_size: int = Field(default=128, ge=4)
    decoder_layers: int = Field(default=2, ge=1)
    decoder_heads: int = Field(default=4, ge=1)
    decoder_intermediate_size: int = Field(default=512, ge=1)
    norm_pix_loss: bool = Field(default=False, description="train on patches that are normalised one by one")

    @property
    def image_shape(self) -> ImageShape:
        """Size of the images."""
        return ImageShape(self.channels, self.image_size, self.image_size)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.image_size % self.patch_size or self.image_size == self.patch_size:
            raise ValueError("image_size must be a multiple of patch_size, and larger")
        for width, heads, part in (
            (self.hidden_size, self.heads, ""),
            (self.decoder_hidden_size, self.decoder_heads, "decoder_"),
        ):
            if width % heads or width % 4:
                raise ValueError(f"{part}hidden_size must be a multiple of {part}heads and of 4")
        return self


class MaeParams(BaseModel):
    """Parameters of the adapter ``mae``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: Architecture = Field(
        default_factory=Architecture, description="of a model that is trained here; one that is loaded brings its own"
    )
