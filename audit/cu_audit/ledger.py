"""The ledger: one canonical JSON line a bundle, each holding the SHA-256 of the line before it.

Each line vouches for those before it, and nothing vouches for the last one. Whether that was changed, lines were cut
off the end or the file was deleted is seen only by who kept a copy of the last line elsewhere.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from cu_audit.canonical import sha256
from cu_audit.records import LedgerEntry


class LedgerError(Exception):
    """The chain is broken: a line before the last was changed or removed, one was put in, or one cannot be read."""


def read_ledger(path: Path) -> list[LedgerEntry]:
    """Read and verify the chain, which says nothing about its end; an absent file is an empty ledger.

    Raises:
        LedgerError: names the first line that does not fit.
    """
    entries: list[LedgerEntry] = []
    previous: str | None = None
    for number, line in enumerate(path.read_bytes().splitlines() if path.exists() else []):
        try:
            entry = LedgerEntry.model_validate_json(line)
        except ValidationError as error:
            raise LedgerError(f"{path.name}: line {number + 1} is not a ledger entry") from error
        if entry.index != number or entry.previous != previous:
            raise LedgerError(f"{path.name}: line {number + 1} does not follow the line before it")
        entries.append(entry)
        previous = sha256(line)
    return entries
