"""How the engine tells a person what it is doing, without knowing a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[..., None]
"""``advance(done, note="")``: ``done`` more units of work, and what to show beside the bar."""


class Reporter(Protocol):
    """Shows phases, progress and notes."""

    def phase(self, title: str, total: int) -> AbstractContextManager[Advance]:
        """A phase of ``total`` units of work; yields the function that advances it."""
        ...

    def note(self, message: str) -> None:
        """Something that a person should know."""
        ...


class Silent:
    """Shows nothing."""

    @contextmanager
    def phase(self, title: str, total: int) -> Iterator[Advance]:
        """Accept and ignore."""
        del title, total
        yield lambda *_, **__: None

    def note(self, message: str) -> None:
        """Accept and ignore."""
        del message
