"""Small real models: of diffusers, made by diffusers itself, and of the Palette release, from its names and shapes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.integration.diffusion.small_models import palette_config, palette_state, save_unet, small_unet


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads cost more than they bring on tensors this small, above all while other processes compute."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Any, Path]:
    """A network of diffusers, and the folder that `save_pretrained` made of it and of a scheduler."""
    network = small_unet()
    return network, save_unet(network, tmp_path / "saved")


@pytest.fixture
def released(tmp_path: Path) -> Path:
    """A folder as somebody fills it who downloaded a Palette checkpoint."""
    folder = tmp_path / "released"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(palette_config()), encoding="utf-8")
    torch.save(palette_state(), folder / "16_Network.pth")
    return folder
