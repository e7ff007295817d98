"""Pictures become tensors without being stretched, and what was done to them is said."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from cu_echo.source import EchoSource
from PIL import Image

from compliance_unlearn.api import DECODING_NOTES, DataError, ImageShape, ModelError, Record
from compliance_unlearn.engine.images import RecordImages, fit, notes, pixel_statistics
from tests.unit.engine.small import SIZE, folder_of_pictures

GREY = ImageShape(1, 8, 8)
COLOUR = ImageShape(3, 8, 8)


def disc(width: int, height: int) -> Image.Image:
    """A white disc of half the height in the middle of a black picture."""
    y, x = np.mgrid[:height, :width]
    inside = (x - (width - 1) / 2) ** 2 + (y - (height - 1) / 2) ** 2 <= (min(width, height) / 4) ** 2
    return Image.fromarray((inside * 255).astype(np.uint8))


@pytest.mark.parametrize(("width", "height"), [(96, 48), (48, 96), (64, 64), (33, 47)])
def test_a_circle_stays_a_circle(width: int, height: int) -> None:
    image, note = fit(disc(width, height), ImageShape(1, 32, 32))
    bright = np.asarray(image) > 127
    assert image.size == (32, 32)
    assert abs(int(bright.any(axis=0).sum()) - int(bright.any(axis=1).sum())) <= 1
    assert bright.any(axis=0).sum() == pytest.approx(16, abs=1.5)
    assert note == f"cropped around the centre and resized from {width}x{height} to 32x32"


def test_the_crop_is_central() -> None:
    pixels = np.zeros((8, 24), dtype=np.uint8)
    pixels[:, :8], pixels[:, 8:16], pixels[:, 16:] = 10, 100, 200
    image, _ = fit(Image.fromarray(pixels), GREY)
    assert (np.asarray(image) == 100).all()


def test_a_picture_of_the_right_size_is_left_alone() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    image, note = fit(Image.fromarray(pixels), GREY)
    assert note == ""
    assert (np.asarray(image) == pixels).all()


@pytest.mark.parametrize(
    ("mode", "shape", "note"),
    [
        ("RGB", GREY, "converted from mode RGB to L"),
        ("L", COLOUR, "converted from mode L to RGB"),
        ("P", COLOUR, "converted from mode P to RGB"),
        ("1", GREY, "converted from mode 1 to L"),
        ("RGB", ImageShape(4, 8, 8), "converted from mode RGB to RGBA"),
    ],
)
def test_another_mode_is_converted_and_noted(mode: str, shape: ImageShape, note: str) -> None:
    image, said = fit(Image.new(mode, (8, 8)), shape)
    assert said == note
    assert len(image.getbands()) == shape.channels


def test_16_bits_are_scaled_not_cut_off() -> None:
    deep = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    image, note = fit(Image.fromarray(deep), GREY)
    assert np.abs(np.asarray(image, dtype=float) - deep / 257.0).max() <= 0.5
    assert note == "converted from 16 to 8 bits"


@pytest.mark.parametrize("mode", ["I", "F"])
def test_pixels_of_unknown_range_are_refused(mode: str) -> None:
    with pytest.raises(DataError, match="range is not known"):
        fit(Image.new(mode, (8, 8)), GREY)


def test_a_model_with_a_strange_number_of_channels_is_refused() -> None:
    with pytest.raises(ModelError, match="2 channels"):
        fit(Image.new("L", (8, 8)), ImageShape(2, 8, 8))


class CountingSource(EchoSource):
    """Counts decoded pictures."""

    opened = 0

    def _open(self, record: Record) -> Image.Image:
        self.opened += 1
        return super()._open(record)


@pytest.fixture
def source(tmp_path: Path) -> CountingSource:
    plain = folder_of_pictures(tmp_path, {"train/s1": 3, "train/s2": 2})
    return CountingSource(plain.params, plain.tree)


def images_of(source: EchoSource) -> RecordImages:
    return RecordImages(source, source.resolve(None), ImageShape(1, SIZE, SIZE))


def test_pictures_are_decoded_when_first_needed_and_once(source: CountingSource) -> None:
    images = images_of(source)
    assert (len(images), source.opened) == (5, 0)
    first = images.batch([1, 1, 3])
    assert source.opened == 2
    assert torch.equal(first[0], first[1])
    assert torch.equal(images.batch(torch.tensor([3])), first[2:])
    assert source.opened == 2
    done: list[int] = []
    assert images.decode_all(done.append) is images
    images.all()
    assert (source.opened, sum(done)) == (5, 3)


def test_pixels_are_those_of_the_file_divided_by_255(source: CountingSource) -> None:
    images = images_of(source)
    for index, record in enumerate(images.records):
        with Image.open(source.tree.root / record.path) as picture:
            expected = torch.from_numpy(np.asarray(picture).copy()).float() / 255
        assert torch.equal(images.batch([index])[0, 0], expected)
    assert not images.conversions


def test_conversions_are_collected_and_name_no_file(source: CountingSource) -> None:
    images = RecordImages(source, source.resolve(None), ImageShape(3, 4, 4))
    images.decode_all()
    done = "converted from mode L to RGB, cropped around the centre and resized from 8x8 to 4x4"
    assert images.conversions == {done: 5}
    assert notes(images.conversions, 5) == [f"5 of 5 pictures were {done}"]


def test_the_most_frequent_conversions_are_listed_and_the_others_counted() -> None:
    done = Counter({f"resized from {size}": size for size in range(1, 8)})
    lines = notes(done, 28)
    assert lines[0] == "7 of 28 pictures were resized from 7"
    assert lines[5:] == ["and 2 other conversions of pictures"]


def test_what_was_lost_in_decoding_is_noted_too() -> None:
    image = Image.new("L", (8, 8))
    image.info[DECODING_NOTES] = ["cut down to the first of several frames"]
    assert fit(image, COLOUR)[1] == "cut down to the first of several frames, converted from mode L to RGB"


def test_pixels_without_a_conversion_are_refused() -> None:
    with pytest.raises(DataError, match="an image is of mode LAB, which cannot be converted to L"):
        fit(Image.new("LAB", (8, 8)), GREY)


def test_a_truncated_file_is_a_data_error_without_its_name(source: CountingSource) -> None:
    images = images_of(source)
    path = source.tree.root / images.records[0].path
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DataError) as caught:
        images.decode_all()
    assert path.name not in str(caught.value)


def test_statistics_are_those_of_each_channel() -> None:
    images = (
        torch.rand(5, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor([1, 0.5, 0.1])[:, None, None]
    )
    found = pixel_statistics(images)
    for channel in range(3):
        values = images[:, channel].double().numpy()
        assert found.mean[channel] == pytest.approx(values.mean())
        assert found.std[channel] == pytest.approx(values.std(ddof=1))
