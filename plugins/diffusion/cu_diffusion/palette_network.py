"""The UNet of the Palette release, under the names of its checkpoints.

Structure, names and shapes are those of Janspiry/Palette-Image-to-Image-Diffusion-Models
(``models/guided_diffusion_modules/unet.py``), itself the UNet of Dhariwal and Nichol (2021) with a noise level in
place of a time. Dropout is left out, whatever the configuration says: it would draw from a generator that nobody seeds.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

from cu_diffusion.palette_config import UNetConfig

GROUPS = 32
"""Groups of every group normalisation; all widths are multiples of it."""


class ResidualBlock(nn.Module):
    """Two convolutions that the embedding shifts (and scales, with FiLM), around a shortcut.

    Args:
        width: channels that come in.
        made: channels that go out.
        config: of the network.
        resize: ``up``, ``down`` or nothing: what happens to the size between normalisation and first convolution.
    """

    def __init__(self, width: int, made: int, config: UNetConfig, resize: str = "") -> None:
        super().__init__()
        self._resize = resize
        self._film = config.use_scale_shift_norm
        self.in_layers = nn.Sequential(nn.GroupNorm(GROUPS, width), nn.SiLU(), nn.Conv2d(width, made, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(config.embedding, made * (2 if self._film else 1)))
        convolution = nn.Conv2d(made, made, 3, padding=1)
        self.out_layers = nn.Sequential(nn.GroupNorm(GROUPS, made), nn.SiLU(), nn.Identity(), convolution)
        self.skip_connection = nn.Identity() if width == made else nn.Conv2d(width, made, 1)

    def forward(self, sample: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        """``[n, width, height, width]`` to ``[n, made, ...]``; embedding ``[n, embedding]``."""
        norm, activation, convolution = self.in_layers
        inner = convolution(_resized(activation(norm(sample)), self._resize))
        shift = self.emb_layers(embedding)[:, :, None, None]
        if self._film:
            scale, shift = shift.chunk(2, dim=1)
            inner = self.out_layers[1:](self.out_layers[0](inner) * (1 + scale) + shift)
        else:
            inner = self.out_layers(inner + shift)
        return self.skip_connection(_resized(sample, self._resize)) + inner  # type: ignore[no-any-return]


def _resized(sample: torch.Tensor, resize: str) -> torch.Tensor:
    if resize == "up":
        return functional.interpolate(sample, scale_factor=2, mode="nearest")
    return functional.avg_pool2d(sample, 2) if resize == "down" else sample


class AttentionBlock(nn.Module):
    """Self-attention over all places of the image."""

    def __init__(self, width: int, config: UNetConfig, heads: int) -> None:
        super().__init__()
        self._heads = heads if config.num_head_channels == -1 else width // config.num_head_channels
        self._heads_first = not config.use_new_attention_order
        self.norm = nn.GroupNorm(GROUPS, width)
        self.qkv = nn.Conv1d(width, 3 * width, 1)
        self.proj_out = nn.Conv1d(width, width, 1)

    def forward(self, sample: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        """``[n, width, height, width]`` to the same shape; the embedding is not looked at."""
        del embedding
        count, width = sample.shape[:2]
        places = sample.flatten(2)
        joint = self.qkv(self.norm(places))
        if self._heads_first:
            parts = joint.view(count, self._heads, 3, width // self._heads, -1).unbind(dim=2)
        else:
            parts = joint.view(count, 3, self._heads, width // self._heads, -1).unbind(dim=1)
        query, key, value = (part.transpose(2, 3) for part in parts)
        seen = functional.scaled_dot_product_attention(query, key, value).transpose(2, 3)
        return (places + self.proj_out(seen.reshape(places.shape))).view_as(sample)  # type: ignore[no-any-return]


class Resample(nn.Module):
    """Doubles or halves the size where the configuration wants no residual block for it."""

    def __init__(self, width: int, config: UNetConfig, resize: str) -> None:
        super().__init__()
        self._resize = resize
        if config.conv_resample and resize == "down":
            self.op = nn.Conv2d(width, width, 3, stride=2, padding=1)
        elif config.conv_resample:
            self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, sample: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        """``[n, width, height, width]`` to twice or half the size; the embedding is not looked at."""
        del embedding
        if hasattr(self, "op"):
            return self.op(sample)  # type: ignore[no-any-return]
        resized = _resized(sample, self._resize)
        return self.conv(resized) if hasattr(self, "conv") else resized


class Stage(nn.Sequential):
    """Parts that follow each other and all see the embedding."""

    def forward(self, sample: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """What the last part makes of it."""
        for part in self:
            sample = part(sample) if isinstance(part, nn.Conv2d) else part(sample, embedding)
        return sample


class PaletteUNet(nn.Module):
    """The network ``denoise_fn``."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self._config = config
        wide = config.embedding
        self.cond_embed = nn.Sequential(nn.Linear(config.inner_channel, wide), nn.SiLU(), nn.Linear(wide, wide))
        first = config.width(0)
        self.input_blocks = nn.ModuleList([Stage(nn.Conv2d(config.in_channel, first, 3, padding=1))])
        widths = self._add_input_blocks(first)
        width = widths[-1]
        self.middle_block = Stage(
            ResidualBlock(width, width, config),
            AttentionBlock(width, config, config.num_heads),
            ResidualBlock(width, width, config),
        )
        self.output_blocks = nn.ModuleList()
        last = self._add_output_blocks(widths)
        self.out = nn.Sequential(
            nn.GroupNorm(GROUPS, last), nn.SiLU(), nn.Conv2d(first, config.out_channel, 3, padding=1)
        )

    def _add_input_blocks(self, width: int) -> list[int]:
        """Widths of the skips, in order."""
        config, widths = self._config, [width]
        for level in range(config.levels):
            for _ in range(config.res_blocks):
                parts: list[nn.Module] = [ResidualBlock(width, config.width(level), config)]
                width = config.width(level)
                if 2**level in config.attn_res:
                    parts.append(AttentionBlock(width, config, config.num_heads))
                self.input_blocks.append(Stage(*parts))
                widths.append(width)
            if level < config.levels - 1:
                self.input_blocks.append(Stage(self._resample(width, "down")))
                widths.append(width)
        return widths

    def _add_output_blocks(self, widths: list[int]) -> int:
        """Width after the last block."""
        config, width, skips = self._config, widths[-1], list(widths)
        heads = config.num_heads if config.num_heads_upsample == -1 else config.num_heads_upsample
        for level in reversed(range(config.levels)):
            for index in range(config.res_blocks + 1):
                parts: list[nn.Module] = [ResidualBlock(width + skips.pop(), config.width(level), config)]
                width = config.width(level)
                if 2**level in config.attn_res:
                    parts.append(AttentionBlock(width, config, heads))
                if level and index == config.res_blocks:
                    parts.append(self._resample(width, "up"))
                self.output_blocks.append(Stage(*parts))
        return width

    def _resample(self, width: int, resize: str) -> nn.Module:
        if self._config.resblock_updown:
            return ResidualBlock(width, width, self._config, resize)
        return Resample(width, self._config, resize)

    def embed(self, levels: torch.Tensor) -> torch.Tensor:
        """Noise levels γ ``[n]`` to ``[n, embedding]``: waves as Vaswani et al. (2017), cosines first, then an MLP."""
        half = self._config.inner_channel // 2
        places = torch.arange(half, dtype=torch.float32, device=levels.device)
        angles = levels.float()[:, None] * torch.exp(-math.log(10000) * places / half)
        waves = torch.cat([angles.cos(), angles.sin()], dim=1)
        return self.cond_embed(functional.pad(waves, (0, self._config.inner_channel % 2)))  # type: ignore[no-any-return]

    def encode(self, sample: torch.Tensor, embedding: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """What each of ``input_blocks`` makes, in order, then the middle."""
        features = []
        for block in self.input_blocks:
            sample = block(sample, embedding)
            features.append(sample)
        return (*features, self.middle_block(sample, embedding))

    def decode(self, features: tuple[torch.Tensor, ...], embedding: torch.Tensor) -> torch.Tensor:
        """The predicted noise ``[n, out_channel, height, width]``."""
        *skips, sample = features
        for block in self.output_blocks:
            sample = block(torch.cat([sample, skips.pop()], dim=1), embedding)
        return self.out(sample)  # type: ignore[no-any-return]


class PaletteNetwork(nn.Module):
    """The UNet as ``denoise_fn``, beside the tables that a checkpoint may hold."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.denoise_fn = PaletteUNet(config)
