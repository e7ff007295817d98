"""Writes pictures of classes as an image folder: `train/<class>/0001.png`, `val/<class>/0001.png`."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

EDGE = 32
"""Edge of the pictures in pixels; smaller ones get a black border."""


class ClassPicture(NamedTuple):
    """One picture, uint8 ``[height, width]``, neither edge above `EDGE`."""

    split: str
    label: str
    pixels: NDArray[np.uint8]


def write_classes(folder: Path, pictures: Iterable[ClassPicture]) -> None:
    """Write the pictures; the folder appears in one rename, complete."""
    temporary = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    written: Counter[tuple[str, str]] = Counter()
    for split, label, pixels in pictures:
        place = temporary / split / label
        if not written[split, label]:
            place.mkdir(parents=True)
        written[split, label] += 1
        Image.fromarray(_bordered(pixels)).save(place / f"{written[split, label]:04}.png", compress_level=1)
    # One sync for all: one a file would take minutes for seventy thousand.
    os.sync()
    temporary.rename(folder)


def _bordered(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = pixels.shape
    top, left = (EDGE - height) // 2, (EDGE - width) // 2
    return np.pad(pixels, ((top, EDGE - height - top), (left, EDGE - width - left)))
