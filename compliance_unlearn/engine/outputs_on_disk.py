"""What models made, kept on disk for the time of a run: one that was killed does not compute it again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from compliance_unlearn.workspace.files import write_atomic

KEY_DIGITS = 32


@dataclass(frozen=True)
class OutputsOnDisk:
    """Tensors by what they were computed from.

    Attributes:
        folder: in the state of the run; it goes when the run is over.
        identity: plan and code, so that nothing of another run is taken for this one's.
    """

    folder: Path
    identity: str

    def get(self, made_of: tuple[str, ...], compute: Callable[[], dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        """The tensors for ``made_of``, from disk if they are there.

        Args:
            made_of: everything that decides them beside the identity: weights, set, kind.
            compute: makes them; they come back with the same bits.
        """
        text = json.dumps([self.identity, *made_of])
        path = self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:KEY_DIGITS]}.safetensors"
        try:
            return load_file(path)
        except (FileNotFoundError, SafetensorError):
            tensors = {name: tensor.contiguous() for name, tensor in compute().items()}
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomic(path, save(tensors))
        return tensors
