"""The one module that drives DVC: its command line to change a repository, its Python API to read one."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import Any

from compliance_unlearn.api import DataError, LineageStep, WorkspaceError
from cu_dvc.paths import write_atomically
from cu_dvc.processes import run

CONFIG = ".dvc/config"
PIPELINE = "dvc.yaml"
LOCK = "dvc.lock"
SETTINGS = (CONFIG, ".dvc/.gitignore", ".dvcignore")

_BUSY = re.compile(r"Unable to acquire lock|is busy, it is being blocked")
_IN_GIT = re.compile(r"already tracked by SCM")
_TAKEN = re.compile(r"overlap|is specified in|already (exists|tracked)|is already an output", re.IGNORECASE)


# The function behind the command `dvc`.
_SCRIPT = """
import json, sys
from dvc.cli import main
for command in json.loads(sys.argv[1]):
    code = main(command)
    if code:
        sys.exit(code)
"""


class DvcRepository:
    """A DVC repository whose top folder is the workspace.

    Attributes:
        root: the workspace.
        lock: file descriptor that children keep open, see `cu_dvc.processes.run`.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lock: int | None = None

    @property
    def exists(self) -> bool:
        """Whether the workspace is a DVC repository."""
        return (self.root / CONFIG).is_file()

    def create(self) -> None:
        """Make the repository, without analytics; completes one whose making was cut short."""
        config = self.root / CONFIG
        if not self.exists:
            if not (self.root / ".dvc").exists():
                self._run(["init"])
            else:
                write_atomically(config, b"")
        if not config.read_bytes().strip():
            write_atomically(config, b"[core]\n    analytics = false\n")
        for name, text in ((".dvc/.gitignore", b"/config.local\n/tmp\n/cache\n"), (".dvcignore", b"")):
            if not (self.root / name).exists():
                write_atomically(self.root / name, text)

    def add(self, path: str) -> None:
        """Put a folder or file under version control, in ``<path>.dvc`` beside it."""
        self._run(["add", path])

    def add_stage(self, step: LineageStep) -> None:
        """Record a derivation: a frozen stage in ``dvc.yaml``, the digests of its inputs and output in ``dvc.lock``.

        Frozen, because an erasure cannot be made again by running a command: `dvc repro` leaves it alone.
        """
        name = stage_name(step.name)
        inputs = [part for path in sorted(set(step.inputs)) for part in ("--deps", path)]
        self._run(
            ["stage", "add", "--force", "--name", name, *inputs, "--outs", step.output, step.command],
            ["freeze", name],
            ["commit", "--force", name],
        )

    def is_stage_output(self, path: str) -> bool:
        """Whether a stage of ``dvc.yaml`` makes ``path``; `dvc add` must leave it alone."""
        _prepare_import()
        from dvc.exceptions import DvcException, OutputNotFoundError
        from dvc.repo import Repo

        try:
            with _without_deprecations(), Repo(str(self.root), config=_config(self.root)) as repo:
                return any(not out.stage.is_data_source for out in repo.find_outs_by_path(str(self.root / path)))
        except OutputNotFoundError:
            return False
        except DvcException as error:
            raise WorkspaceError("DVC cannot read the workspace; run `dvc status` in it to see why") from error

    def _run(self, *commands: list[str]) -> None:
        """Run DVC commands one after the other in one child process, which ends with the first that fails."""
        remove_stale_rwlock(self.root)
        script = [sys.executable, "-W", "ignore", "-c", _SCRIPT, json.dumps(commands)]
        done = run(script, self.root, self.lock, {"DVC_SITE_CACHE_DIR": str(_site_cache(self.root))})
        if done.returncode:
            raise WorkspaceError(_explain(commands, done.stderr))


class Snapshot:
    """The items of one folder at one commit, read from DVC's cache or remote without a checkout."""

    def __init__(self, root: Path, path: str, commit: str) -> None:
        """Open the folder at a full commit hash."""
        _prepare_import()
        from dvc.api import DVCFileSystem

        self._path = path
        self._files = DVCFileSystem(url=str(root), rev=commit, config=_config(root))

    def digest(self) -> str | None:
        """DVC's ``<md5>.dir`` of the folder; None if DVC does not track that very folder."""
        try:
            with _without_deprecations():
                info = self._files.info(self._path)
        except FileNotFoundError:
            return None
        digest = (info.get("dvc_info") or {}).get("md5")
        return digest if isinstance(digest, str) and digest.endswith(".dir") else None

    def tracker(self) -> tuple[str, str | None]:
        """The file in git that holds the folder's digest, and the stage in it: a ``.dvc`` file has none."""
        repo = self._files.repo
        with _without_deprecations():
            [out, *_] = repo.find_outs_by_path(repo.fs.join(repo.root_dir, self._path))
        file = PurePosixPath(out.stage.path_in_repo)
        if out.stage.is_data_source:
            return file.as_posix(), None
        return file.with_name(LOCK).as_posix(), str(out.stage.name)

    def listing(self) -> dict[str, str]:
        """Path relative to the folder -> MD5, of every file.

        Raises:
            DataError: the folder was tracked by DVC 2 or earlier, whose digests are not those of the bytes.
        """
        with _without_deprecations():
            found: Mapping[str, Any] = self._files.find(self._path, detail=True, dvc_only=True)
        files = {name[len(self._path) + 1 :]: item["dvc_info"].get("md5") for name, item in found.items()}
        if not all(files.values()):
            raise DataError(f"'{self._path}' was tracked by DVC 2; run `dvc cache migrate --dvc-files` and commit")
        return files

    def read(self, name: str) -> bytes:
        """Bytes of one file, from the cache or the remote."""
        with _without_deprecations():
            data: bytes = self._files.cat_file(f"{self._path}/{name}")
        return data


