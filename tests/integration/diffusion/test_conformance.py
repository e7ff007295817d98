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
    Outpaint,
    PixelStatistics,
    RandomMask,
    SuperResolve,
    Task,
)
from compliance_unlearn.testing.adapter import CPU, ModelAdapterConformance
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


class TestSuperResolvingUNet(TestGreyUNet):
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


class TestColouringUNet(TestColourUNetOfVelocities):
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


class TestSuperResolvingPalette(TestPalette):
    tasks: tuple[Task, ...] = (SuperResolve(factor=2),)
