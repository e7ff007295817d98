"""The folder that a training on a plain folder of pictures makes; a workspace can use it as it is.

```
training.json   what is trained, and in the end how it went; equal settings go on, others are refused
held-out.txt    ids of pictures that were never trained on, if no folder of the data says which those are
previews/       what the model made of some of those while it was trained
original/       the finished weights, which appear in one rename
current         a link to them, which a workspace names
.training/      checkpoint and lock, gone afterwards
```
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from compliance_unlearn.api import PolicyError, WorkspaceError
from compliance_unlearn.engine.training import FIRST_VERSION
from compliance_unlearn.workspace.files import replace_symlink, write_atomic
from compliance_unlearn.workspace.lock import exclusive

CURRENT, DESCRIPTION, HELD_OUT = "current", "training.json", "held-out.txt"
_PREVIEWS, _STATE, _LOCK = "previews", ".training", "lock"
_BEGUN = {_STATE, _PREVIEWS, DESCRIPTION, HELD_OUT, ".gitignore"}
"""What a training writes before its first checkpoint."""

_IGNORED = f"/{_STATE}/\n/{_PREVIEWS}/\n/{HELD_OUT}\n"
"""What git should not keep: pictures, and names of files."""


class TrainingOutput:
    """One such folder.

    Attributes:
        folder: need not exist yet.
        settings: JSON data that decide the bits of the weights, beside code and machine.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder = folder
        self.settings = dict(settings)
        self.weights = folder / FIRST_VERSION
        self.state = folder / _STATE

    def look(self) -> dict[str, Any] | None:
        """The result of a training with these very settings that is finished; None if there is something left to do.

        Raises:
            PolicyError: the folder holds something else, or a training with other settings.
        """
        if self._is_new():
            return None
        earlier = self._same()
        if not self.weights.exists() or "result" not in earlier:
            return None
        self.finish()
        return dict(earlier["result"])

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make the folder, and keep every other process out while the block runs.

        Raises:
            WorkspaceError: another process is at it.
            PolicyError: another process was, with other settings.
        """
        self.state.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            try:
                stack.enter_context(exclusive(self.state / _LOCK))
            except WorkspaceError:
                raise WorkspaceError(f"another cu train is writing {self.folder}; wait until it has finished") from None
            if self._is_new():
                shutil.rmtree(self.folder / _PREVIEWS, ignore_errors=True)
            else:
                self._same()
            self.describe()
            write_atomic(self.folder / ".gitignore", _IGNORED.encode())
            (self.folder / _PREVIEWS).mkdir(exist_ok=True)
            yield

    def describe(self, result: Mapping[str, Any] | None = None) -> None:
        """Write `training.json`."""
        content = {"settings": self.settings} | ({} if result is None else {"result": result})
        write_atomic(self.folder / DESCRIPTION, json.dumps(content, indent=2).encode() + b"\n")

    def finish(self) -> None:
        """Once the weights are there: make the link, and remove what only the training needed.

        A link that is there stays: it may lead to a version that has forgotten somebody.
        """
        link = self.folder / CURRENT
        if not link.is_symlink() and not link.exists():
            replace_symlink(link, Path(FIRST_VERSION))
        shutil.rmtree(self.state, ignore_errors=True)

    def preview(self, step: int) -> Path:
        """Where the preview of a step belongs."""
        return self.folder / _PREVIEWS / f"step-{step:06}.png"

    def _is_new(self) -> bool:
        """Whether there is nothing yet, or only what a training leaves that did not come to its first checkpoint."""
        if not self.folder.is_dir():
            return not (self.folder.is_symlink() or self.folder.exists())
        left = _names(self.folder)
        return not left or (_STATE in left and left <= _BEGUN and _names(self.state) <= {_LOCK})

    def _same(self) -> dict[str, Any]:
        """What `training.json` says.

        Raises:
            PolicyError: there is none, or it has other settings.
        """
        try:
            content = json.loads((self.folder / DESCRIPTION).read_bytes())
        except (OSError, ValueError):
            content = None
        if not isinstance(content, dict) or not isinstance(content.get("settings"), dict):
            raise PolicyError(f"--out {self.folder} is not empty and holds no training; name a new folder")
        other = [key for key, value in self.settings.items() if content["settings"].get(key) != value]
        if other:
            raise PolicyError(
                f"--out {self.folder} holds a training with other {' and '.join(other)}; name another folder, or "
                "remove that one to begin again"
            )
        return content


def require_place(folder: Path) -> None:
    """Check that a folder can be made or written to, before any work is done; one with finished weights may be read.

    Raises:
        PolicyError: says why it cannot.
    """
    try:
        place = next(each for each in (folder, *folder.parents) if each.is_symlink() or each.exists())
        if (folder / FIRST_VERSION).exists() or (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
            return
        reason = f"{place} may not be written to" if place.is_dir() else f"{place} is no folder"
    except OSError as error:
        reason = str(error.strerror)
    raise PolicyError(f"--out {folder}: {reason}; name another folder")


def _names(folder: Path) -> set[str]:
    """What a folder holds, without what a kill left of files that were being written."""
    found = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return {name for name in found if not (name.startswith(".") and name.endswith(".tmp"))}
