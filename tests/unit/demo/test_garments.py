"""Fashion-MNIST from its four files, which nobody vouches for."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compliance_unlearn.api import DataError
from compliance_unlearn.demo.garments import LABELS, write_garments
from compliance_unlearn.demo.idx import read_idx

COUNTS = {"train": 20, "t10k": 10}


def idx(values: np.ndarray) -> bytes:
    """An array of unsigned bytes in the IDX format."""
    return bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def pixels(part: str) -> np.ndarray:
    return np.random.default_rng(len(part)).integers(0, 256, (COUNTS[part], 28, 28), dtype=np.uint8)


def garment_files(folder: Path) -> Path:
    """The four files with thirty pictures, two of each kind for training and one to hold out."""
    folder.mkdir()
    for part, count in COUNTS.items():
        labels = (np.arange(count) % len(LABELS)).astype(np.uint8)
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(pixels(part))))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels), mtime=0))
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return garment_files(tmp_path / "source")


def test_pictures_land_in_folders_of_split_and_kind_with_a_border(source: Path, tmp_path: Path) -> None:
    write_garments(tmp_path / "garments", source)
    found = sorted(path.relative_to(tmp_path / "garments").as_posix() for path in tmp_path.glob("garments/*/*/*"))
    expected = [f"train/{label}/{number:04}.png" for label in LABELS for number in (1, 2)]
    assert found == sorted([*expected, *(f"val/{label}/0001.png" for label in LABELS)])
    with Image.open(tmp_path / "garments/train/trouser/0002.png") as image:
        picture = np.asarray(image)
    assert picture.shape == (32, 32)
    assert np.array_equal(picture[2:30, 2:30], pixels("train")[11])
    assert picture.sum() == picture[2:30, 2:30].sum()


def test_unpacked_files_do_as_well(source: Path, tmp_path: Path) -> None:
    for path in source.iterdir():
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    write_garments(tmp_path / "garments", source)
    assert len(list(tmp_path.glob("garments/train/*/*.png"))) == 20


def test_what_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "garments").mkdir()
    write_garments(tmp_path / "garments", tmp_path / "nowhere")
    assert not any((tmp_path / "garments").iterdir())


def test_an_absent_file_is_an_error_that_says_where_to_get_it(source: Path, tmp_path: Path) -> None:
    (source / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte.gz; run `apt-get install dataset-fashion-mnist`"):
        write_garments(tmp_path / "garments", source)
    assert not (tmp_path / "garments").exists()


@pytest.mark.parametrize(
    ("labels", "message"),
    [(np.zeros(9, np.uint8), "10 pictures but 9 labels"), (np.full(10, 10, np.uint8), "a label is 10")],
)
def test_files_that_do_not_fit_each_other_are_refused(
    source: Path, tmp_path: Path, labels: np.ndarray, message: str
) -> None:
    (source / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels), mtime=0))
    with pytest.raises(DataError, match=message):
        write_garments(tmp_path / "garments", source)
    assert not (tmp_path / "garments").exists()


def test_pictures_larger_than_garments_are_refused(source: Path, tmp_path: Path) -> None:
    large = idx(np.zeros((20, 33, 28), np.uint8))
    (source / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(large, mtime=0))
    with pytest.raises(DataError, match="33 by 28 pixels"):
        write_garments(tmp_path / "garments", source)


GOOD = idx(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))


def test_an_idx_file_is_read_packed_or_not(tmp_path: Path) -> None:
    for content in (GOOD, gzip.compress(GOOD, mtime=0)):
        (tmp_path / "file").write_bytes(content)
        assert np.array_equal(read_idx(tmp_path / "file", 3), np.arange(24).reshape(2, 3, 4))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an IDX file"),
        (GOOD[:10], "not an IDX file"),
        (GOOD[:-1], "truncated"),
        (GOOD + b"x", "longer than its header says"),
        (idx(np.zeros((2, 3), np.uint8)), "not an IDX file of unsigned bytes with 3 dimensions"),
        (bytes([0, 0, 13, 3]) + GOOD[4:], "not an IDX file of unsigned bytes"),
        (bytes([0, 0, 8, 3]) + struct.pack(">3I", 2**31, 2**31, 4), "its header announces"),
        (bytes([0, 0, 8, 3]) + struct.pack(">3I", 0, 3, 4), "its header announces 0 bytes"),
        (gzip.compress(GOOD, mtime=0)[:20], "cannot be read"),
        (gzip.compress(GOOD, mtime=0)[:-6] + b"123456", "cannot be read"),
        (b"\x1f\x8b not packed", "cannot be read"),
        (gzip.compress(GOOD + bytes(10_000_000), mtime=0), "longer than its header says"),
    ],
)
def test_a_bad_idx_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_idx(tmp_path / "file", 3)
