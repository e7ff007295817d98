"""The digits that a package brings, and the folder that is made of them."""

from __future__ import annotations

import gzip
from collections import Counter
from importlib.metadata import PackageNotFoundError, PackagePath
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compliance_unlearn.api import DataError
from compliance_unlearn.demo import digits
from compliance_unlearn.demo.classes import ClassPicture, write_classes
from compliance_unlearn.demo.digits import digit_pictures


def test_there_are_four_hundred_of_each_digit_to_train_on_and_a_hundred_held_out() -> None:
    pictures = list(digit_pictures())
    counted = Counter((picture.split, picture.label) for picture in pictures)
    assert counted == {(split, str(digit)): n for split, n in (("train", 400), ("val", 100)) for digit in range(10)}
    assert {picture.pixels.shape for picture in pictures} == {(32, 32)}
    # A four has more ink than a one.
    ink = {label: np.mean([p.pixels.mean() for p in pictures if p.label == label]) for label in "14"}
    assert 1.2 * ink["1"] < ink["4"] < 100


def test_a_class_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    def broken() -> list[ClassPicture]:
        picture = ClassPicture("train", "a", np.full((28, 20), 9, np.uint8))
        return [picture, picture, ClassPicture("val", "b", np.zeros((40, 40), np.uint8))]

    with pytest.raises(ValueError, match="negative"):
        write_classes(tmp_path / "data", broken())
    assert not (tmp_path / "data").exists()
    write_classes(tmp_path / "data", broken()[:2])
    assert {path.name for path in (tmp_path / "data/train/a").iterdir()} == {"0001.png", "0002.png"}
    with Image.open(tmp_path / "data/train/a/0001.png") as image:
        picture = np.asarray(image)
    assert (picture.shape, picture[2:30, 6:26].min(), picture.sum()) == ((32, 32), 9, 9 * 28 * 20)


@pytest.mark.parametrize("installed", [False, True])
def test_without_the_file_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, installed: bool) -> None:
    def shipped(name: str) -> list[PackagePath]:
        if not installed:
            raise PackageNotFoundError(name)
        return [PackagePath("mlxtend/__init__.py")]

    monkeypatch.setattr(digits, "files", shipped)
    with pytest.raises(DataError, match=r"pip install compliance-unlearn\[digits\]"):
        next(digit_pictures())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no gzip", "is damaged"),
        (gzip.compress(b"1,2,x", mtime=0), "is damaged"),
        (gzip.compress(b"1,2,300", mtime=0), "is damaged"),
        (gzip.compress(b"1,2,3\n4,5,6", mtime=0), "another layout"),
    ],
)
def test_a_damaged_file_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / digits.FILE).write_bytes(content)

    class Shipped(PackagePath):
        def locate(self) -> Path:
            return tmp_path / self.name

    monkeypatch.setattr(digits, "files", lambda _name: [Shipped(digits.FILE)])
    with pytest.raises(DataError, match=message):
        next(digit_pictures())
