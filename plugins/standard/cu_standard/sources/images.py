"""Image files: which they are, and how one is decoded without trusting it."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from compliance_unlearn.api import DECODING_NOTES, DataError

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

FORMATS = ("BMP", "DIB", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Formats that Pillow decodes by itself; others (EPS) run programs."""

SUFFIXES = frozenset(
    (
        *(".apng", ".bmp", ".dib", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg"),
        *(".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
    )
)

MAX_BYTE = 255
_ORIENTATION = 0x0112
_BROKEN = (OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, struct.error, zlib.error)
"""What Pillow raises on files that are damaged."""


def is_hidden(path: str) -> bool:
    """Whether any part of a relative path is hidden."""
    return path.startswith(".") or "/." in path


def is_image_path(path: str) -> bool:
    """Whether a relative path looks like an image: by its suffix, and no part of it is hidden."""
    return path[path.rfind(".") :].lower() in SUFFIXES and not is_hidden(path)


def decode_image(path: Path) -> Image:
    """Read an image whole, so that a truncated file cannot go unnoticed, and turn it as its EXIF data say.

    Returns:
        The image; of several frames the first. Its ``info[DECODING_NOTES]`` says what is not as it was in the file.

    Raises:
        DataError: missing, unreadable, truncated, too large or not an image; names no file.
    """
    from PIL import Image

    try:
        with Image.open(path, formats=FORMATS) as image:
            notes = _losses(image)
            image.load()
            upright, turned = _upright(image)
            upright.info[DECODING_NOTES] = notes + turned
            return upright
    except FileNotFoundError:
        raise DataError("a file of the data set is missing from the working copy") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise DataError("a file of the data set has so many pixels that it may be an attack on memory") from None
    except _BROKEN:
        # The cause would show the path.
        raise DataError("a file of the data set is truncated, unreadable or not an image") from None


def _losses(image: ImageFile) -> list[str]:
    """What Pillow will drop without a word; asked before it decodes, since it knows no more afterwards."""
    notes = []
    if getattr(image, "is_animated", False):
        notes.append("cut down to the first of several frames")
    if image.mode in ("RGB", "RGBA", "LA", "L") and any(_is_deep(image.format, tile.args) for tile in image.tile):
        notes.append("converted from 16 to 8 bits")
    return notes


def _is_deep(file_format: str | None, how: object) -> bool:
    """Whether the data of a file have more than 8 bits a channel, by what Pillow tells its decoder."""
    parts = how if isinstance(how, tuple) else (how,)
    if file_format == "PPM":
        return isinstance(parts[-1], int) and parts[-1] > MAX_BYTE
    return any(isinstance(part, str) and ";16" in part for part in parts)


def _upright(image: Image) -> tuple[Image, list[str]]:
    """A copy that is turned as its EXIF data say, and what was done; data that make no sense are left alone."""
    from PIL import ImageOps

    try:
        turned = image.getexif().get(_ORIENTATION, 1) in range(2, 9)
        return ImageOps.exif_transpose(image), ["turned upright as its EXIF data say"] if turned else []
    except _BROKEN:
        return image.copy(), []
