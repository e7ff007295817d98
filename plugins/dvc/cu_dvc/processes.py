"""Runs git and DVC as child processes, with an environment that cannot lead them astray."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

# Set inside git hooks and by some editors; they would make git and DVC work on another repository than the workspace.
_MISLEADING = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR")


def environment() -> dict[str, str]:
    """The environment of this process without misleading variables, in English, without analytics or prompts."""
    kept = {name: value for name, value in os.environ.items() if name not in _MISLEADING}
    return kept | {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "DVC_NO_ANALYTICS": "1", "DVC_STUDIO_OFFLINE": "1"}


def run(
    command: Sequence[str], root: Path, keep_open: int | None, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command in ``root`` and capture what it says.

    Args:
        command: program and arguments.
        root: working directory.
        keep_open: file descriptor of the lock that the child shares: if this process is killed, the lock stays held
            until the child has ended too.
        variables: to add to the environment.
    """
    return subprocess.run(  # noqa: S603 - fixed programs; arguments are passed without a shell
        command,
        cwd=root,
        env=environment() | dict(variables or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        pass_fds=() if keep_open is None else (keep_open,),
    )
