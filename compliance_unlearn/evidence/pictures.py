"""Pictures for the report: which pixels may be shown, and how they become part of one HTML file.

Around the hidden area of a forgotten record lies the subject's own photograph. So of forgotten records only pixels that
the model generated may leave this module, and of those only the ones of a candidate that passed.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from io import BytesIO
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

GREY = 128
"""What is painted where there is nothing to show."""

Picture = NDArray[np.uint8]
"""``[height, width]``, or ``[height, width, channels]`` with one or three channels."""

Mask = NDArray[np.bool_]
"""``[height, width]``, ``[n, height, width]`` or ``[n, 1, height, width]``."""


class RetainedRow(NamedTuple):
    """One retained record that the workspace allows to show.

    Attributes:
        masked: what the model was given, hidden pixels in grey.
        before: the photograph, its hidden pixels filled in by the original model.
        after: the photograph, its hidden pixels filled in by the candidate.
        truth: the photograph.
    """

    masked: Picture
    before: Picture
    after: Picture
    truth: Picture


@dataclass(frozen=True)
class ReportPictures:
    """What the report may show of one model.

    Attributes:
        retained: rows of retained records.
        forgotten_after: what `generated_only` left of the average of the candidate's outputs; empty unless the run is
            compliant.
        forgotten_mask: ``[height, width]``, True where pixels were generated; the layout only, no picture.
    """

    retained: tuple[RetainedRow, ...] = ()
    forgotten_after: tuple[Picture, ...] = ()
    forgotten_mask: NDArray[np.bool_] | None = None


def masked(image: Picture, hidden: NDArray[np.bool_]) -> Picture:
    """Paint hidden pixels in neutral grey.

    Args:
        image: the whole picture.
        hidden: boolean ``[height, width]``.

    Raises:
        ValueError: the mask has another size than the picture.
    """
    if hidden.shape != image.shape[:2]:
        raise ValueError(f"a mask of {hidden.shape} does not fit a picture of {image.shape[:2]}")
    painted = image.copy()
    painted[hidden] = GREY
    return painted


def retained_rows(
    truth: NDArray[np.floating], before: NDArray[np.floating], after: NDArray[np.floating], generated: Mask
) -> tuple[RetainedRow, ...]:
    """Rows for the report from the measured outputs of retained records.

    Args:
        truth: the images, ``[n, channels, height, width]`` or ``[n, height, width, channels]`` in [0, 1].
        before: the original model's outputs, shaped alike.
        after: the candidate's outputs, shaped alike.
        generated: True where pixels were hidden and then generated.

    Raises:
        ValueError: shapes do not fit each other, or a value is not finite.
    """
    masks = _masks(generated, len(truth))
    worlds = zip(masks, *(_pictures(images, masks) for images in (truth, before, after)), strict=True)
    return tuple(
        RetainedRow(masked(photo, mask), _filled(photo, old, mask), _filled(photo, new, mask), photo)
        for mask, photo, old, new in worlds
    )


def generated_only(images: NDArray[np.floating], generated: Mask) -> tuple[Picture, ...]:
    """The generated pixels of outputs and nothing else of them.

    Each picture is cropped to the bounding box of its generated pixels; inside the box, pixels that were not
    generated are painted in neutral grey.

    Args:
        images: ``[n, channels, height, width]`` or ``[n, height, width, channels]`` in [0, 1].
        generated: True where the model made the pixel.

    Raises:
        ValueError: shapes do not fit each other, the layout is ambiguous, a generated value is not finite, or a
            picture has no generated pixel.
    """
    masks = _masks(generated, len(images))
    if not masks.any(axis=(1, 2)).all():
        raise ValueError("a picture without generated pixels cannot be shown")
    visible = ~masks
    return tuple(
        _cropped(masked(picture, hide), mask)
        for picture, hide, mask in zip(_pictures(images, masks), visible, masks, strict=True)
    )


def data_uri(picture: Picture) -> str:
    """The picture as a PNG in a ``data:`` URI, pixel by pixel and without metadata."""
    grey = picture.ndim == 3 and picture.shape[2] == 1
    buffer = BytesIO()
    Image.fromarray(np.ascontiguousarray(picture[..., 0] if grey else picture)).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _cropped(picture: Picture, mask: NDArray[np.bool_]) -> Picture:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].copy()


def _filled(photo: Picture, output: Picture, mask: NDArray[np.bool_]) -> Picture:
    picture = photo.copy()
    picture[mask] = output[mask]
    return picture


def _masks(generated: Mask, count: int) -> NDArray[np.bool_]:
    """One mask a picture, ``[count, height, width]``."""
    if generated.dtype != np.bool_:
        raise ValueError(f"a mask must be boolean, not {generated.dtype}")
    masks = generated[:, 0] if generated.ndim == 4 and generated.shape[1] == 1 else generated
    if masks.ndim == 2:
        masks = np.broadcast_to(masks, (count, *masks.shape))
    if masks.ndim != 3 or len(masks) != count:
        raise ValueError(f"a mask of {generated.shape} does not fit {count} pictures")
    return masks


def _pictures(images: NDArray[np.floating], masks: NDArray[np.bool_]) -> list[Picture]:
    """Pictures ``[height, width, channels]`` of images in either layout; the masks tell which one it is."""
    size = masks.shape[1:]
    if images.ndim != 4 or len(images) != len(masks):
        raise ValueError(f"expected pictures [n, channels, height, width], got {images.shape}")
    first = images.shape[2:] == size and images.shape[1] in (1, 3)
    last = images.shape[1:3] == size and images.shape[3] in (1, 3)
    if first == last:
        what = "is ambiguous: channels may come first or last" if first else f"does not fit a mask of {size}"
        raise ValueError(f"the shape {images.shape} {what}")
    pictures = images.transpose(0, 2, 3, 1) if first else images
    if not np.isfinite(pictures).all():
        raise ValueError("a picture holds a value that is not finite")
    return list(np.rint(np.clip(pictures, 0.0, 1.0) * 255.0).astype(np.uint8))
