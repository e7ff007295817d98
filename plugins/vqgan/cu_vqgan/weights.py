"""Weights in safetensors, or in a checkpoint that holds tensors and nothing that could run."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from compliance_unlearn.api import ModelError

CHECKPOINT = ".ckpt"
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
    content, notes = _read_checkpoint(path) if path.suffix == CHECKPOINT else _read_safetensors(path)
    own = {name: tensor for name, tensor in content.items() if not name.startswith(beside)} if beside else content
    if len(own) < len(content):
        _log.warning("%s: %d tensors beside the model are left out", path, len(content) - len(own))
    names = _network_names(path, own, network_name)
    _require_same_names(path, names, expected)
    _require_same_shapes(path, {name: own[stored] for name, stored in names.items()}, names, expected)
    for stored in names.values():
        if not own[stored].is_floating_point() or not own[stored].isfinite().all():
            raise ModelError(f"{path}: tensor {stored} holds something else than finite numbers")
    return StoredWeights(
        # A copy, since tensors of a safetensors file change with the file.
        tensors={
            name: own[stored].to(torch.float32, copy=True).reshape(expected[name]) for name, stored in names.items()
        },
        stored={name: StoredTensor(stored, own[stored].dtype, own[stored].shape) for name, stored in names.items()},
        notes=notes,
    )


def _read_safetensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except SafetensorError as error:
        raise ModelError(f"{path}: truncated, or not a safetensors file ({error})") from error


def _read_checkpoint(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The ``state_dict`` of a checkpoint; nothing else is unpickled than tensors and plain containers."""
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path}: holds more than tensors, such as objects of pytorch-lightning, and unpickling those can run "
            "code; on a machine where that may happen, save its `state_dict` alone with "
            "safetensors.torch.save_file, as model.safetensors"
        ) from error
    except (EOFError, OSError, RuntimeError, ValueError) as error:
        raise ModelError(f"{path}: truncated, or not a checkpoint of torch") from error
    tensors = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not isinstance(tensors, Mapping) or not all(isinstance(value, torch.Tensor) for value in tensors.values()):
        raise ModelError(f"{path}: holds no `state_dict` of tensors")
    return {str(name): tensor.detach() for name, tensor in tensors.items()}, {"format": "pt"}


def _network_names(path: Path, stored: Iterable[str], network_name: Callable[[str], str]) -> dict[str, str]:
    names: dict[str, str] = {}
    for name in stored:
        other = names.setdefault(network_name(name), name)
        if other != name:
            raise ModelError(f"{path}: {other} and {name} are the same tensor of the model")
    return names


def _require_same_names(path: Path, names: Mapping[str, str], expected: Mapping[str, torch.Size]) -> None:
    missing = sorted(expected.keys() - names.keys())
    unexpected = sorted(names[name] for name in names.keys() - expected.keys())
    problems = [
        f"{len(some)} tensors {what}, first {some[0]}"
        for some, what in ((missing, "are missing"), (unexpected, "do not belong to the model"))
        if some
    ]
    if problems:
        raise ModelError(f"{path} does not fit its configuration: {'; '.join(problems)}")


def _require_same_shapes(
    path: Path, tensors: Mapping[str, torch.Tensor], names: Mapping[str, str], expected: Mapping[str, torch.Size]
) -> None:
    """A matrix may be stored as a convolution of one pixel: attention was written so once."""
    wrong = [name for name in sorted(expected) if tensors[name].shape not in (expected[name], (*expected[name], 1, 1))]
    if wrong:
        first = wrong[0]
        raise ModelError(
            f"{path} does not fit its configuration: {len(wrong)} tensors have another shape, first {names[first]}: "
            f"{list(tensors[first].shape)} in the file, {list(expected[first])} in the model"
        )


def weight_bytes(tensors: Mapping[str, torch.Tensor], notes: Mapping[str, str]) -> bytes:
    """A safetensors file; equal tensors give equal bytes."""
    return save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, dict(notes) or None)
