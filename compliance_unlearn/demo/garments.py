"""Fashion-MNIST (Xiao et al., 2017) as a data set: 70,000 pictures of ten kinds of garment.

It is read from the four files of its publication, which Debian's package `dataset-fashion-mnist` brings. The training
part is for training, the test part is held out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compliance_unlearn.api import DataError
from compliance_unlearn.demo.classes import EDGE, ClassPicture, write_classes
from compliance_unlearn.demo.idx import read_idx

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package puts the files."""

LABELS = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle-boot")
PARTS = {"train": "train", "val": "t10k"}
"""Folder of the split -> how the names of its files begin."""


def write_garments(folder: Path, source: Path) -> None:
    """Write the data set; does nothing if the folder exists.

    Args:
        folder: that is made.
        source: folder of the four files.

    Raises:
        DataError: a file is absent, damaged, or does not fit the others.
    """
    if not folder.exists():
        write_classes(folder, [picture for split in PARTS for picture in _pictures(source, split)])


def _pictures(source: Path, split: str) -> Iterator[ClassPicture]:
    pictures = read_idx(_file(source, f"{PARTS[split]}-images-idx3-ubyte"), 3)
    labels = read_idx(_file(source, f"{PARTS[split]}-labels-idx1-ubyte"), 1)
    _check(source, pictures, labels)
    for pixels, label in zip(pictures, labels.tolist(), strict=True):
        yield ClassPicture(split, LABELS[label], pixels)


def _file(source: Path, name: str) -> Path:
    for path in (source / f"{name}.gz", source / name):
        if path.is_file():
            return path
    raise DataError(
        f"{source} holds no {name}.gz; run `apt-get install dataset-fashion-mnist`, or say `--from` with the folder of "
        "the four files of Fashion-MNIST (github.com/zalandoresearch/fashion-mnist)"
    )


def _check(source: Path, pictures: NDArray[np.uint8], labels: NDArray[np.uint8]) -> None:
    if len(pictures) != len(labels):
        raise DataError(
            f"{source}: there are {len(pictures)} pictures but {len(labels)} labels; fetch both files again"
        )
    if max(pictures.shape[1:]) > EDGE:
        raise DataError(f"{source}: pictures of {pictures.shape[1]} by {pictures.shape[2]} pixels are not garments")
    if labels.max() >= len(LABELS):
        raise DataError(f"{source}: a label is {labels.max()}; garments have labels from 0 to {len(LABELS) - 1}")
