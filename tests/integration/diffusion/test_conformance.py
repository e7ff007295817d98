"""The diffusion adapter keeps the contract that every model adapter keeps, in both layouts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from cu_diffusion.adapter import DiffusionAdapter
from cu_diffusion.params import Architecture, DiffusionParams
from safetensors.torch import save_file

from compliance_unlearn.api import (
    Colourise,
    Inpaint,
    ModelAdapter,
    Outpaint,
    PixelStatistics,
    RandomMask,
    SuperResolve,
    Task,
)
from compliance_unlearn.api.task import LUMA
from compliance_unlearn.testing.adapter import CPU, ModelAdapterConformance, generator, images
from tests.integration.diffusion.small_models import palette_config, palette_state


class TestGreyUNet(ModelAdapterConformance):
    tasks: tuple[Task, ...] = (Inpaint(), Outpaint(), RandomMask(ratio=0.5))
    params = DiffusionParams(
        sampling_steps=2,
        architecture=Architecture(image_size=16, block_out_channels=(8, 16), train_timesteps=100),
    )
    channels = 1

    def make_adapter(self, task: Task) -> DiffusionAdapter:
        return DiffusionAdapter(self.params, task)

    @pytest.fixture
    def weights(self, tmp_path: Path) -> Path:
        folder = tmp_path / "weights"
        folder.mkdir()
        seed = torch.Generator().manual_seed(0)
        statistics = PixelStatistics((0.5,) * self.channels, (0.5,) * self.channels)
        self.make_adapter(Inpaint()).create(statistics, seed, CPU).export(folder)
        return folder


class _ShowsTheWholeImage(ModelAdapterConformance):
    """Tasks that hide every pixel by showing all in a poorer form: what that form leaves out must not be known."""

    def test_hidden_pixels_reach_neither_features_nor_generated_pixels(self, adapter: ModelAdapter) -> None:
        batch = images(adapter, 3)
        if isinstance(adapter.task, Colourise):
            other = batch + 0.2 * torch.tensor([LUMA[2], 0.0, -LUMA[0]])[:, None, None]
        else:
            other = batch.view(*batch.shape[:3], -1, 2).flip(4).flatten(3)
        views = adapter.views(3, generator(1))
        with torch.no_grad():
            first, second = adapter.degrade(batch, views), adapter.degrade(other, views)
            for one, two in zip(adapter.encode(first), adapter.encode(second), strict=True):
                torch.testing.assert_close(one, two, rtol=0, atol=1e-4)
            made, again = adapter.reconstruct(first), adapter.reconstruct(second)
        assert made.generated.all()
        torch.testing.assert_close(made.images, again.images, rtol=0, atol=1e-4)
        assert (batch - other).abs().max() > 0.01


class TestSuperResolvingUNet(_ShowsTheWholeImage, TestGreyUNet):
    tasks: tuple[Task, ...] = (SuperResolve(factor=2),)


class TestColourUNetOfVelocities(TestGreyUNet):
    tasks: tuple[Task, ...] = (Inpaint(),)
    params = DiffusionParams(
        sampling_steps=2,
        sampler="dpm-solver",
        architecture=TestGreyUNet.params.architecture.model_copy(
            update={"channels": 3, "prediction_type": "v_prediction", "attention": False, "mask_channel": False}
        ),
    )
    channels = 3


class TestColouringUNet(_ShowsTheWholeImage, TestColourUNetOfVelocities):
    tasks: tuple[Task, ...] = (Colourise(),)


class TestPalette(ModelAdapterConformance):
    tasks: tuple[Task, ...] = (Inpaint(),)
    trains = False

    def make_adapter(self, task: Task) -> DiffusionAdapter:
        return DiffusionAdapter(DiffusionParams(sampling_steps=2), task)

    @pytest.fixture
    def weights(self, tmp_path: Path) -> Path:
        folder = tmp_path / "weights"
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(palette_config()), encoding="utf-8")
        save_file(palette_state(), folder / "model.safetensors")
        return folder


class TestSuperResolvingPalette(_ShowsTheWholeImage, TestPalette):
    tasks: tuple[Task, ...] = (SuperResolve(factor=2),)
