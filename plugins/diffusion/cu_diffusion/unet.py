"""The UNet2DModel of diffusers, its two halves run apart."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from compliance_unlearn.api import ImageShape, ModelError, weight_bytes
from cu_diffusion.files import write_files
from cu_diffusion.model import DenoisingModel, NoisedImages
from cu_diffusion.params import Architecture
from cu_diffusion.schedule import NoiseSchedule, Times

UNET, SCHEDULER = "unet", "scheduler"
CONFIG, WEIGHTS, SCHEDULER_CONFIG = "config.json", "diffusion_pytorch_model.safetensors", "scheduler_config.json"

_ENCODER = ("conv_in.", "down_blocks.", "mid_block.")
_DOWN_BLOCKS = ("DownBlock2D", "AttnDownBlock2D", "ResnetDownsampleBlock2D")
_UP_BLOCKS = ("UpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D")


class UNetModel(DenoisingModel):
    """A `UNet2DModel` that is given x_t, perhaps a mask, and T(x), as channels in this order.

    The order is that of diffusers' own pipelines: x_t before the condition for super-resolution, the mask in between
    for inpainting, where 1 stands for a hidden pixel. All of x_t is noised, also what the condition shows.
    """

    noises_visible = True

    def __init__(
        self,
        network: Any,
        schedule: NoiseSchedule,
        files: Mapping[str, bytes],
        weights: str,
        dtypes: Mapping[str, torch.dtype],
    ) -> None:
        self.module = network
        self.schedule = schedule
        self.shape, self._masked = image_geometry(network.config)
        self._files = dict(files)
        self._weights = weights
        self._dtypes = dict(dtypes)

    def condition(self, shown: torch.Tensor, filled_in: torch.Tensor, seeds: torch.Tensor) -> torch.Tensor:
        """T(x), behind the mask if the network takes one."""
        del seeds
        return torch.cat([filled_in.to(shown), shown], dim=1) if self._masked else shown

    def joined(self, inputs: NoisedImages) -> torch.Tensor:
        """x_t, then the condition."""
        return torch.cat([inputs.noised, inputs.condition], dim=1)

    def training_times(self, drawn: torch.Tensor) -> Times:
        """Every step with equal chances."""
        return self.schedule.at((drawn * len(self.schedule.levels)).long())

    def embed(self, times: Times) -> torch.Tensor:
        """The embedding of the step."""
        network: Any = self.module
        return network.time_embedding(network.time_proj(times.steps))  # type: ignore[no-any-return]

    def encode(self, pixels: torch.Tensor, embedding: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The first convolution, then each residual block and each halving of the size, then the middle."""
        network: Any = self.module
        if network.config.center_input_sample:
            pixels = 2 * pixels - 1.0
        sample = network.conv_in(pixels)
        skips = [sample]
        for block in network.down_blocks:
            sample, made = block(hidden_states=sample, temb=embedding)
            skips.extend(made)
        return (*skips, sample if network.mid_block is None else network.mid_block(sample, embedding))

    def decode(self, features: tuple[torch.Tensor, ...], embedding: torch.Tensor) -> torch.Tensor:
        """The blocks upwards, each of which takes as many skips as it has residual blocks."""
        network: Any = self.module
        *skips, sample = features
        for block in network.up_blocks:
            taken = len(skips) - len(block.resnets)
            sample = block(sample, tuple(skips[taken:]), embedding)
            skips = skips[:taken]
        return network.conv_out(network.conv_act(network.conv_norm_out(sample)))  # type: ignore[no-any-return]

    def encoder_names(self) -> frozenset[str]:
        """The first convolution, the blocks downwards and the middle."""
        return frozenset(name for name, _ in self.module.named_parameters() if name.startswith(_ENCODER))

    def export(self, folder: Path) -> None:
        """Write the configurations as they were read, and the weights."""
        tensors = {
            name: tensor.to(self._dtypes.get(name, torch.float32)) for name, tensor in self.module.state_dict().items()
        }
        write_files(folder, {**self._files, self._weights: weight_bytes(tensors)})


