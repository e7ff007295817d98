"""Small real models: one made by diffusers itself, one with the published names of taming-transformers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from cu_vqgan.adapter import VqganAdapter
from cu_vqgan.params import VqganParams

from compliance_unlearn.api import Inpaint, Task

from .plain_taming import Sizes, Tensors, random_tensors

CPU = torch.device("cpu")
BESIDE = {
    "loss.discriminator.main.0.weight": torch.ones(2, 3),
    "loss.perceptual_loss.lin0.model.1.weight": torch.ones(1),
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads cost more than they bring on tensors this small, above all while other processes compute."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def load(folder: Path, task: Task | None = None) -> VqganAdapter:
    """A model without the perceptual part of its loss, which would load another network."""
    return VqganAdapter(VqganParams(perceptual=0), task or Inpaint()).load(folder, CPU)


def random_images(count: int, channels: int, edge: int = 16) -> torch.Tensor:
    return torch.rand(count, channels, edge, edge, generator=torch.Generator().manual_seed(0))


def small_model(**changes: Any) -> Any:
    """A VQModel with random weights, and codes that lie apart."""
    from diffusers.models.autoencoders.vq_model import VQModel

    sizes = {
        "in_channels": 1,
        "out_channels": 1,
        "down_block_types": ("DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
        "up_block_types": ("AttnUpDecoderBlock2D", "UpDecoderBlock2D"),
        "block_out_channels": (8, 16),
        "latent_channels": 4,
        "sample_size": 16,
        "num_vq_embeddings": 16,
        "norm_num_groups": 4,
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = VQModel(**{**sizes, **changes}).eval()
        torch.nn.init.normal_(model.quantize.embedding.weight)
    return model


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Any, Path]:
    """A model and the folder that `save_pretrained` made of it."""
    model = small_model()
    folder = tmp_path / "saved"
    model.save_pretrained(folder)
    return model, folder


@pytest.fixture
def taming(tmp_path: Path) -> tuple[Tensors, Path]:
    """Tensors of a model, and a folder with a YAML file and a checkpoint like the published ones."""
    return write_taming(tmp_path / "taming", Sizes())


def write_taming(folder: Path, sizes: Sizes) -> tuple[Tensors, Path]:
    folder.mkdir()
    tensors = random_tensors(sizes)
    (folder / "model.yaml").write_text(sizes.yaml())
    content = {"epoch": 3, "global_step": 99, "state_dict": {**tensors, **BESIDE}, "optimizer_states": [{"state": {}}]}
    torch.save(content, folder / "last.ckpt")
    return tensors, folder
