"""The network of taming-transformers as its paper and its published names of tensors define it, in plain functions.

Written apart from the adapter, on nothing but torch, so that the two can be compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Sizes:
    """Keys of ``ddconfig``, and the codebook's."""

    ch: int = 32
    ch_mult: tuple[int, ...] = (1, 2, 2)
    num_res_blocks: int = 2
    attn_resolutions: tuple[int, ...] = (8,)
    channels: int = 3
    resolution: int = 16
    z_channels: int = 6
    embed_dim: int = 5
    n_embed: int = 24

    @property
    def widths(self) -> list[int]:
        return [self.ch * factor for factor in self.ch_mult]

    def attends(self, level: int) -> bool:
        return self.resolution // 2**level in self.attn_resolutions

    def yaml(self) -> str:
        """A configuration in the form of the published ones."""
        return f"""# as published
model:
  base_learning_rate: 4.5e-6
  target: taming.models.vqgan.VQModel
  params:
    embed_dim: {self.embed_dim}
    n_embed: {self.n_embed}
    ddconfig:
      double_z: False
      z_channels: {self.z_channels}
      resolution: {self.resolution}
      in_channels: {self.channels}
      out_ch: {self.channels}
      ch: {self.ch}
      ch_mult: {list(self.ch_mult)}  # num_down = len(ch_mult)-1
      num_res_blocks: {self.num_res_blocks}
      attn_resolutions: {list(self.attn_resolutions)}
      dropout: 0.0

    lossconfig:
      target: taming.modules.losses.vqperceptual.VQLPIPSWithDiscriminator
      params:
        disc_start: 250001
"""


def random_tensors(sizes: Sizes, seed: int = 0) -> Tensors:
    """Random weights under the published names."""
    generator = torch.Generator().manual_seed(seed)
    tensors: Tensors = {}

    def convolution(name: str, inputs: int, outputs: int, edge: int) -> None:
        weight = torch.randn(outputs, inputs, edge, edge, generator=generator)
        tensors[f"{name}.weight"] = weight / (inputs * edge * edge) ** 0.5
        tensors[f"{name}.bias"] = 0.1 * torch.randn(outputs, generator=generator)

    def norm(name: str, width: int) -> None:
        tensors[f"{name}.weight"] = 1 + 0.1 * torch.randn(width, generator=generator)
        tensors[f"{name}.bias"] = 0.1 * torch.randn(width, generator=generator)

    def block(name: str, inputs: int, outputs: int) -> None:
        norm(f"{name}.norm1", inputs)
        convolution(f"{name}.conv1", inputs, outputs, 3)
        norm(f"{name}.norm2", outputs)
        convolution(f"{name}.conv2", outputs, outputs, 3)
        if inputs != outputs:
            convolution(f"{name}.nin_shortcut", inputs, outputs, 1)

    def attention(name: str, width: int) -> None:
        norm(f"{name}.norm", width)
        for part in ("q", "k", "v", "proj_out"):
            convolution(f"{name}.{part}", width, width, 1)

    def middle(name: str, width: int) -> None:
        block(f"{name}.block_1", width, width)
        attention(f"{name}.attn_1", width)
        block(f"{name}.block_2", width, width)

    widths, last = sizes.widths, len(sizes.widths) - 1
    convolution("encoder.conv_in", sizes.channels, sizes.ch, 3)
    inputs = sizes.ch
    for level, width in enumerate(widths):
        for index in range(sizes.num_res_blocks):
            block(f"encoder.down.{level}.block.{index}", inputs, width)
            inputs = width
            if sizes.attends(level):
                attention(f"encoder.down.{level}.attn.{index}", width)
        if level != last:
            convolution(f"encoder.down.{level}.downsample.conv", width, width, 3)
    middle("encoder.mid", inputs)
    norm("encoder.norm_out", inputs)
    convolution("encoder.conv_out", inputs, sizes.z_channels, 3)

    convolution("decoder.conv_in", sizes.z_channels, inputs, 3)
    middle("decoder.mid", inputs)
    for level in reversed(range(len(widths))):
        for index in range(sizes.num_res_blocks + 1):
            block(f"decoder.up.{level}.block.{index}", inputs, widths[level])
            inputs = widths[level]
            if sizes.attends(level):
                attention(f"decoder.up.{level}.attn.{index}", inputs)
        if level != 0:
            convolution(f"decoder.up.{level}.upsample.conv", inputs, inputs, 3)
    norm("decoder.norm_out", inputs)
    convolution("decoder.conv_out", inputs, sizes.channels, 3)

    tensors["quantize.embedding.weight"] = torch.randn(sizes.n_embed, sizes.embed_dim, generator=generator)
    convolution("quant_conv", sizes.z_channels, sizes.embed_dim, 1)
    convolution("post_quant_conv", sizes.embed_dim, sizes.z_channels, 1)
    return tensors


