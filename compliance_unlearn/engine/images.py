"""Images of a set of records as tensors: converted once, kept in memory as bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image as PillowImage

from compliance_unlearn.api import (
    DECODING_NOTES,
    DataError,
    DataSource,
    ImageShape,
    ModelError,
    PixelStatistics,
    Record,
)

if TYPE_CHECKING:
    from PIL.Image import Image

NOTES_AT_MOST = 5
"""Different conversions of pictures that are listed; more are counted."""

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


class RecordImages:
    """The images of some records, decoded when they are first asked for and kept as 8-bit pixels.

    An image of another size is cropped around its centre to the model's proportions and then resized, never stretched;
    `conversions` says in words what was done, and to how many.
    """

    def __init__(self, source: DataSource, records: Sequence[Record], shape: ImageShape) -> None:
        self.records = tuple(records)
        self.conversions: Counter[str] = Counter()
        self._source = source
        self._shape = shape
        self._pixels = torch.zeros((len(records), shape.channels, shape.height, shape.width), dtype=torch.uint8)
        self._decoded = np.zeros(len(records), dtype=bool)

    def __len__(self) -> int:
        return len(self.records)

    def batch(self, indices: torch.Tensor | Sequence[int]) -> torch.Tensor:
        """Float ``[n, channels, height, width]`` in [0, 1].

        Raises:
            DataError: an image cannot be decoded.
        """
        chosen = indices if isinstance(indices, torch.Tensor) else torch.as_tensor(indices, dtype=torch.long)
        for index in chosen.tolist():
            if not self._decoded[index]:
                self._decode(index)
        return self._pixels[chosen].float().div_(255.0)

    def decode_all(self, progress: Callable[[int], None] | None = None) -> RecordImages:
        """Decode what is not decoded yet, so that a broken file is found before anything is changed."""
        for index in np.flatnonzero(~self._decoded).tolist():
            self._decode(index)
            if progress:
                progress(1)
        return self

    def all(self) -> torch.Tensor:
        """Every image, as `batch` gives them."""
        return self.batch(torch.arange(len(self)))

    def _decode(self, index: int) -> None:
        image = self._source.open(self.records[index])
        converted, note = fit(image, self._shape)
        if note:
            self.conversions[note] += 1
        pixels = np.asarray(converted, dtype=np.uint8).reshape(self._shape.height, self._shape.width, -1)
        self._pixels[index] = torch.from_numpy(pixels.transpose(2, 0, 1).copy())
        self._decoded[index] = True


def fit(image: Image, shape: ImageShape) -> tuple[Image, str]:
    """Convert to the mode and size of a model: crop around the centre, then resize.

    Returns:
        The image, and what was done in words, also when it was decoded; empty if nothing was.

    Raises:
        DataError: pixels without a known range, which cannot be brought to 8 bits, or of a kind without conversion.
        ModelError: there is no kind of image with as many channels as the model has.
    """
    steps: list[str] = list(image.info.get(DECODING_NOTES, ()))
    mode = _MODES.get(shape.channels)
    if mode is None:
        raise ModelError(f"the model has {shape.channels} channels; images have {', '.join(map(str, _MODES))}")
    if image.mode in ("I", "F"):
        raise DataError("an image holds 32-bit pixels, whose range is not known; convert the data set to 8 or 16 bits")
    if image.mode.startswith("I;16"):
        # Pillow would cut every value above 255 off.
        eight = np.rint(np.asarray(image, dtype=np.float64) / 257.0).astype(np.uint8)
        steps.append("converted from 16 to 8 bits")
        image = PillowImage.fromarray(eight)
    if image.mode != mode:
        steps.append(f"converted from mode {image.mode} to {mode}")
        image = _converted(image, mode)
    if image.size != (shape.width, shape.height):
        width, height = image.size
        scale = min(width / shape.width, height / shape.height)
        crop_width, crop_height = scale * shape.width, scale * shape.height
        left, top = (width - crop_width) / 2, (height - crop_height) / 2
        box = (left, top, left + crop_width, top + crop_height)
        image = image.resize((shape.width, shape.height), PillowImage.Resampling.LANCZOS, box=box, reducing_gap=3.0)
        steps.append(f"cropped around the centre and resized from {width}x{height} to {shape.width}x{shape.height}")
    return image, ", ".join(steps)


def _converted(image: Image, mode: str) -> Image:
    try:
        return image.convert(mode)
    except ValueError:
        raise DataError(
            f"an image is of mode {image.mode}, which cannot be converted to {mode}; convert the data set"
        ) from None


def notes(conversions: Counter[str], of: int) -> list[str]:
    """What was done to pictures, in words: the most frequent first.

    Args:
        conversions: of `RecordImages`.
        of: number of all pictures.
    """
    ranked = sorted(conversions.items(), key=lambda each: (-each[1], each[0]))
    more = len(ranked) - NOTES_AT_MOST
    lines = [f"{count} of {of} pictures were {what}" for what, count in ranked[:NOTES_AT_MOST]]
    return lines + ([f"and {more} other conversions of pictures"] if more > 0 else [])


def pixel_statistics(images: torch.Tensor) -> PixelStatistics:
    """Mean and standard deviation of each channel.

    Args:
        images: ``[n, channels, height, width]`` in [0, 1].
    """
    flat = images.double().transpose(0, 1).flatten(1)
    std, mean = torch.std_mean(flat, dim=1)
    return PixelStatistics(tuple(mean.tolist()), tuple(std.tolist()))
