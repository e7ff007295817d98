"""What a workspace may say about a diffusion model."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from compliance_unlearn.api import ImageShape


class Architecture(BaseModel):
    """Size of a new model; the defaults make one of 1.1 million parameters for 32 by 32 grey images."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    image_size: int = Field(default=32, ge=4, description="edge of the square images in pixels")
    channels: int = Field(default=1, ge=1, description="1 for grey, 3 for RGB")
    block_out_channels: tuple[int, ...] = Field(
        default=(32, 64, 64), min_length=1, description="width at each resolution, the full one first"
    )
    layers_per_block: int = Field(default=1, ge=1, description="residual blocks at each resolution")
    norm_num_groups: int = Field(default=8, ge=1, description="groups of each group normalisation")
    attention: bool = Field(default=True, description="self-attention at the lowest resolution")
    mask_channel: bool = Field(default=True, description="whether the model is shown where pixels are hidden")
    prediction_type: Literal["epsilon", "sample", "v_prediction"] = Field(
        default="sample", description="what the network predicts: the noise, the image, or the velocity between them"
    )
    beta_schedule: Literal["linear", "squaredcos_cap_v2"] = "linear"
    train_timesteps: int = Field(default=1000, ge=10, description="steps from image to noise")

    @property
    def image_shape(self) -> ImageShape:
        """Size of the images."""
        return ImageShape(self.channels, self.image_size, self.image_size)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.image_size % 2 ** (len(self.block_out_channels) - 1):
            raise ValueError("image_size must be divisible by two once for each block after the first")
        if any(width < 1 or width % self.norm_num_groups for width in self.block_out_channels):
            raise ValueError("each of block_out_channels must be a positive multiple of norm_num_groups")
        return self


class DiffusionParams(BaseModel):
    """Parameters of the adapter ``diffusion``."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    sampler: Literal["ddim", "dpm-solver"] = Field(
        default="ddim", description="how images are made when results are measured; both without fresh noise"
    )
    sampling_steps: int = Field(default=10, ge=1, description="passes through the network for one image")
    architecture: Architecture = Field(
        default_factory=Architecture, description="of a model that is trained here; one that is loaded brings its own"
    )
