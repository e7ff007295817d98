"""The lineage store ``dvc``: data sets, models and derivations of one workspace, in git and DVC."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path, PurePosixPath

from compliance_unlearn.api import DataError, LineageStep, LineageStore, Pin, WorkspaceError
from compliance_unlearn.api.boundary import plugin_boundary
from cu_dvc.git import Git
from cu_dvc.journal import Journal
from cu_dvc.params import DvcParams
from cu_dvc.paths import relative
from cu_dvc.repo import LOCK, PIPELINE, SETTINGS, DvcRepository, Snapshot, dir_digest, is_recorded, lock_entry
from cu_dvc.tree import DvcTree


class DvcLineageStore(LineageStore):
    """Versions the folders of a workspace that is the top folder of a git and DVC repository."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._git = Git(root)
        self._dvc = DvcRepository(root)

    @classmethod
    def from_params(cls, params: DvcParams, root: Path) -> DvcLineageStore:
        """Make the store of the workspace ``root``."""
        del params  # there are none
        return cls(root)

    def initialise(self) -> None:
        """Make the workspace a git and DVC repository of its own, also inside another one. Idempotent."""
        self._git.create()
        with self._locked():
            self._dvc.create()
            self._git.commit(SETTINGS, "Keep data and models under version control")

    def open(self, dataset: str, path: str, revision: str) -> DvcTree:
        """Pin a data set to the last commit, up to the one that ``revision`` names now, that changed the data set.

        The commit itself would not do: every run of ours makes a new one, and each would make a finished plan another.
        """
        folder = relative(path, DataError)
        commit = self._commit_of(revision)
        with plugin_boundary("DvcLineageStore", "open", DataError):
            snapshot = Snapshot(self.root, folder, commit)
            digest = snapshot.digest()
            files = snapshot.listing() if digest else {}
            pinned = self._last_change(commit, *snapshot.tracker()) if digest else commit
        if digest is None:
            raise DataError(
                f"DVC does not track the folder '{folder}' at revision {commit[:7]}; "
                f"run `dvc add {folder}`, commit, and name that commit as the revision"
            )
        if dir_digest(files) != digest:
            raise DataError(
                f"the list of files of data set {dataset} at revision {commit[:7]} is missing or damaged in DVC's "
                "cache; run `dvc fetch --all-commits` in the workspace"
            )
        return DvcTree(Pin(dataset, pinned, digest), self.root.resolve() / folder, files, snapshot)

    def track(self, path: str, message: str, tag: str | None = None) -> None:
        """Put a folder under version control and commit that; what a recorded step made is under control already."""
        target = relative(path, WorkspaceError)
        self._require_repository()
        if not (self.root / target).exists():
            raise WorkspaceError(f"'{target}' does not exist in the workspace, so it cannot be tracked")
        files = (f"{target}.dvc", _ignore_file(target))
        with self._locked():
            if not self._dvc.is_stage_output(target):
                with self._journal().changing(files):
                    self._dvc.add(target)
                self._git.commit(files, message)
            if tag is not None:
                self._git.tag(tag, files[:1])

    def record(self, step: LineageStep) -> None:
        """Record a derivation as a frozen DVC stage, with the digests of inputs and output, and commit it.

        A step that is recorded stays as it is, also when its files have changed or are gone since: lineage is history.
        """
        self._require_repository()
        *inputs, output = [relative(path, WorkspaceError) for path in (*step.inputs, step.output)]
        clean = LineageStep(step.name, step.command, tuple(inputs), output)
        files = (PIPELINE, LOCK, _ignore_file(output))
        with self._locked():
            if is_recorded(clean, self._git.read("HEAD", PIPELINE), self._git.read("HEAD", LOCK)):
                return
            if not is_recorded(clean, self._text(PIPELINE), self._text(LOCK)):
                self._require_files(clean)
                with self._journal().changing(files):
                    self._dvc.add_stage(clean)
            self._git.commit(files, f"Record {output}: {step.command.removeprefix(': ')}")

    def _last_change(self, commit: str, file: str, stage: str | None) -> str:
        """The last commit up to ``commit`` that changed ``file``, or in it the entry of one stage."""
        changes = self._git.changes(commit, file)
        present = None if stage is None else lock_entry(self._git.read(commit, file), stage)
        if stage is None or present is None:
            return changes[0] if changes else commit
        same = takewhile(lambda change: lock_entry(self._git.read(change, file), stage) == present, changes)
        return [commit, *same][-1]

    def _require_files(self, step: LineageStep) -> None:
        for path in (*step.inputs, step.output):
            if not (self.root / path).exists():
                raise WorkspaceError(f"step '{step.name}' names '{path}', which does not exist in the workspace")

    def _text(self, path: str) -> str | None:
        file = self.root / path
        return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else None

    def _commit_of(self, revision: str) -> str:
        if not self._git.exists or not self._dvc.exists:
            raise DataError(
                "the workspace is not a git and DVC repository; run `cu init`, or `git init` and `dvc init`"
            )
        commit = self._git.resolve(revision)
        if commit is None:
            raise DataError(f"the workspace has no revision '{revision}'; `git log` and `git tag` list what there is")
        return commit

    def _require_repository(self) -> None:
        if not self._git.exists or not self._dvc.exists:
            raise WorkspaceError("the workspace is not a git and DVC repository; run `cu init`")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._journal().locked() as descriptor:
            self._git.lock = self._dvc.lock = descriptor
            try:
                yield
            finally:
                self._git.lock = self._dvc.lock = None

    def _journal(self) -> Journal:
        return Journal(self.root, self._git.folder() / "compliance-unlearn")


def _ignore_file(path: str) -> str:
    """Where DVC tells git to ignore ``path``."""
    return (PurePosixPath(path).parent / ".gitignore").as_posix()
