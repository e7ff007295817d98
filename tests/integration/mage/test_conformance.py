"""The MAGE adapter keeps the contract that every model adapter keeps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from cu_vqgan.mage.adapter import MageAdapter
from cu_vqgan.mage.params import MageArchitecture, MageParams

from compliance_unlearn.api import Inpaint, PixelStatistics, Task
from compliance_unlearn.testing.adapter import CPU, ModelAdapterConformance


class TestGreyMage(ModelAdapterConformance):
    params = MageParams(
        architecture=MageArchitecture(
            image_size=16,
            tokeniser_widths=(32, 32, 32),
            codes=16,
            code_width=4,
            width=16,
            layers=2,
            decoder_width=12,
            decoder_layers=1,
        ),
        steps=3,
    )
    statistics = PixelStatistics((0.4,), (0.2,))

    def make_adapter(self, task: Task) -> MageAdapter:
        return MageAdapter(self.params, task)

    @pytest.fixture
    def weights(self, tmp_path: Path) -> Path:
        """A new model whose codes are far apart, as those of a trained one are."""
        folder = tmp_path / "weights"
        folder.mkdir()
        generator = torch.Generator().manual_seed(0)
        adapter = self.make_adapter(Inpaint())
        adapter.create(self.statistics, generator, CPU)
        with torch.no_grad():
            for name, parameter in adapter.module.named_parameters():
                if not name.startswith("vqgan.") and parameter.requires_grad:
                    parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
            adapter.module.vqgan.codebook.normal_(generator=generator)
        adapter.export(folder)
        return folder


class TestColourMageThatDrawsItsCodes(TestGreyMage):
    params = MageParams(
        architecture=TestGreyMage.params.architecture.model_copy(update={"channels": 3}), steps=2, temperature=4.5
    )
    statistics = PixelStatistics((0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
