"""Models of the Palette release: a UNet that is told the noise level, conditioned on T(x)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from compliance_unlearn.api import ImageShape, ModelError, read_safetensors, seeded_noise, weight_bytes
from cu_diffusion.files import write_files
from cu_diffusion.model import DenoisingModel, NoisedImages
from cu_diffusion.palette_config import PaletteConfig, read_config
from cu_diffusion.palette_network import PaletteNetwork, PaletteUNet
from cu_diffusion.schedule import NoiseSchedule, Times
from cu_diffusion.weights import fitting, read_pickled_tensors

CONFIG, WEIGHTS, RELEASED = "config.json", "model.safetensors", "*_Network.pth"

_ENCODER = ("denoise_fn.input_blocks.", "denoise_fn.middle_block.")
_TABLES = (
    "gammas",
    "sqrt_recip_gammas",
    "sqrt_recipm1_gammas",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
)
_CONDITION_NOISE = 2
"""Purpose of the noise in the condition; the adapter draws others for x_t and for the time."""


class PaletteModel(DenoisingModel):
    """A network of the release, which sees the condition, then x_t.

    Where T(x) shows nothing the condition holds noise, and where it shows a pixel x_t holds that pixel without noise
    (``data/dataset.py`` and ``Network.forward`` of the release). Sampling runs over the schedule of the training phase,
    whose levels are those that the network has met.
    """

    noises_visible = False

    def __init__(
        self, network: PaletteNetwork, config: PaletteConfig, file: bytes, dtypes: Mapping[str, torch.dtype]
    ) -> None:
        self.module = network
        self.shape = ImageShape(config.unet.out_channel, config.unet.image_size, config.unet.image_size)
        self.schedule = noise_schedule(config)
        self._file = file
        self._dtypes = dict(dtypes)

    @property
    def _unet(self) -> PaletteUNet:
        unet = self.module.denoise_fn
        assert isinstance(unet, PaletteUNet)
        return unet

    def condition(self, shown: torch.Tensor, filled_in: torch.Tensor, seeds: torch.Tensor) -> torch.Tensor:
        """T(x), with noise where it shows nothing."""
        return torch.where(filled_in, seeded_noise(seeds, shown.shape[1:], _CONDITION_NOISE).to(shown), shown)

    def joined(self, inputs: NoisedImages) -> torch.Tensor:
        """The condition, then x_t."""
        return torch.cat([inputs.condition, inputs.noised], dim=1)

    def training_times(self, drawn: torch.Tensor) -> Times:
        """Levels between those of two neighbouring steps (Saharia et al., 2022; Chen et al., 2021, section 3.3)."""
        place = drawn * (len(self.schedule.levels) - 1)
        below = place.long()
        levels = torch.lerp(self.schedule.levels[below], self.schedule.levels[below + 1], place - below)
        return Times(below + 1, levels)

    def embed(self, times: Times) -> torch.Tensor:
        """The embedding of the noise level."""
        return self._unet.embed(times.levels)

    def encode(self, pixels: torch.Tensor, embedding: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """What each input block makes, then the middle."""
        return self._unet.encode(pixels, embedding)

    def decode(self, features: tuple[torch.Tensor, ...], embedding: torch.Tensor) -> torch.Tensor:
        """The predicted noise."""
        return self._unet.decode(features, embedding)

    def encoder_names(self) -> frozenset[str]:
        """Input blocks and middle, with the layers by which each takes in the embedding, but not the embedding."""
        return frozenset(name for name, _ in self.module.named_parameters() if name.startswith(_ENCODER))

    def export(self, folder: Path) -> None:
        """Write the configuration as it was read, and the weights under the names of the release."""
        tensors = {name: tensor.to(self._dtypes[name]) for name, tensor in self.module.state_dict().items()}
        write_files(folder, {CONFIG: self._file, WEIGHTS: weight_bytes(tensors)})


def noise_schedule(config: PaletteConfig) -> NoiseSchedule:
    """The schedule of the training phase."""
    betas = config.beta_schedule.train.betas().tolist()
    return NoiseSchedule.from_config(
        {
            "_class_name": "DDPMScheduler",
            "num_train_timesteps": len(betas),
            "trained_betas": betas,
            "prediction_type": "epsilon",
            "clip_sample": True,
        }
    )


def read_palette(folder: Path) -> PaletteModel:
    """Read a folder with the release's configuration as ``config.json`` and one file of weights.

    Raises:
        ModelError: no file of weights or several, an unsafe pickle, or tensors that do not fit the configuration.
    """
    path = folder / CONFIG
    config, file = read_config(path.read_bytes(), path)
    weights = _weights_file(folder)
    stored = read_safetensors(weights) if weights.name == WEIGHTS else read_pickled_tensors(weights)
    with torch.device("meta"):
        network = PaletteNetwork(config.unet)
    # Tables lie in a checkpoint if a schedule was set before it was saved, for whichever phase that was.
    for name in _TABLES:
        if name in stored:
            network.register_buffer(name, torch.empty_like(stored[name], device="meta"))
    content = fitting(stored, {name: tensor.shape for name, tensor in network.state_dict().items()}, weights)
    network.load_state_dict(content.tensors, assign=True)
    network.requires_grad_(True)
    return PaletteModel(network, config, file, content.dtypes)


def _weights_file(folder: Path) -> Path:
    found = sorted([*folder.glob(WEIGHTS), *folder.glob(RELEASED)])
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise ModelError(f"{folder}: {names} all look like the weights; leave the one that is meant")
    if not found:
        averaged = "; an average (_ema) is read if it is named so" if list(folder.glob("*_Network_ema.pth")) else ""
        raise ModelError(f"{folder}: there is neither {WEIGHTS} nor a file {RELEASED}{averaged}")
    return found[0]
