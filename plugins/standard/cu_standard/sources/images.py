"""Image files: which they are, and how one is decoded without trusting it."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from compliance_unlearn.api import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Formats that Pillow decodes by itself; others (EPS) run programs."""

SUFFIXES = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)


def is_image_path(path: str) -> bool:
    """Whether a relative path looks like an image: by its suffix, and no part of it is hidden."""
    return path[path.rfind(".") :].lower() in SUFFIXES and not path.startswith(".") and "/." not in path


def decode_image(path: Path) -> Image:
    """Read an image whole, so that a truncated file cannot go unnoticed.

    Raises:
        DataError: missing, unreadable, truncated, too large or not an image; names no file.
    """
    from PIL import Image

    try:
        with Image.open(path, formats=FORMATS) as image:
            image.load()
            return image.copy()
    except FileNotFoundError:
        raise DataError("a file of the data set is missing from the working copy") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise DataError("a file of the data set has so many pixels that it may be an attack on memory") from None
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, struct.error, zlib.error):
        # The cause would show the path.
        raise DataError("a file of the data set is truncated, unreadable or not an image") from None
