"""A small folder of pictures, read through a real source, and a small real model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from cu_audit.canonical import file_sha256
from cu_echo.adapter import EchoAdapter
from cu_echo.params import EchoAdapterParams, NoParams
from cu_echo.source import EchoSource
from PIL import Image

from compliance_unlearn.api import DataTree, Inpaint, Pin, PixelStatistics, RecordSet, Task

CPU = torch.device("cpu")
SIZE = 8


class Tree(DataTree):
    """Files of a folder as they are; counts how often one was decoded elsewhere through `EchoSource`."""

    def files(self) -> Mapping[str, str]:
        return {path.relative_to(self.root).as_posix(): file_sha256(path) for path in sorted(self.root.rglob("*.png"))}

    def read(self, path: str) -> bytes:
        return (self.root / path).read_bytes()

    def verify(self, paths: Sequence[str], progress: Callable[[int], None] | None = None) -> None:
        for path in paths:
            assert (self.root / path).is_file()


def write_picture(path: Path, pixels: np.ndarray) -> None:
    """Write pixels ``[height, width]`` or ``[height, width, channels]``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def folder_of_pictures(root: Path, pictures: Mapping[str, int], size: int = SIZE) -> EchoSource:
    """``pictures`` maps ``split/subject`` to a number of random pictures."""
    generator = np.random.default_rng(0)
    for stem, count in pictures.items():
        for number in range(count):
            pixels = generator.integers(0, 256, (size, size), dtype=np.uint8)
            write_picture(root / f"{stem}-{number:04d}.png", pixels)
    return EchoSource(NoParams(), Tree(Pin("small", "0" * 40, "0" * 32 + ".dir"), root))


def records_of(source: EchoSource, prefix: str) -> RecordSet:
    """Records whose id starts so."""
    return RecordSet([record for record in source.resolve(None) if record.id.startswith(prefix)])


def small_model(task: Task | None = None, seed: int = 0, size: int = SIZE) -> EchoAdapter:
    """A real two-layer model with weights from a seed, frozen."""
    adapter = EchoAdapter(EchoAdapterParams(size=size, width=3), task or Inpaint())
    adapter.create(PixelStatistics((0.5,), (0.25,)), torch.Generator().manual_seed(seed), CPU)
    return adapter.replica()
