"""The tokeniser of MAGE: the VQ-GAN of MaskGIT (Chang et al., CVPR 2022), under the names of its released weights.

It differs from the VQ-GAN of taming-transformers, so that neither loads the other's weights: no attention, no
convolutions around the quantiser, average pooling on the way down, no biases in residual blocks, and a shortcut that
looks at the branch beside it. Names and shapes are those of ``taming/`` in github.com/LTH14/mage.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from cu_vqgan.mage.params import NORM_GROUPS


@dataclass(frozen=True)
class TokeniserSizes:
    """What distinguishes one tokeniser from another.

    Attributes:
        channels: of the images.
        stem: channels of the first convolution.
        widths: channels at each resolution, the finest first.
        blocks: residual blocks of the encoder at each resolution, and of the decoder.
        codes: codes in the codebook.
        code_width: channels of a code.
    """

    channels: int
    stem: int
    widths: tuple[int, ...]
    blocks: int
    codes: int
    code_width: int

    @property
    def cell(self) -> int:
        """Edge in pixels of the square that one token stands for."""
        return int(2 ** (len(self.widths) - 1))


class ResidualBlock(nn.Module):
    """Two convolutions. Where the number of channels changes, the shortcut projects the branch, as was published."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.norm1 = _normalisation(inner)
        self.conv1 = nn.Conv2d(inner, outer, 3, padding=1, bias=False)
        self.norm2 = _normalisation(outer)
        self.conv2 = nn.Conv2d(outer, outer, 3, padding=1, bias=False)
        if inner != outer:
            self.nin_shortcut = nn.Conv2d(outer, outer, 1, bias=False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """``[n, inner, h, w]`` to ``[n, outer, h, w]``."""
        branch: torch.Tensor = self.conv1(functional.silu(self.norm1(features)))
        branch = self.conv2(functional.silu(self.norm2(branch)))
        return branch + (self.nin_shortcut(branch) if hasattr(self, "nin_shortcut") else features)


class Level(nn.Module):
    """Residual blocks at one resolution; in the decoder, a convolution after the image has been doubled."""

    def __init__(self, inner: int, outer: int, blocks: int, *, doubles: bool = False) -> None:
        super().__init__()
        self.block = nn.ModuleList([ResidualBlock(inner if i == 0 else outer, outer) for i in range(blocks)])
        if doubles:
            self.upsample = nn.ModuleDict({"conv": nn.Conv2d(outer, outer, 3, padding=1)})

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Blocks, then the doubling if there is one."""
        for block in self.block:
            features = block(features)
        if hasattr(self, "upsample"):
            features = self.upsample["conv"](functional.interpolate(features, scale_factor=2.0, mode="nearest"))
        return features


class Middle(nn.Module):
    """Two residual blocks at the lowest resolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.block_1 = ResidualBlock(width, width)
        self.block_2 = ResidualBlock(width, width)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Same shape in and out."""
        return self.block_2(self.block_1(features))  # type: ignore[no-any-return]


class TokenEncoder(nn.Module):
    """Images to latents, before quantisation."""

    def __init__(self, sizes: TokeniserSizes) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(sizes.channels, sizes.stem, 3, padding=1, bias=False)
        inner = (sizes.stem, *sizes.widths)
        self.down = nn.ModuleList([Level(*pair, sizes.blocks) for pair in zip(inner, sizes.widths, strict=False)])
        self.mid = Middle(sizes.widths[-1])
        self.norm_out = _normalisation(sizes.widths[-1])
        self.conv_out = nn.Conv2d(sizes.widths[-1], sizes.code_width, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """``[n, channels, height, width]`` to ``[n, code_width, height / cell, width / cell]``."""
        features: torch.Tensor = self.conv_in(images)
        for index, level in enumerate(self.down):
            features = level(functional.avg_pool2d(features, 2) if index else features)
        return self.conv_out(functional.silu(self.norm_out(self.mid(features))))  # type: ignore[no-any-return]


class TokenDecoder(nn.Module):
    """Codes to images."""

    def __init__(self, sizes: TokeniserSizes) -> None:
        super().__init__()
        widest = sizes.widths[-1]
        self.conv_in = nn.Conv2d(sizes.code_width, widest, 3, padding=1)
        self.mid = Middle(widest)
        inner = (*sizes.widths[1:], widest)
        self.up = nn.ModuleList(
            [
                Level(*pair, sizes.blocks, doubles=index > 0)
                for index, pair in enumerate(zip(inner, sizes.widths, strict=True))
            ]
        )
        self.norm_out = _normalisation(sizes.widths[0])
        self.conv_out = nn.Conv2d(sizes.widths[0], sizes.channels, 3, padding=1)

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        """``[n, code_width, h, w]`` to ``[n, channels, h * cell, w * cell]``."""
        features: torch.Tensor = self.mid(self.conv_in(codes))
        for level in reversed(self.up):
            features = level(features)
        return self.conv_out(functional.silu(self.norm_out(features)))  # type: ignore[no-any-return]


class Tokeniser(nn.Module):
    """Images to token ids and back; normalised pixels on both sides."""

    def __init__(self, sizes: TokeniserSizes) -> None:
        super().__init__()
        self.encoder = TokenEncoder(sizes)
        self.decoder = TokenDecoder(sizes)
        self.quantize = nn.ModuleDict({"embedding": nn.Embedding(sizes.codes, sizes.code_width)})

    @property
    def codebook(self) -> nn.Parameter:
        """All codes, ``[codes, code_width]``."""
        return self.get_parameter("quantize.embedding.weight")

    def nearest(self, latents: torch.Tensor) -> torch.Tensor:
        """Ids of the nearest codes: ``[n, code_width, h, w]`` to integer ``[n, h * w]``, in raster order."""
        rows = latents.detach().flatten(2).transpose(1, 2)
        codes = self.codebook.detach()
        distances = codes.square().sum(dim=1) - 2.0 * rows @ codes.T  # the square of the row is the same for all codes
        return distances.argmin(dim=2)

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """Images from codes of a square grid in raster order, ``[n, tokens, code_width]``."""
        edge = int(codes.shape[1] ** 0.5)
        return self.decoder(codes.transpose(1, 2).reshape(len(codes), -1, edge, edge))  # type: ignore[no-any-return]


def _normalisation(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(NORM_GROUPS, width, eps=1e-6)
