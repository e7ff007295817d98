"""The MAE adapter keeps the contract that every model adapter keeps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from cu_mae.adapter import MaeAdapter
from cu_mae.params import Architecture, MaeParams

from compliance_unlearn.api import Inpaint, PixelStatistics, Task
from compliance_unlearn.testing.adapter import CPU, ModelAdapterConformance

from .official import Sizes, random_state
from .test_official_layout import exported, folder_with


class TestGreyMae(ModelAdapterConformance):
    params = MaeParams(
        architecture=Architecture(
            image_size=24,
            patch_size=4,
            hidden_size=32,
            layers=2,
            intermediate_size=48,
            decoder_hidden_size=24,
            decoder_layers=1,
            decoder_intermediate_size=32,
        )
    )
    statistics = PixelStatistics((0.4,), (0.2,))

    def make_adapter(self, task: Task) -> MaeAdapter:
        return MaeAdapter(self.params, task)

    @pytest.fixture
    def weights(self, tmp_path: Path) -> Path:
        folder = tmp_path / "weights"
        folder.mkdir()
        seed = torch.Generator().manual_seed(0)
        self.make_adapter(Inpaint()).create(self.statistics, seed, CPU).export(folder)
        return folder


class TestColourMaeOfNormalisedPatches(TestGreyMae):
    params = MaeParams(
        architecture=TestGreyMae.params.architecture.model_copy(
            update={"channels": 3, "image_size": 20, "patch_size": 5, "norm_pix_loss": True}
        )
    )
    statistics = PixelStatistics((0.4, 0.5, 0.6), (0.2, 0.25, 0.3))


class TestMaeOfTheAuthors(TestColourMaeOfNormalisedPatches):
    """In the layout of the original release, as safetensors."""

    @pytest.fixture
    def weights(self, tmp_path: Path) -> Path:
        original = folder_with(tmp_path / "original", random_state(Sizes()), norm_pix_loss=True)
        return exported(self.make_adapter(Inpaint()).load(original, CPU), tmp_path / "weights")
