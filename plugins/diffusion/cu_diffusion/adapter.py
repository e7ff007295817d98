"""The adapter: a conditional denoising network as an image-to-image model."""

from __future__ import annotations

from pathlib import Path

import torch

from compliance_unlearn.api import (
    Colourise,
    ImageShape,
    ModelAdapter,
    ModelError,
    PixelStatistics,
    SuperResolve,
    Task,
    Views,
    seeded_noise,
    seeded_uniform,
    shown_pixels,
)
from cu_diffusion.model import DenoisingModel, NoisedImages
from cu_diffusion.params import DiffusionParams
from cu_diffusion.schedule import Times, sampler

MIDDLE = 0.5
"""Networks see pixels in [-1, 1]: less this mean, divided by this deviation."""

_NOISE, _TIME = 0, 1


class DiffusionAdapter(ModelAdapter):
    """Conditional diffusion in pixel space, as Palette (Saharia et al., 2022) does it.

    The encoder is all that comes before the upward half of the UNet: what an objective aligns are the skips, from the
    finest to the coarsest, and the middle. The embedding of time feeds both halves and belongs to neither.
    """

    samples = True

    def __init__(self, params: DiffusionParams, task: Task) -> None:
        super().__init__(task)
        self._params = params
        self._denoiser: DenoisingModel | None = None

    @property
    def _model(self) -> DenoisingModel:
        if self._denoiser is None:
            raise ModelError("no model has been loaded or created yet")
        return self._denoiser

    @property
    def module(self) -> torch.nn.Module:
        """The network; names in its state dict are those of the weights file."""
        return self._model.module

    @property
    def image_shape(self) -> ImageShape:
        """Size of the images; before a model is there, that of the architecture that `create` would make."""
        return self._params.architecture.image_shape if self._denoiser is None else self._denoiser.shape

    @property
    def statistics(self) -> PixelStatistics:
        """Always 0.5 and 0.5: noise schedules are made for pixels in [-1, 1]."""
        channels = self._model.shape.channels
        return PixelStatistics((MIDDLE,) * channels, (MIDDLE,) * channels)

    def _load(self, weights: Path) -> None:
        from cu_diffusion.layout import read_model

        self._denoiser = read_model(weights)
        sampler(self._model.schedule, self._params.sampler, self._params.sampling_steps)

    def _create(self, statistics: PixelStatistics, generator: torch.Generator) -> None:
        """A model of the layout of diffusers; the pixels' own statistics do not matter."""
        from cu_diffusion.unet import new_model

        channels = self._params.architecture.channels
        if len(statistics.mean) != channels:
            raise ModelError(f"the model takes {channels} channels, the images have {len(statistics.mean)}")
        self._denoiser = new_model(self._params.architecture, generator)
        sampler(self._model.schedule, self._params.sampler, self._params.sampling_steps)

    def _degrade(self, images: torch.Tensor, views: Views) -> NoisedImages:
        """What the first step of sampling sees: T(x), and noise wherever a pixel is to be made."""
        first = sampler(self._model.schedule, self._params.sampler, self._params.sampling_steps).timesteps[0]
        times = self._model.schedule.at(first.expand(len(images)).to(images.device))
        noise = self._noise(images, views)
        return self._inputs(images, noise, noise, times, views)

    def _training_view(self, images: torch.Tensor, views: Views) -> NoisedImages:
        return self._training_inputs(images, images, views)

    def _training_inputs(self, images: torch.Tensor, targets: torch.Tensor, views: Views) -> NoisedImages:
        """T(images) with a point between ``targets`` and noise, at a time that the seeds give."""
        drawn = seeded_uniform(views.seeds, purpose=_TIME)
        times = self._model.training_times(drawn).to(images.device)
        noise = self._noise(images, views)
        noised = self._model.schedule.noised(_to_network(targets), noise, times)
        return self._inputs(images, noised, noise, times, views)

    def _inputs(
        self, images: torch.Tensor, made: torch.Tensor, noise: torch.Tensor, times: Times, views: Views
    ) -> NoisedImages:
        """Inputs whose x_t is ``made`` where pixels are hidden, and what T(images) says elsewhere."""
        fill = torch.full((images.shape[1],), MIDDLE, device=images.device)
        shown = shown_pixels(self.task, images, views.hidden, fill)
        condition = self._model.condition(_to_network(shown), self._filled_in(views.hidden), views.seeds)
        blank = NoisedImages(made, condition, shown, views.hidden, noise, times)
        return self._with_sample(blank, made, times)

    def _with_sample(self, inputs: NoisedImages, made: torch.Tensor, times: Times) -> NoisedImages:
        """The same inputs at other times: ``made`` where pixels are hidden, visible ones as much noised as belongs."""
        visible = _to_network(inputs.shown)
        if self._model.noises_visible:
            visible = self._model.schedule.noised(visible, inputs.noise, times)
        noised = torch.where(inputs.hidden, made, visible)
        return NoisedImages(noised, inputs.condition, inputs.shown, inputs.hidden, inputs.noise, times)

    def _filled_in(self, hidden: torch.Tensor) -> torch.Tensor:
        """Where T(x) shows nothing: nowhere for tasks that show the whole image in a poorer form."""
        return torch.zeros_like(hidden) if isinstance(self.task, SuperResolve | Colourise) else hidden

    def _noise(self, images: torch.Tensor, views: Views) -> torch.Tensor:
        return seeded_noise(views.seeds, images.shape[1:], _NOISE).to(images)

    def _encode(self, inputs: NoisedImages) -> tuple[torch.Tensor, ...]:
        embedding = self._model.embed(inputs.times).detach()  # nothing that the decoder shares learns from features
        return self._model.encode(self._model.joined(inputs), embedding)

    def _decode(self, features: tuple[torch.Tensor, ...], inputs: NoisedImages) -> torch.Tensor:
        """The image that one step predicts, visible pixels as they came in."""
        predicted = self._model.decode(features, self._model.embed(inputs.times)).float()
        image = self._model.schedule.image(predicted, inputs.noised, inputs.times)
        return torch.where(inputs.hidden, _to_image(image), inputs.shown)

    def _predict(self, inputs: NoisedImages) -> torch.Tensor:
        embedding = self._model.embed(inputs.times)
        return self._model.decode(self._model.encode(self._model.joined(inputs), embedding), embedding).float()

    def _reconstruct(self, inputs: NoisedImages) -> torch.Tensor:
        """Sampling from the seeds' noise; before each step, visible pixels are put back as they are at that time."""
        steps = sampler(self._model.schedule, self._params.sampler, self._params.sampling_steps)
        made = inputs.noise
        for step in steps.timesteps:
            times = self._model.schedule.at(step.expand(len(made)).to(made.device))
            inputs = self._with_sample(inputs, made, times)
            made = steps.step(self._predict(inputs), step, inputs.noised).prev_sample
        return torch.where(inputs.hidden, _to_image(made), inputs.shown)

    def _training_loss(self, images: torch.Tensor, targets: torch.Tensor, views: Views) -> torch.Tensor:
        """Mean squared error of the prediction (Ho et al., 2020, equation 14) over the pixels that are to be made."""
        inputs = self._training_inputs(images, targets, views)
        target = self._model.schedule.target(_to_network(targets), inputs.noise, inputs.times)
        wrong = (self._predict(inputs) - target) ** 2 * inputs.hidden
        return wrong.sum() / inputs.hidden.expand_as(wrong).sum()

    def _encoder_tensors(self) -> frozenset[str]:
        return self._model.encoder_names()

    def _export(self, folder: Path) -> None:
        self._model.export(folder)


def _to_network(images: torch.Tensor) -> torch.Tensor:
    return (images - MIDDLE) / MIDDLE


def _to_image(pixels: torch.Tensor) -> torch.Tensor:
    return pixels * MIDDLE + MIDDLE
