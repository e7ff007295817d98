"""Canonical JSON (RFC 8785) and the digests that are taken over it."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path
from typing import Any

import rfc8785
from pydantic import BaseModel


def canonical(value: BaseModel | Any) -> bytes:
    """Serialise as RFC 8785 canonical JSON.

    Args:
        value: a pydantic model, or plain JSON data without NaN, infinities and integers beyond 2**53.

    Raises:
        rfc8785.CanonicalizationError: the value has no canonical form.
    """
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    return rfc8785.dumps(plain)


def sha256(data: bytes) -> str:
    """SHA-256 of ``data`` in lower-case hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def folder_files(folder: Path) -> dict[str, str]:
    """Relative POSIX path -> SHA-256 for every file below ``folder``, sorted by path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): file_sha256(path) for path in files}


def files_sha256(files: dict[str, str]) -> str:
    """One digest for a folder: SHA-256 over the canonical JSON of its path -> SHA-256 table."""
    return sha256(canonical(files))


def keyed(key: bytes, value: bytes) -> str:
    """HMAC-SHA-256 as ``hmac-sha256:<hex>`` (RFC 2104); tells nothing about ``value`` to who lacks ``key``."""
    return "hmac-sha256:" + hmac.new(key, value, hashlib.sha256).hexdigest()
