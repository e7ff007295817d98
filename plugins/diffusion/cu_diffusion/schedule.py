"""How much noise there is at each time, and how to get from what a network predicts to an image."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from compliance_unlearn.api import ModelError

PREDICTION_TYPES = ("epsilon", "sample", "v_prediction")


@dataclass(frozen=True)
class Times:
    """Where each of ``n`` noised images stands.

    Attributes:
        steps: integer ``[n]``, place in the schedule; 0 is next to the image.
        levels: float ``[n]`` in [0, 1], the share of the image in x_t: ᾱ_t of Ho et al. (2020), γ of Palette.
    """

    steps: torch.Tensor
    levels: torch.Tensor

    def to(self, device: torch.device) -> Times:
        """The same on another device."""
        return Times(self.steps.to(device), self.levels.to(device))


@dataclass(frozen=True)
class NoiseSchedule:
    """A schedule of diffusers.

    Attributes:
        config: of one of diffusers' schedulers.
        levels: float32 ``[steps]`` on the CPU, share of the image at each step, falling.
        prediction_type: what the network predicts; one of `PREDICTION_TYPES`.
    """

    config: Mapping[str, Any]
    levels: torch.Tensor
    prediction_type: str

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> NoiseSchedule:
        """The schedule that a ``scheduler_config.json`` describes.

        Raises:
            ModelError: diffusers' schedulers cannot make sense of it.
        """
        from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

        try:
            scheduler = DDPMScheduler.from_config(dict(config))
            levels = scheduler.alphas_cumprod.float()
        except (NotImplementedError, TypeError, ValueError, RuntimeError) as error:
            raise ModelError(f"the scheduler's config is not one that diffusers knows: {error}") from error
        prediction_type = scheduler.config.prediction_type
        if prediction_type not in PREDICTION_TYPES:
            raise ModelError(f"prediction_type is {prediction_type!r}, expected one of {', '.join(PREDICTION_TYPES)}")
        if not ((levels >= 0) & (levels <= 1)).all():
            raise ModelError("the scheduler's betas must lie between 0 and 1")
        if prediction_type == "epsilon" and not levels.all():
            raise ModelError("a network that predicts noise cannot begin with nothing of the image (zero_snr)")
        return cls(dict(config), levels, prediction_type)

    def at(self, steps: torch.Tensor) -> Times:
        """The times of integer steps ``[n]``."""
        return Times(steps, self.levels[steps.cpu()].to(steps.device))

    def noised(self, pixels: torch.Tensor, noise: torch.Tensor, times: Times) -> torch.Tensor:
        """x_t = √ᾱ x_0 + √(1 - ᾱ) ε (Ho et al., 2020, equation 4), all ``[n, channels, height, width]``."""
        image, random = _weights(times)
        return image * pixels + random * noise

    def target(self, pixels: torch.Tensor, noise: torch.Tensor, times: Times) -> torch.Tensor:
        """What the network should predict for x_0 ``pixels`` and ``noise``.

        The velocity is that of Salimans and Ho (2022), appendix D: v = √ᾱ ε - √(1 - ᾱ) x_0.
        """
        if self.prediction_type == "sample":
            return pixels
        if self.prediction_type == "epsilon":
            return noise
        image, random = _weights(times)
        return image * noise - random * pixels

    def image(self, predicted: torch.Tensor, noised: torch.Tensor, times: Times) -> torch.Tensor:
        """The x_0 that a prediction at x_t ``noised`` amounts to, not clipped."""
        if self.prediction_type == "sample":
            return predicted
        image, random = _weights(times)
        if self.prediction_type == "epsilon":
            return (noised - random * predicted) / image
        return image * noised - random * predicted


def _weights(times: Times) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights of image and noise in x_t, each ``[n, 1, 1, 1]``."""
    levels = times.levels[:, None, None, None]
    return levels.sqrt(), (1.0 - levels).sqrt()


def sampler(schedule: NoiseSchedule, name: str, steps: int) -> Any:
    """A scheduler of diffusers, ready to make images in ``steps`` passes without fresh noise.

    Times are spread so that the first is the last of the schedule, where x_t is noise, as Lin et al. (2024, "Common
    diffusion noise schedules and sample steps are flawed", section 3.3) advise for few steps.

    Args:
        schedule: of the model.
        name: ``ddim`` (Song et al., 2021, η = 0) or ``dpm-solver`` (Lu et al., 2022: DPM-Solver++ of second order).
        steps: passes through the network.
    """
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler
    from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler

    if steps > len(schedule.levels):
        raise ModelError(f"sampling_steps is {steps}, but the model knows {len(schedule.levels)} times only")
    kind = DDIMScheduler if name == "ddim" else DPMSolverMultistepScheduler
    made = kind.from_config(dict(schedule.config), timestep_spacing="trailing")
    with warnings.catch_warnings():
        # The solver of diffusers 0.42 hands a tensor to numpy in a way that numpy 2 warns of.
        warnings.simplefilter("ignore", DeprecationWarning)
        made.set_timesteps(steps)
    return made
