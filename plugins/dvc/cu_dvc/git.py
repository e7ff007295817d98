"""The few git commands that lineage needs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from compliance_unlearn.api import WorkspaceError
from cu_dvc.processes import run

NAME = "compliance-unlearn"
EMAIL = "compliance-unlearn@localhost"

_LOCKED = re.compile(r"Unable to create '(?P<file>.+\.lock)': File exists")
_PATIENCE = 3.0
_QUIET_GIT = ("-c", "gc.auto=0", "-c", "maintenance.auto=false", "-c", "advice.detachedHead=false")
# A signature may ask for a passphrase that nobody types, and a hook may wait, refuse or change what is committed.
_UNATTENDED = tuple(
    part
    for setting in ("commit.gpgsign=false", "tag.gpgsign=false", "commit.template=", f"core.hooksPath={os.devnull}")
    for part in ("-c", setting)
)


class GitError(Exception):
    """A git command failed; the text is what git said."""


class Git:
    """The git repository whose top folder is the workspace.

    Attributes:
        root: the workspace.
        lock: file descriptor that children keep open, see `cu_dvc.processes.run`.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lock: int | None = None

    @property
    def exists(self) -> bool:
        """Whether the workspace has a repository of its own; one in a parent folder does not count."""
        return (self.root / ".git").exists()

    def create(self) -> None:
        """Make the repository, and give it an author if git knows none."""
        self.root.mkdir(parents=True, exist_ok=True)
        self._run("init", "--quiet", "--initial-branch", "main")
        for key, value in (("user.name", NAME), ("user.email", EMAIL)):
            if not self._succeeds("config", "--get", key):
                self._run("config", "--local", key, value)

    def folder(self) -> Path:
        """Where git keeps its own files."""
        return Path(self._run("rev-parse", "--absolute-git-dir").strip())

    def resolve(self, revision: str) -> str | None:
        """Full hash of the commit that a branch, tag or commit names; None if there is none."""
        try:
            name = self._run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
        except GitError:
            return None
        return name.strip()

    def changes(self, commit: str, path: str) -> list[str]:
        """Full hashes of the commits up to ``commit`` that changed a file, newest first."""
        return self._run("--literal-pathspecs", "rev-list", commit, "--", path).split()

    def read(self, revision: str, path: str) -> str | None:
        """A small text file as it is at a revision; None if it is not there."""
        try:
            return self._run("cat-file", "blob", f"{revision}:{path}")
        except GitError:
            return None

    def commit(self, paths: Sequence[str], message: str) -> None:
        """Commit the present state of ``paths`` and of nothing else; does nothing if it is committed."""
        present = [path for path in paths if (self.root / path).exists()]
        if not present or not self._run("status", "--porcelain", "--untracked-files=all", "--", *present):
            return
        self._change("add", "--", *present)
        self._change("commit", "--no-verify", "--quiet", "--message", message, "--only", "--", *present)

    def tag(self, name: str, paths: Sequence[str]) -> None:
        """Name the present commit; a tag under which ``paths`` are the same stays where it is.

        Raises:
            WorkspaceError: the tag names another state of ``paths``.
        """
        if self.resolve(f"refs/tags/{name}") is None:
            self._change("tag", "--no-sign", name)
        elif not self._succeeds("diff", "--quiet", f"refs/tags/{name}", "HEAD", "--", *paths):
            raise WorkspaceError(
                f"the tag '{name}' already names another state; choose another tag, or delete that one"
            )

    def _change(self, *arguments: str) -> None:
        """Run a command that changes the repository; wait for others, and clear away the locks of the dead."""
        deadline = time.monotonic() + 2 * _PATIENCE
        while True:
            try:
                self._run(*arguments)
                return
            except GitError as error:
                locked = _LOCKED.search(str(error))
                if locked is None:
                    raise WorkspaceError(f"git refused to {arguments[0]}: {error}") from error
                self._clear(Path(locked["file"]), time.monotonic() > deadline)
            time.sleep(0.1)

    def _clear(self, file: Path, final: bool) -> None:
        """Delete a lock file that outlived its process; on the final look, one that did not is an error."""
        try:
            old = time.time() - file.stat().st_mtime > _PATIENCE
        except FileNotFoundError:
            return
        if old and not _git_works_in(self.root):
            file.unlink(missing_ok=True)
        elif final:
            raise WorkspaceError(
                f"another git process works in the workspace; let it end, or delete .git/{file.name} if there is none"
            )

    def _succeeds(self, *arguments: str) -> bool:
        try:
            self._run(*arguments)
        except GitError:
            return False
        return True

    def _run(self, *arguments: str) -> str:
        program = shutil.which("git")
        if program is None:
            raise WorkspaceError("git is not installed; install it, then try again")
        command = [program, *_QUIET_GIT, *_UNATTENDED, *arguments]
        done: subprocess.CompletedProcess[str] = run(command, self.root, self.lock)
        if done.returncode:
            raise GitError(" ".join(done.stderr.split()) or f"exit code {done.returncode}")
        return done.stdout


def _git_works_in(root: Path) -> bool:
    """Whether a live git process has its working directory in ``root``; one that hides its directory counts too."""
    import psutil  # type: ignore[import-untyped]

    for process in psutil.process_iter(["name", "cwd", "status"]):
        if process.info["name"] != "git" or process.info["status"] == psutil.STATUS_ZOMBIE:
            continue
        folder = process.info["cwd"]
        if folder is None or Path(folder).resolve().is_relative_to(root.resolve()):
            return True
    return False
