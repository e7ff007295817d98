"""What checks said of planted draws, kept while a calibration runs: one that was killed does not draw again."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Verdicts:
    """What was said of one draw.

    Attributes:
        outcome: of the whole run.
        results: of each check: its name, the set of pictures, the verdict, and whether the claim is true there.
    """

    outcome: str
    results: tuple[tuple[str, str, str, bool | None], ...]


class KeptDraws:
    """Verdicts by draw, one line each in a file that is only added to. A line that was cut off counts as not there."""

    def __init__(self, path: Path | None = None) -> None:
        """Read what is there.

        Args:
            path: of the file; None keeps nothing.
        """
        self._path = path
        self._known: dict[str, Verdicts] = {}
        if path is not None and path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    key, said = json.loads(line)
                except ValueError:
                    continue
                self._known[key] = Verdicts(said["outcome"], tuple((*result,) for result in said["results"]))

    def get(self, draw: str, compute: Callable[[], Verdicts]) -> Verdicts:
        """Verdicts on a draw, from the file if they are there."""
        if draw not in self._known:
            self._known[draw] = compute()
            self._add(draw)
        return self._known[draw]

    def _add(self, draw: str) -> None:
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            # After a line that was cut off, a new one begins.
            file.write("\n" + json.dumps([draw, asdict(self._known[draw])]))
            file.flush()
            os.fsync(file.fileno())
