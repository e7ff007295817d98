"""Real pictures in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits


def save_digits(folder: Path, names: Sequence[str]) -> None:
    """Write handwritten digits of scikit-learn under the given names."""
    for name, pixels in zip(names, load_digits().images, strict=False):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels * 15).astype(np.uint8)).resize((64, 64)).save(path)
