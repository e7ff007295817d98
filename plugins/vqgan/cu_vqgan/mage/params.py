"""What a workspace may say about a masked generative encoder."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cu_vqgan.params import require_judged

NORM_GROUPS = 32
"""Groups of every group normalisation in the tokeniser; a number of the published architecture."""


class MageArchitecture(BaseModel):
    """Size of a new model; the defaults suit 64 by 64 grey images: 8 by 8 tokens of 8 by 8 pixels."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_size: int = Field(default=64, ge=4, description="edge of the square images in pixels")
    channels: int = Field(default=1, ge=1, description="1 for grey, 3 for RGB")
    tokeniser_widths: tuple[int, ...] = Field(
        default=(32, 64, 64, 128),
        min_length=2,
        description="channels of the tokeniser at each resolution; each but the last halves the image",
    )
    tokeniser_blocks: int = Field(default=1, ge=1, description="residual blocks of the tokeniser at each resolution")
    codes: int = Field(default=256, ge=2, description="codes in the codebook")
    code_width: int = Field(default=8, ge=1, description="channels of a code")
    width: int = Field(default=128, ge=4, description="width of the encoder")
    layers: int = Field(default=4, ge=1, description="layers of the encoder")
    heads: int = Field(default=4, ge=1, description="attention heads of the encoder")
    decoder_width: int = Field(default=128, ge=4)
    decoder_layers: int = Field(default=2, ge=1)
    decoder_heads: int = Field(default=4, ge=1)
    mlp_ratio: int = Field(default=4, ge=1, description="width of the MLPs in widths of the layer")

    @property
    def cell(self) -> int:
        """Edge in pixels of the square that one token stands for."""
        return int(2 ** (len(self.tokeniser_widths) - 1))

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if any(width < 1 or width % NORM_GROUPS for width in self.tokeniser_widths):
            raise ValueError(f"each of tokeniser_widths must be a multiple of {NORM_GROUPS}")
        if self.image_size % self.cell or self.image_size == self.cell:
            raise ValueError("image_size must be a multiple of 2 for each of tokeniser_widths but the last, and larger")
        if self.width % self.heads or self.decoder_width % self.decoder_heads:
            raise ValueError("width must be a multiple of heads, and decoder_width of decoder_heads")
        return self


class MageParams(BaseModel):
    """Parameters of the adapter ``mage``."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    architecture: MageArchitecture = Field(
        default_factory=MageArchitecture,
        description="of a model that is trained here; one that is loaded brings its own",
    )
    steps: int = Field(default=8, ge=1, description="rounds in which the hidden tokens are filled in")
    temperature: float = Field(
        default=0.0,
        ge=0,
        description="0 takes the likeliest codes and the surest places first; more draws both (the authors: 6)",
    )
    margin: int = Field(
        default=0, ge=0, description="rings of tokens around hidden pixels that are hidden, too (the authors: 1)"
    )
    perceptual: float = Field(default=1.0, ge=0, description="weight of the tokeniser's perceptual loss; 0 omits it")
    adversarial: float = Field(default=0.1, ge=0, description="weight of the patch discriminator; 0 omits it")

    @model_validator(mode="after")
    def _judged(self) -> Self:
        require_judged(self.architecture.image_size, self.adversarial)
        return self
