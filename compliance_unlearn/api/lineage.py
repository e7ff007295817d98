"""Lineage stores: version data and models, so that anybody can ask later which data a model came from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from compliance_unlearn.api.data import DataTree


@dataclass(frozen=True)
class LineageStep:
    """One derivation: ``command`` read ``inputs`` and made ``output``. Paths are relative to the workspace."""

    name: str
    command: str
    inputs: tuple[str, ...]
    output: str


class LineageStore(ABC):
    """Versions the folders of one workspace. Made by a factory ``(params, root) -> LineageStore``."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @abstractmethod
    def initialise(self) -> None:
        """Make the workspace a repository; does nothing where it is one already."""

    @abstractmethod
    def open(self, dataset: str, path: str, revision: str) -> DataTree:
        """Pin a data set.

        Args:
            dataset: its name in the workspace.
            path: its folder, relative to the workspace.
            revision: a git branch, tag or commit.

        Raises:
            DataError: the revision does not exist or does not track that folder.
        """

    @abstractmethod
    def track(self, path: str, message: str, tag: str | None = None) -> None:
        """Put a folder under version control and commit that; does nothing if that very state is tracked.

        Args:
            path: folder relative to the workspace.
            message: of the commit.
            tag: name for the resulting revision; an existing tag on that state is left alone.
        """

    @abstractmethod
    def record(self, step: LineageStep) -> None:
        """Record a derivation and commit it. Idempotent: the same step twice leaves one.

        Raises:
            WorkspaceError: the repository refused; the message says why.
        """
