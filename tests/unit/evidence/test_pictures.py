from __future__ import annotations

import base64
from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from compliance_unlearn.evidence.pictures import GREY, data_uri, generated_only, masked, retained_rows

HEIGHT, WIDTH = 12, 9
SECRET, MADE = 200, 55
"""The only values of visible and of generated pixels in the drawn pictures; neither is grey."""


def drawn(masks: NDArray[np.bool_], channels: int, first: bool) -> NDArray[np.float32]:
    """Images ``[n, channels, height, width]`` whose visible pixels are SECRET and whose generated ones are MADE."""
    images = np.where(masks[:, None], MADE, SECRET).repeat(channels, axis=1).astype(np.float32) / 255.0
    return images if first else images.transpose(0, 2, 3, 1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("seed", range(40))
def test_no_visible_pixel_survives(seed: int, first: bool, channels: int) -> None:
    generator = np.random.default_rng(seed)
    masks = generator.random((5, HEIGHT, WIDTH)) < generator.uniform(0.01, 0.99)
    masks[:, generator.integers(HEIGHT), generator.integers(WIDTH)] = True

    pictures = generated_only(drawn(masks, channels, first), masks)

    for picture, mask in zip(pictures, masks, strict=True):
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        assert picture.shape == (np.ptp(rows) + 1, np.ptp(columns) + 1, channels)
        assert set(np.unique(picture)) <= {MADE, GREY}
        assert (picture == MADE).all(axis=2).sum() == mask.sum()


@pytest.mark.parametrize("shape", [(HEIGHT, WIDTH), (2, HEIGHT, WIDTH), (2, 1, HEIGHT, WIDTH)])
def test_one_mask_may_serve_all_pictures(shape: tuple[int, ...]) -> None:
    mask = np.zeros(shape, dtype=bool)
    mask[..., 3:7, 2:5] = True
    masks = np.broadcast_to(mask.reshape(-1, HEIGHT, WIDTH), (2, HEIGHT, WIDTH))

    pictures = generated_only(drawn(masks, 1, first=True), mask)

    assert [picture.shape for picture in pictures] == [(4, 3, 1)] * 2
    assert all((picture == MADE).all() for picture in pictures)


def test_the_result_holds_no_reference_to_the_whole_picture() -> None:
    mask = np.zeros((1, HEIGHT, WIDTH), dtype=bool)
    mask[:, 3:7, 2:5] = True
    (picture,) = generated_only(drawn(mask, 1, first=True), mask)
    assert picture.base is None


def test_what_cannot_be_shown_safely_is_refused() -> None:
    nothing = np.zeros((1, HEIGHT, WIDTH), dtype=bool)
    everything = ~nothing
    with pytest.raises(ValueError, match="without generated pixels"):
        generated_only(np.zeros((1, 1, HEIGHT, WIDTH)), nothing)
    with pytest.raises(ValueError, match="not finite"):
        generated_only(np.full((1, 1, HEIGHT, WIDTH), np.nan), everything)
    with pytest.raises(ValueError, match="does not fit"):
        generated_only(np.zeros((1, 1, WIDTH, HEIGHT)), everything)
    with pytest.raises(ValueError, match="does not fit"):
        generated_only(np.zeros((2, 1, HEIGHT, WIDTH)), everything)
    with pytest.raises(ValueError, match="must be boolean"):
        generated_only(np.zeros((1, 1, HEIGHT, WIDTH)), np.full((HEIGHT, WIDTH), 254, dtype=np.uint8))
    with pytest.raises(ValueError, match="ambiguous"):
        generated_only(np.zeros((1, 3, 3, 3)), np.ones((3, 3), dtype=bool))


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 3)])
def test_hidden_pixels_are_painted_grey(shape: tuple[int, ...]) -> None:
    image = np.full(shape, 9, dtype=np.uint8)
    hidden = np.zeros((4, 5), dtype=bool)
    hidden[1:3, 2:4] = True
    painted = masked(image, hidden)
    assert (painted[hidden] == GREY).all()
    assert (painted[~hidden] == 9).all()
    assert (image == 9).all()


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        masked(np.zeros((4, 5), dtype=np.uint8), np.zeros((5, 4), dtype=bool))


def test_rows_of_retained_records_show_the_photograph_around_what_the_models_made() -> None:
    mask = np.zeros((1, HEIGHT, WIDTH), dtype=bool)
    mask[:, 3:7, 2:5] = True
    truth, before, after = (np.full((1, 1, HEIGHT, WIDTH), value) for value in (0.2, 0.4, 0.6))

    (row,) = retained_rows(truth, before, after, mask)

    assert {int(picture[0, 0, 0]) for picture in row} == {51}
    assert [int(picture[4, 3, 0]) for picture in row] == [GREY, 102, 153, 51]


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 3)])
def test_a_picture_becomes_a_png_of_the_same_pixels(shape: tuple[int, ...]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    head, _, body = data_uri(picture).partition(",")
    assert head == "data:image/png;base64"
    with Image.open(BytesIO(base64.b64decode(body))) as image:
        assert not image.info
        assert np.array_equal(np.asarray(image).reshape(shape), picture)
