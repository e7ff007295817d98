"""Weights in safetensors, or in a checkpoint that holds tensors and nothing that could run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open

from compliance_unlearn.api import ModelError, read_safetensors, require_tensors
from compliance_unlearn.api.model_files import NOTES, named_tensors, read_pickle

CHECKPOINT = ".ckpt"
MISFIT = "does not fit its configuration"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoredTensor:
    """How a file holds a tensor: its name, type and shape there."""

    name: str
    dtype: torch.dtype
    shape: torch.Size


@dataclass(frozen=True)
class StoredWeights:
    """Tensors of a file by the name that the network gives them.

    Attributes:
        tensors: float32, in the network's shapes.
        stored: how the file held each.
        notes: what stood in the header of a safetensors file.
    """

    tensors: dict[str, torch.Tensor]
    stored: dict[str, StoredTensor]
    notes: dict[str, str]


def read_weights(
    path: Path, expected: Mapping[str, torch.Size], network_name: Callable[[str], str], beside: tuple[str, ...] = ()
) -> StoredWeights:
    """Read a file whose tensors must be those of the network.

    Args:
        path: safetensors, or a checkpoint whose name ends in ``.ckpt``.
        expected: shape of each tensor by its name in the network.
        network_name: gives the network's name for a name in the file.
        beside: beginnings of names in the file that belong to no network of ours; such tensors are left out.

    Raises:
        ModelError: unsafe, truncated, or other tensors or shapes than expected; names the first of them.
    """
    pickled = path.suffix == CHECKPOINT
    content = _read_checkpoint(path) if pickled else read_safetensors(path)
    own = {name: tensor for name, tensor in content.items() if not name.startswith(beside)} if beside else content
    if len(own) < len(content):
        _log.warning("%s: %d tensors beside the model are left out", path, len(content) - len(own))
    names = _network_names(path, own, network_name)
    found = {name: _as_matrix(own[stored], expected.get(name)) for name, stored in names.items()}
    # The file's names in messages; a tensor that is absent has none there.
    shapes = {names.get(name, name): shape for name, shape in expected.items()}
    require_tensors({names[name]: tensor for name, tensor in found.items()}, shapes, path, MISFIT)
    return StoredWeights(
        tensors={name: tensor.to(torch.float32, copy=True) for name, tensor in found.items()},
        stored={name: StoredTensor(stored, own[stored].dtype, own[stored].shape) for name, stored in names.items()},
        notes=dict(NOTES) if pickled else _read_notes(path),
    )


def _read_notes(path: Path) -> dict[str, str]:
    """What stands in the header of a safetensors file that was read already."""
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata() or {})


def _read_checkpoint(path: Path) -> dict[str, torch.Tensor]:
    """The ``state_dict`` of a checkpoint, or tensors by name that are one themselves."""
    content = read_pickle(path, "its `state_dict` alone with safetensors.torch.save_file, as model.safetensors")
    tensors = named_tensors(content, "state_dict") or named_tensors(content)
    if tensors is None:
        raise ModelError(f"{path}: holds no `state_dict` of tensors")
    return tensors


def _network_names(path: Path, stored: Iterable[str], network_name: Callable[[str], str]) -> dict[str, str]:
    names: dict[str, str] = {}
    for name in stored:
        other = names.setdefault(network_name(name), name)
        if other != name:
            raise ModelError(f"{path}: {other} and {name} are the same tensor of the model")
    return names


def _as_matrix(tensor: torch.Tensor, expected: torch.Size | None) -> torch.Tensor:
    """A matrix may be stored as a convolution of one pixel: attention was written so once."""
    if expected is not None and tensor.shape == (*expected, 1, 1):
        return tensor.reshape(expected)
    return tensor
