"""The VQ-GAN adapter keeps the contract that every model adapter keeps, in both layouts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from cu_vqgan.adapter import VqganAdapter
from cu_vqgan.params import Architecture, VqganParams
from safetensors.torch import save_file

from compliance_unlearn.api import Inpaint, PixelStatistics, Task
from compliance_unlearn.testing.adapter import CPU, ModelAdapterConformance

from .plain_taming import Sizes, random_tensors


class TestGreyModelOfDiffusers(ModelAdapterConformance):
    params = VqganParams(
        architecture=Architecture(
            image_size=16, block_out_channels=(8, 16), norm_groups=4, latent_channels=4, codes=16
        ),
        perceptual=0,
    )

    def make_adapter(self, task: Task) -> VqganAdapter:
        return VqganAdapter(self.params, task)

    @pytest.fixture
    def weights(self, tmp_path: Path) -> Path:
        folder = tmp_path / "weights"
        folder.mkdir()
        seed = torch.Generator().manual_seed(0)
        self.make_adapter(Inpaint()).create(PixelStatistics((0.4,), (0.2,)), seed, CPU).export(folder)
        return folder


class TestColourModelOfTaming(TestGreyModelOfDiffusers):
    params = TestGreyModelOfDiffusers.params.model_copy(
        update={"architecture": TestGreyModelOfDiffusers.params.architecture.model_copy(update={"channels": 3})}
    )

    @pytest.fixture
    def weights(self, tmp_path: Path) -> Path:
        folder, sizes = tmp_path / "weights", Sizes(ch_mult=(1, 1), num_res_blocks=1)
        folder.mkdir()
        (folder / "model.yaml").write_text(sizes.yaml())
        save_file(random_tensors(sizes), folder / "model.safetensors")
        return folder