def encode(tensors: Tensors, sizes: Sizes, pixels: torch.Tensor) -> torch.Tensor:
    """What the quantiser is given, for pixels in [-1, 1]."""
    hidden = _convolution(tensors, "encoder.conv_in", pixels)
    for level in range(len(sizes.ch_mult)):
        for index in range(sizes.num_res_blocks):
            hidden = _block(tensors, f"encoder.down.{level}.block.{index}", hidden)
            if sizes.attends(level):
                hidden = _attention(tensors, f"encoder.down.{level}.attn.{index}", hidden)
        if level != len(sizes.ch_mult) - 1:
            name = f"encoder.down.{level}.downsample.conv"
            padded = functional.pad(hidden, (0, 1, 0, 1))
            hidden = functional.conv2d(padded, tensors[f"{name}.weight"], tensors[f"{name}.bias"], stride=2)
    hidden = _middle(tensors, "encoder.mid", hidden)
    hidden = _convolution(tensors, "encoder.conv_out", functional.silu(_norm(tensors, "encoder.norm_out", hidden)))
    return _convolution(tensors, "quant_conv", hidden)


def quantise(tensors: Tensors, latents: torch.Tensor) -> torch.Tensor:
    """Each vector's nearest code."""
    codes = tensors["quantize.embedding.weight"]
    distances = (latents.permute(0, 2, 3, 1).unsqueeze(-2) - codes).square().sum(dim=-1)
    return codes[distances.argmin(dim=-1)].permute(0, 3, 1, 2)


def decode(tensors: Tensors, sizes: Sizes, quantised: torch.Tensor) -> torch.Tensor:
    """Pixels in about [-1, 1]."""
    hidden = _convolution(tensors, "decoder.conv_in", _convolution(tensors, "post_quant_conv", quantised))
    hidden = _middle(tensors, "decoder.mid", hidden)
    for level in reversed(range(len(sizes.ch_mult))):
        for index in range(sizes.num_res_blocks + 1):
            hidden = _block(tensors, f"decoder.up.{level}.block.{index}", hidden)
            if sizes.attends(level):
                hidden = _attention(tensors, f"decoder.up.{level}.attn.{index}", hidden)
        if level != 0:
            enlarged = functional.interpolate(hidden, scale_factor=2.0, mode="nearest")
            hidden = _convolution(tensors, f"decoder.up.{level}.upsample.conv", enlarged)
    hidden = functional.silu(_norm(tensors, "decoder.norm_out", hidden))
    return _convolution(tensors, "decoder.conv_out", hidden)


def _convolution(tensors: Tensors, name: str, hidden: torch.Tensor) -> torch.Tensor:
    weight = tensors[f"{name}.weight"]
    return functional.conv2d(hidden, weight, tensors[f"{name}.bias"], padding=weight.shape[-1] // 2)


def _norm(tensors: Tensors, name: str, hidden: torch.Tensor) -> torch.Tensor:
    return functional.group_norm(hidden, 32, tensors[f"{name}.weight"], tensors[f"{name}.bias"], eps=1e-6)


def _block(tensors: Tensors, name: str, hidden: torch.Tensor) -> torch.Tensor:
    changed = _convolution(tensors, f"{name}.conv1", functional.silu(_norm(tensors, f"{name}.norm1", hidden)))
    changed = _convolution(tensors, f"{name}.conv2", functional.silu(_norm(tensors, f"{name}.norm2", changed)))
    if f"{name}.nin_shortcut.weight" in tensors:
        hidden = _convolution(tensors, f"{name}.nin_shortcut", hidden)
    return hidden + changed


def _attention(tensors: Tensors, name: str, hidden: torch.Tensor) -> torch.Tensor:
    normed = _norm(tensors, f"{name}.norm", hidden)
    query, key, value = (_convolution(tensors, f"{name}.{part}", normed).flatten(2) for part in ("q", "k", "v"))
    weights = torch.softmax(query.transpose(1, 2) @ key * hidden.shape[1] ** -0.5, dim=2)
    attended = (value @ weights.transpose(1, 2)).view(hidden.shape)
    return hidden + _convolution(tensors, f"{name}.proj_out", attended)


def _middle(tensors: Tensors, name: str, hidden: torch.Tensor) -> torch.Tensor:
    hidden = _block(tensors, f"{name}.block_1", hidden)
    return _block(tensors, f"{name}.block_2", _attention(tensors, f"{name}.attn_1", hidden))
