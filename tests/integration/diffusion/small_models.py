"""What the tests of the diffusion adapter are made of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from cu_diffusion.adapter import DiffusionAdapter
from cu_diffusion.params import DiffusionParams

from compliance_unlearn.api import Inpaint, Task

SIZE = 16
CPU = torch.device("cpu")


def adapter_for(folder: Path, task: Task | None = None, **params: Any) -> DiffusionAdapter:
    """A loaded adapter that samples in two steps, or as ``params`` say."""
    settings = DiffusionParams(**{"sampling_steps": 2, **params})
    return DiffusionAdapter(settings, task or Inpaint()).load(folder, CPU)


def seeded(seed: int) -> torch.Generator:
    """A generator on the CPU."""
    return torch.Generator().manual_seed(seed)


def pictures(count: int, channels: int = 1) -> torch.Tensor:
    """Images ``[count, channels, SIZE, SIZE]`` in [0, 1], always the same."""
    return torch.rand(count, channels, SIZE, SIZE, generator=seeded(3))


def small_unet(**changes: Any) -> Any:
    """A UNet2DModel with random weights."""
    from diffusers.models.unets.unet_2d import UNet2DModel

    sizes = {
        "sample_size": SIZE,
        "in_channels": 3,
        "out_channels": 1,
        "block_out_channels": (8, 16),
        "layers_per_block": 2,
        "norm_num_groups": 4,
        "attention_head_dim": 8,
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    }
    torch.manual_seed(0)
    network = UNet2DModel(**{**sizes, **changes}).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    return network


def save_unet(network: Any, folder: Path, **scheduler: Any) -> Path:
    """Save a network as pipelines do, with a DDPMScheduler that ``scheduler`` describes."""
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    network.save_pretrained(folder / "unet")
    DDPMScheduler(**{"num_train_timesteps": 100, "prediction_type": "sample", **scheduler}).save_pretrained(
        folder / "scheduler"
    )
    return folder


def palette_config(**unet: Any) -> dict[str, Any]:
    """A configuration of the Palette release for a small network, with what else stands in such a file."""
    sizes = {
        "in_channel": 2,
        "out_channel": 1,
        "inner_channel": 32,
        "channel_mults": [1, 2],
        "attn_res": [2],
        "num_head_channels": 32,
        "res_blocks": 1,
        "dropout": 0.2,
        "image_size": SIZE,
    }
    beta = {"schedule": "linear", "n_timestep": 50, "linear_start": 1e-4, "linear_end": 0.2}
    arguments = {
        "init_type": "kaiming",
        "module_name": "guided_diffusion",
        "unet": {**sizes, **unet},
        "beta_schedule": {"train": beta, "test": {**beta, "n_timestep": 25}},
    }
    return {"name": "inpainting", "model": {"which_networks": [{"name": "Network", "args": arguments}]}}


def palette_state(tables: bool = True, film: bool = True) -> dict[str, torch.Tensor]:
    """Random weights of that network, names and shapes written out from the release; ``tables`` as after training."""
    random = seeded(7)
    state: dict[str, torch.Tensor] = {}

    def add(name: str, *shape: int) -> None:
        scale = 0.3 / max(1, shape[1] if len(shape) > 1 else 1) ** 0.5
        state[f"denoise_fn.{name}.weight"] = scale * torch.randn(shape, generator=random)
        state[f"denoise_fn.{name}.bias"] = 0.3 * torch.randn(shape[0], generator=random)

    def residual(name: str, width: int, made: int) -> None:
        add(f"{name}.in_layers.0", width)
        add(f"{name}.in_layers.2", made, width, 3, 3)
        add(f"{name}.emb_layers.1", made * (1 + film), 128)
        add(f"{name}.out_layers.0", made)
        add(f"{name}.out_layers.3", made, made, 3, 3)
        if width != made:
            add(f"{name}.skip_connection", made, width, 1, 1)

    def attention(name: str, width: int) -> None:
        add(f"{name}.norm", width)
        add(f"{name}.qkv", 3 * width, width, 1)
        add(f"{name}.proj_out", width, width, 1)

    add("cond_embed.0", 128, 32)
    add("cond_embed.2", 128, 128)
    add("input_blocks.0.0", 32, 2, 3, 3)
    residual("input_blocks.1.0", 32, 32)
    residual("input_blocks.2.0", 32, 32)
    residual("input_blocks.3.0", 32, 64)
    attention("input_blocks.3.1", 64)
    residual("middle_block.0", 64, 64)
    attention("middle_block.1", 64)
    residual("middle_block.2", 64, 64)
    residual("output_blocks.0.0", 128, 64)
    attention("output_blocks.0.1", 64)
    residual("output_blocks.1.0", 96, 64)
    attention("output_blocks.1.1", 64)
    residual("output_blocks.1.2", 64, 64)
    residual("output_blocks.2.0", 96, 32)
    residual("output_blocks.3.0", 64, 32)
    add("out.0", 32)
    add("out.2", 1, 32, 3, 3)
    return state | (_tables() if tables else {})


def _tables() -> dict[str, torch.Tensor]:
    betas = torch.linspace(1e-4, 0.2, 50, dtype=torch.float64)
    gammas = torch.cumprod(1 - betas, dim=0)
    before = torch.cat([torch.ones(1, dtype=torch.float64), gammas[:-1]])
    tables = {
        "gammas": gammas,
        "sqrt_recip_gammas": gammas.rsqrt(),
        "sqrt_recipm1_gammas": (1 / gammas - 1).sqrt(),
        "posterior_log_variance_clipped": (betas * (1 - before) / (1 - gammas)).clamp(min=1e-20).log(),
        "posterior_mean_coef1": betas * before.sqrt() / (1 - gammas),
        "posterior_mean_coef2": (1 - before) * (1 - betas).sqrt() / (1 - gammas),
    }
    return {name: table.float() for name, table in tables.items()}


def plain_palette(state: Mapping[str, torch.Tensor], pixels: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
    """The network of `palette_config` written down as one long sum, to compare with: nothing of it is shared.

    Args:
        state: from `palette_state`.
        pixels: condition and noised image, ``[n, 2, SIZE, SIZE]``.
        levels: γ, ``[n]``.
    """
    weights = {name.removeprefix("denoise_fn."): tensor for name, tensor in state.items()}

    def affine(name: str, value: torch.Tensor, **how: int) -> torch.Tensor:
        weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        if weight.dim() == 2:
            return value @ weight.T + bias
        convolve = torch.conv1d if weight.dim() == 3 else torch.conv2d
        return convolve(value, weight, bias, padding=weight.shape[-1] // 2, **how)

    def norm(name: str, value: torch.Tensor) -> torch.Tensor:
        grouped = value.reshape(len(value), 32, -1)
        centred = grouped - grouped.mean(dim=2, keepdim=True)
        scaled = centred / (centred.pow(2).mean(dim=2, keepdim=True) + 1e-5).sqrt()
        shape = (1, -1) + (1,) * (value.dim() - 2)
        return scaled.reshape(value.shape) * weights[f"{name}.weight"].view(shape) + weights[f"{name}.bias"].view(shape)

    def silu(value: torch.Tensor) -> torch.Tensor:
        return value * torch.sigmoid(value)

    def halved(value: torch.Tensor) -> torch.Tensor:
        return (value[..., ::2, ::2] + value[..., 1::2, ::2] + value[..., ::2, 1::2] + value[..., 1::2, 1::2]) / 4

    def doubled(value: torch.Tensor) -> torch.Tensor:
        return value.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)

    def residual(name: str, value: torch.Tensor, resize: Any = lambda same: same) -> torch.Tensor:
        inner = affine(f"{name}.in_layers.2", resize(silu(norm(f"{name}.in_layers.0", value))))
        told = affine(f"{name}.emb_layers.1", silu(embedding))[:, :, None, None]
        inner = norm(f"{name}.out_layers.0", inner) * (1 + told[:, : inner.shape[1]]) + told[:, inner.shape[1] :]
        value = resize(value)
        if f"{name}.skip_connection.weight" in weights:
            value = affine(f"{name}.skip_connection", value)
        return value + affine(f"{name}.out_layers.3", silu(inner))

    def attention(name: str, value: torch.Tensor) -> torch.Tensor:
        places = value.flatten(2)
        made = []
        for head in affine(f"{name}.qkv", norm(f"{name}.norm", places)).chunk(places.shape[1] // 32, dim=1):
            query, key, content = head.chunk(3, dim=1)
            share = torch.softmax(query.transpose(1, 2) @ key / 32**0.5, dim=2)
            made.append(content @ share.transpose(1, 2))
        return (places + affine(f"{name}.proj_out", torch.cat(made, dim=1))).view_as(value)

    angles = levels[:, None] * 10000 ** (-torch.arange(16) / 16)
    waves = torch.cat([angles.cos(), angles.sin()], dim=1)
    embedding = affine("cond_embed.2", silu(affine("cond_embed.0", waves)))
    first = affine("input_blocks.0.0", pixels)
    second = residual("input_blocks.1.0", first)
    third = residual("input_blocks.2.0", second, halved)
    fourth = attention("input_blocks.3.1", residual("input_blocks.3.0", third))
    middle = attention("middle_block.1", residual("middle_block.0", fourth))
    value = residual("middle_block.2", middle)
    value = attention("output_blocks.0.1", residual("output_blocks.0.0", torch.cat([value, fourth], dim=1)))
    value = attention("output_blocks.1.1", residual("output_blocks.1.0", torch.cat([value, third], dim=1)))
    value = residual("output_blocks.1.2", value, doubled)
    value = residual("output_blocks.2.0", torch.cat([value, second], dim=1))
    value = residual("output_blocks.3.0", torch.cat([value, first], dim=1))
    return affine("out.2", silu(norm("out.0", value)))
