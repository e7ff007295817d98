"""The IDX format of MNIST and its successors (LeCun, "The MNIST database", section "File formats").

Big-endian: two zero bytes, 8 for unsigned bytes, the number of dimensions, a 32-bit size for each, then the bytes.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compliance_unlearn.api import DataError

UNSIGNED_BYTES = 8
MAX_BYTES = 2**30
"""What a file may hold, unpacked."""


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Read a file, packed with gzip or not; never more of it than its header announces, and one byte.

    Args:
        path: of the file.
        dimensions: how many there must be.

    Raises:
        DataError: absent, damaged, truncated, of other dimensions, or too large.
    """
    try:
        with path.open("rb") as plain:
            packed = plain.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if packed else path.open("rb") as stream:
            header = stream.read(4 + 4 * dimensions)
            shape = _shape(path, header, dimensions)
            content = stream.read(math.prod(shape) + 1)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or "damaged, or not packed with gzip"
        raise DataError(f"{path}: cannot be read: {reason}") from error
    if len(content) != math.prod(shape):
        problem = "truncated" if len(content) < math.prod(shape) else "longer than its header says"
        raise DataError(f"{path}: {problem}; fetch it again")
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def _shape(path: Path, header: bytes, dimensions: int) -> tuple[int, ...]:
    if header[:4] != bytes([0, 0, UNSIGNED_BYTES, dimensions]) or len(header) < 4 + 4 * dimensions:
        raise DataError(f"{path}: not an IDX file of unsigned bytes with {dimensions} dimensions")
    shape = struct.unpack(f">{dimensions}I", header[4:])
    if not 0 < math.prod(shape) <= MAX_BYTES:
        raise DataError(f"{path}: its header announces {math.prod(shape)} bytes; at most {MAX_BYTES} are read")
    return shape