def image_geometry(config: Mapping[str, Any]) -> tuple[ImageShape, bool]:
    """Size of the images of a UNet2DModel, and whether it is shown a mask.

    Raises:
        ModelError: not a network that is given x_t and a condition of the same size.
    """
    channels, given = config["out_channels"], config["in_channels"]
    if given not in (2 * channels, 2 * channels + 1):
        raise ModelError(
            f"the network makes {channels} channels and takes {given}; a conditional model takes {2 * channels} "
            f"(noised image and condition) or {2 * channels + 1} (with a mask)"
        )
    size = config["sample_size"]
    if size is None:
        raise ModelError("sample_size is absent from the network's config.json: the size of its images is unknown")
    height, width = (size, size) if isinstance(size, int) else size
    smallest = 2 ** (len(config["block_out_channels"]) - 1)
    if height % smallest or width % smallest:
        raise ModelError(f"sample_size {height} by {width} is not a multiple of {smallest}")
    return ImageShape(channels, height, width), given > 2 * channels


def build_network(config: Mapping[str, Any], device: str) -> Any:
    """A UNet2DModel without dropout; on the device ``meta`` it has shapes but no numbers.

    Raises:
        ModelError: an architecture that diffusers does not have, or whose halves cannot be run apart.
    """
    from diffusers.models.unets.unet_2d import UNet2DModel

    _require_known_parts(config)
    try:
        with torch.device(device):
            network = UNet2DModel.from_config(dict(config), dropout=0.0)
    except (TypeError, ValueError, KeyError, IndexError, ZeroDivisionError) as error:
        raise ModelError(f"config.json does not describe a UNet2DModel: {' '.join(str(error).split())}") from error
    return network


def _require_known_parts(config: Mapping[str, Any]) -> None:
    known = {"down_block_types": _DOWN_BLOCKS, "up_block_types": _UP_BLOCKS}
    for key, allowed in known.items():
        unknown = sorted(set(config.get(key, ())) - set(allowed))
        if unknown:
            raise ModelError(f"config.json: {key} holds {unknown[0]}; this adapter runs {', '.join(allowed)}")
    if config.get("class_embed_type") is not None or config.get("num_class_embeds") is not None:
        raise ModelError("config.json: the network is conditioned on classes; this adapter conditions on images only")
    if config.get("time_embedding_type", "positional") != "positional":
        raise ModelError("config.json: time_embedding_type must be positional")


def new_model(architecture: Architecture, generator: torch.Generator) -> UNetModel:
    """A model with random weights that depend on the architecture and the generator alone."""
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    seed = int(torch.randint(2**62, (1,), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        network = build_network(_network_config(architecture), "cpu")
    scheduler = DDPMScheduler(
        num_train_timesteps=architecture.train_timesteps,
        beta_schedule=architecture.beta_schedule,
        prediction_type=architecture.prediction_type,
        timestep_spacing="trailing",
    )
    files = {
        f"{UNET}/{CONFIG}": network.to_json_string().encode(),
        f"{SCHEDULER}/{SCHEDULER_CONFIG}": scheduler.to_json_string().encode(),
    }
    schedule = NoiseSchedule.from_config(json.loads(files[f"{SCHEDULER}/{SCHEDULER_CONFIG}"]))
    return UNetModel(network, schedule, files, f"{UNET}/{WEIGHTS}", {})


def _network_config(architecture: Architecture) -> dict[str, Any]:
    levels = len(architecture.block_out_channels)
    down, up = ["DownBlock2D"] * levels, ["UpBlock2D"] * levels
    if architecture.attention:
        down[-1], up[0] = "AttnDownBlock2D", "AttnUpBlock2D"
    return {
        "sample_size": architecture.image_size,
        "in_channels": 2 * architecture.channels + architecture.mask_channel,
        "out_channels": architecture.channels,
        "block_out_channels": list(architecture.block_out_channels),
        "layers_per_block": architecture.layers_per_block,
        "norm_num_groups": architecture.norm_num_groups,
        "down_block_types": down,
        "up_block_types": up,
        "attention_head_dim": None,
        "add_attention": architecture.attention,
    }
