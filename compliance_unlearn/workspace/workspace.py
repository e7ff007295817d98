"""The workspace on disk: its file, its root, its key and its lock."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Self

from compliance_unlearn.api import PolicyError, Selector, WorkspaceError
from compliance_unlearn.policy.errors import validate
from compliance_unlearn.policy.selector import selector_at
from compliance_unlearn.policy.yaml import Located, display_path, load_yaml
from compliance_unlearn.workspace.files import write_atomic
from compliance_unlearn.workspace.lock import exclusive
from compliance_unlearn.workspace.model import WorkspaceFile

FILE_NAME = "workspace.yaml"
KEY_BYTES = 32
_IGNORED = "/.cu/"
_LEDGER = "ledger.jsonl"


class Workspace:
    """What a workspace file says, and the folders that it speaks of.

    Attributes:
        file: the validated content.
        located: the same as raw data, with positions.
        folder: folder of the file.
        root: folder with data, models and evidence.
        state: what the tool keeps for itself: key, lock, checkpoints. Never under version control.
    """

    def __init__(self, file: WorkspaceFile, located: Located) -> None:
        self.file = file
        self.located = located
        self.folder = located.path.resolve().parent
        self.root = (self.folder / file.root).resolve()
        self.state = self.root / ".cu"

    @classmethod
    def find(cls, start: Path) -> Self:
        """Load the nearest workspace file, next to ``start`` (a policy or a folder) or in a parent folder.

        Raises:
            PolicyError: there is none, or it is wrong.
        """
        start = start.resolve()
        for folder in (start, *start.parents):
            if (folder / FILE_NAME).is_file():
                return cls.load(folder / FILE_NAME)
        raise PolicyError(f"there is no {FILE_NAME} next to {display_path(start)} or in a parent folder; run `cu init`")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read and validate a workspace file; neither its root nor anything in it has to exist.

        Raises:
            PolicyError: a line ``file:line:column: key: what is wrong`` for each error.
        """
        located = load_yaml(path)
        return cls(validate(WorkspaceFile, located), located)

    @property
    def evidence(self) -> Path:
        """Folder of the bundles and the ledger."""
        return self.path(self.file.evidence.folder)

    def path(self, relative: str) -> Path:
        """The real place of a path below the root, links resolved; it need not exist.

        Raises:
            WorkspaceError: it lies outside of the root.
        """
        real = (self.root / relative).resolve()
        if not real.is_relative_to(self.root):
            raise WorkspaceError(f"{relative} leads out of the workspace {self.root}; keep data and models below it")
        return real

    def relative(self, path: Path) -> str:
        """A path below the root as evidence writes it, with forward slashes.

        Raises:
            WorkspaceError: it lies outside of the root.
        """
        return self.path(str(path)).relative_to(self.root).as_posix()

    def training_selector(self, model: str) -> Selector:
        """Which records of its training data set a model was trained on."""
        location = ("models", model, "training", "where")
        return selector_at(self.located, location, self.file.models[model].training.where)

    def showable_selector(self, dataset: str) -> Selector | None:
        """Which records of a data set reports may show; None shows none."""
        raw = self.file.datasets[dataset].showable
        return None if raw is None else selector_at(self.located, ("datasets", dataset, "showable"), raw)

    def training_revision(self, model: str) -> str:
        """The revision of the data set that a model was trained on."""
        training = self.file.models[model].training
        return training.revision or self.file.datasets[training.dataset].revision

    def initialise(self) -> None:
        """Create root, state folder, key, lock and .gitignore entry; what is there already stays as it is.

        Raises:
            WorkspaceError: the key is gone, but not the evidence that was made with it.
        """
        if not self._key_file.exists() and (self.evidence / _LEDGER).exists():
            raise WorkspaceError(
                f"{self.evidence} holds evidence, but the key that it was made with, {self._key_file}, is missing; "
                "restore it from a backup: a new key could not match old evidence"
            )
        self.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.state.chmod(0o700)
        if not self._key_file.exists():
            write_secret(self._key_file, secrets.token_bytes(KEY_BYTES))
        (self.state / "lock").touch(mode=0o600)
        ignore = self.root / ".gitignore"
        lines = ignore.read_text(encoding="utf-8").splitlines() if ignore.exists() else []
        if _IGNORED not in lines:
            write_atomic(ignore, "\n".join([*lines, _IGNORED, ""]).encode())

    def require_ready(self) -> None:
        """Check that `initialise` was done.

        Raises:
            WorkspaceError: it was not.
        """
        if not self._key_file.is_file():
            raise WorkspaceError(f"the workspace {self.root} is not set up; run `cu init` first")

    def request_key(self, request_id: str) -> bytes:
        """The key of one request: HKDF-SHA-256 (RFC 5869) of the workspace's key, without salt.

        It makes the names of records in the evidence of one request, and can be given to an auditor alone.

        Raises:
            WorkspaceError: the workspace is not set up, or its key file is damaged.
        """
        self.require_ready()
        key = self._key_file.read_bytes()
        if len(key) != KEY_BYTES:
            raise WorkspaceError(
                f"{self._key_file} is damaged: it must hold {KEY_BYTES} bytes; restore it from a backup"
            )
        extracted = hmac.digest(bytes(hashlib.sha256().digest_size), key, "sha256")
        info = b"compliance-unlearn request " + request_id.encode()
        return hmac.digest(extracted, info + b"\x01", "sha256")

    def lock(self) -> AbstractContextManager[None]:
        """Hold the workspace for one run.

        Raises:
            WorkspaceError: another process holds it, or the workspace is not set up.
        """
        self.require_ready()
        return exclusive(self.state / "lock")

    @property
    def _key_file(self) -> Path:
        return self.state / "key"


def write_secret(path: Path, data: bytes) -> None:
    """Write a new file that only its owner may read; an existing one wins, also over a process that writes at once."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            return
    finally:
        temporary.unlink()