def dir_digest(files: Mapping[str, str]) -> str:
    """DVC's digest of a folder, recomputed from its items: MD5 over their JSON list sorted by path."""
    items = [{"md5": files[path], "relpath": path} for path in sorted(files)]
    return hashlib.md5(json.dumps(items, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"


def is_recorded(step: LineageStep, pipeline: str | None, lock: str | None) -> bool:
    """Whether ``dvc.yaml`` and ``dvc.lock``, given as text, hold that very step with the digests of all its files."""
    name = stage_name(step.name)
    stage, locked = _stage(pipeline, name), _stage(lock, name)
    try:
        return (
            stage["cmd"] == step.command
            and sorted(stage["deps"]) == sorted(set(step.inputs))
            and stage["outs"] == [step.output]
            and {item["path"] for item in locked["deps"] if item["md5"]} == set(step.inputs)
            and [item["path"] for item in locked["outs"] if item["md5"]] == [step.output]
        )
    except (KeyError, TypeError):
        return False


def _stage(text: str | None, name: str) -> Any:
    """What ``dvc.yaml`` or ``dvc.lock`` says about a stage; nothing where it does not know it or is damaged."""
    _prepare_import()
    from dvc.utils.serialize import YAMLFileCorruptedError, parse_yaml

    try:
        return parse_yaml(text or "", "dvc.yaml")["stages"][name]
    except (YAMLFileCorruptedError, KeyError, TypeError):
        return {}


def lock_entry(lock: str | None, stage: str) -> list[str] | None:
    """The lines about a stage in ``dvc.lock``, whose layout is DVC's own; without a parser, since many are read."""
    lines = (lock or "").splitlines()
    try:
        start = lines.index(f"  {stage}:") + 1
    except ValueError:
        return None
    return list(takewhile(lambda line: line.startswith("   "), lines[start:]))


def stage_name(name: str) -> str:
    """A name that DVC accepts; one that had to be changed gets a digest, so that two names never become one."""
    clean = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")
    if clean == name:
        return name
    return f"{clean}-{hashlib.sha256(name.encode()).hexdigest()[:8]}".strip("-")


def remove_stale_rwlock(root: Path) -> None:
    """Delete DVC's table of busy paths if it is damaged, or older than every process that it names.

    DVC notices that a process is gone by its number alone; in a container the number is soon another process's.
    """
    import psutil  # type: ignore[import-untyped]

    table = root / ".dvc" / "tmp" / "rwlock"
    try:
        written = table.stat().st_mtime
        entries = json.loads(table.read_text(encoding="utf-8"))
        holders = [
            *entries.get("write", {}).values(),
            *(one for many in entries.get("read", {}).values() for one in many),
        ]
        numbers = {int(holder["pid"]) for holder in holders}
    except FileNotFoundError:
        return
    except (ValueError, TypeError, KeyError, AttributeError):
        if time.time() - written > 1.0:
            table.unlink(missing_ok=True)
        return
    if numbers and not any(_was_alive(psutil, number, written) for number in numbers):
        table.unlink(missing_ok=True)


def _was_alive(psutil: Any, number: int, moment: float) -> bool:
    """Whether the process that has this number today existed at that moment; a zombie works on nothing any more."""
    try:
        process = psutil.Process(number)
        return bool(process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= moment + 1.0)
    except psutil.NoSuchProcess:
        return False


def _explain(commands: tuple[list[str], ...], complaint: str) -> str:
    """What went wrong, in words of ours: DVC's own may name data files."""
    if _BUSY.search(complaint):
        return "another DVC process works in the workspace; wait until it ends, then try again"
    if _IN_GIT.search(complaint):
        path = commands[0][-1]
        return f"git already tracks '{path}'; run `git rm -r --cached {path}` and commit, then try again"
    if _TAKEN.search(complaint):
        return (
            "DVC already tracks that path, or a part of it, under another name; run `dvc dag` in the workspace to see"
        )
    return f"`dvc {commands[0][0]}` failed; run `dvc status` in the workspace to see why"


def _site_cache(root: Path) -> Path:
    """Where DVC keeps its index, which holds file names: in the workspace and not, as by default, in /var/tmp."""
    return root / ".dvc" / "tmp" / "site"


def _config(root: Path) -> dict[str, dict[str, str]]:
    return {"core": {"site_cache_dir": str(_site_cache(root))}}


def _prepare_import() -> None:
    """Before DVC is imported: no analytics; and silence, since its log and its bars name files."""
    os.environ.setdefault("DVC_NO_ANALYTICS", "1")
    logging.getLogger("dvc").setLevel(logging.CRITICAL)


@contextmanager
def _without_deprecations() -> Iterator[None]:
    """DVC's own dependencies warn DVC about its use of them; that is not for our users to read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield
