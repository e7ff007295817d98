"""Weights: those of a file that are a network's, and pickled tensors where a release has nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from compliance_unlearn.api import ModelError, require_tensors
from compliance_unlearn.api.model_files import named_tensors, read_pickle


@dataclass(frozen=True)
class StoredWeights:
    """Tensors of a file.

    Attributes:
        tensors: float32, by name.
        dtypes: name -> type in the file.
    """

    tensors: dict[str, torch.Tensor]
    dtypes: dict[str, torch.dtype]


def read_pickled_tensors(path: Path) -> dict[str, torch.Tensor]:
    """A state dict that `torch.save` wrote.

    Raises:
        ModelError: damaged, or it holds something else than tensors by name.
    """
    tensors = named_tensors(read_pickle(path, "the dictionary of tensors alone, with torch.save"))
    if tensors is None:
        raise ModelError(f"{path}: expected a state dict, tensors by name")
    return tensors


def fitting(stored: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Size], path: Path) -> StoredWeights:
    """Tensors of a file, which must be those of the network.

    Args:
        stored: by name.
        expected: shape of each tensor of the network by its name.
        path: of the file, for messages.

    Raises:
        ModelError: other tensors, other shapes or other numbers than expected; names the first of them.
    """
    require_tensors(stored, expected, path, "does not fit its config.json")
    return StoredWeights(
        tensors={name: tensor.to(torch.float32, copy=True).contiguous() for name, tensor in stored.items()},
        dtypes={name: tensor.dtype for name, tensor in stored.items()},
    )
