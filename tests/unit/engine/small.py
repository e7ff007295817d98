"""A small folder of pictures, read through a real source, and a small real model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from cu_audit.canonical import file_sha256
from cu_audit.records import RETAIN
from cu_echo.adapter import EchoAdapter
from cu_echo.params import EchoAdapterParams, NoParams
from cu_echo.source import EchoSource
from PIL import Image

from compliance_unlearn.api import DataTree, Inpaint, ModelAdapter, Pin, PixelStatistics, RecordSet, Task
from compliance_unlearn.engine.images import RecordImages
from compliance_unlearn.engine.noise import identity_noise
from compliance_unlearn.engine.outputs_on_disk import OutputsOnDisk
from compliance_unlearn.engine.worlds import MeasuredWorlds

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


def small_worlds(
    folder: Path,
    source: EchoSource,
    prefixes: Mapping[str, str],
    model: ModelAdapter,
    *,
    seed: int = 0,
    kept: OutputsOnDisk | None = None,
    load: Callable[[Path, Task | None], ModelAdapter] | None = None,
) -> MeasuredWorlds:
    """Worlds over sets of records whose ids start so; the pictures to keep are one subject's, all others another's."""
    read = {
        name: RecordImages(source, records_of(source, start), model.image_shape) for name, start in prefixes.items()
    }
    sets = {name: images for name, images in read.items() if len(images)}
    size = model.image_shape.width
    return MeasuredWorlds(
        sets=sets,
        subjects={name: torch.full((len(part),), int(name == RETAIN)) for name, part in sets.items()},
        original_model=model,
        noise=identity_noise(model),
        original=folder,
        seed=seed,
        kept=kept,
        load=load or (lambda _, task: small_model(task or model.task, size=size)),
    )
