"""The pictures of an example, read where they were written, and proxy pictures of another source."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from compliance_unlearn.api import DataSource, DataSourceSpec, RecordSet, Selector
from compliance_unlearn.demo.classes import ClassPicture, write_classes
from compliance_unlearn.engine.plain_folder import PlainTree
from compliance_unlearn.engine.reporting import Silent
from compliance_unlearn.engine.sets import OpenDataset
from compliance_unlearn.registry import Registry
from compliance_unlearn.workspace import DatasetEntry

DIGIT_EDGE = 20
"""Edge in pixels of the box that a digit of MNIST fills; the 8 × 8 digits are enlarged to it."""


def open_folder(folder: Path, entry: DatasetEntry, registry: Registry) -> OpenDataset:
    """A data set as its workspace entry reads it, without version control."""
    registered = registry.find(DataSourceSpec, entry.source)
    source = registry.make(registered, registry.params(registered, entry.params), PlainTree(folder, Silent()))
    assert isinstance(source, DataSource)
    return OpenDataset(source.tree, source)


def write_other_digits(folder: Path) -> None:
    """1,797 digits of 43 people (Alpaydin and Kaynak, 1998), which scikit-learn ships; nothing if the folder exists."""
    if not folder.exists():
        write_classes(folder, _other_digits())


def _other_digits() -> Iterator[ClassPicture]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    for image, label in zip(digits.images, digits.target, strict=True):
        small = Image.fromarray(np.rint(image * 255 / 16).astype(np.uint8))
        pixels = np.asarray(small.resize((DIGIT_EDGE, DIGIT_EDGE), Image.Resampling.BICUBIC))
        yield ClassPicture("train", str(label), pixels)


PROXIES: Mapping[str, tuple[str, Callable[[Path], None]]] = {
    "digits": ("the 8 × 8 digits of scikit-learn, without the forgotten one", write_other_digits)
}
"""Example -> what stands in for retain data that may not be kept, in words, and what writes it."""


def open_proxy(
    example: str, folder: Path, registry: Registry, forget: Selector
) -> tuple[OpenDataset, RecordSet] | None:
    """Proxy pictures without those that the request's selector matches; None where an example has no proxy."""
    if example not in PROXIES:
        return None
    PROXIES[example][1](folder)
    dataset = open_folder(folder, DatasetEntry(source="image-folder", path="proxy"), registry)
    return dataset, dataset.source.resolve(None) - dataset.source.resolve(forget)
