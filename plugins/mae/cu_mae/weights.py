"""Tensors of a safetensors file, and whether they are those of a network."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from compliance_unlearn.api import ModelError
from cu_mae.network import NamedNetwork, zero_tables

_log = logging.getLogger(__name__)


def stored_names(path: Path) -> frozenset[str]:
    """Names of the tensors of a safetensors file.

    Raises:
        ModelError: truncated, or not safetensors.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return frozenset(file.keys())
    except SafetensorError as error:
        raise _damaged(path, error) from error


def read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    """Tensors of a safetensors file by their name in it.

    Raises:
        ModelError: truncated, or not safetensors.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - safe_open is no dictionary
    except SafetensorError as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: SafetensorError) -> ModelError:
    return ModelError(f"{path}: truncated, or not a safetensors file ({error})")


def load_tensors(
    module: NamedNetwork, stored: Mapping[str, torch.Tensor], path: Path, misfit: str
) -> dict[str, torch.dtype]:
    """Put stored tensors, as float32, into a network that has shapes only (device ``meta``).

    Args:
        module: the network under the names of the file.
        stored: tensors by their name in the file.
        path: the file.
        misfit: what follows the file's path in a message when names or shapes are others than the network's.

    Returns:
        The type that each tensor had in the file.

    Raises:
        ModelError: other tensors or shapes than the network's, or numbers that are not finite; names the first one.
    """
    expected = {name: tensor.shape for name, tensor in module.state_dict().items()}
    problem = _other_names(stored, expected) or _other_shapes(stored, expected)
    if problem:
        raise ModelError(f"{path} {misfit}: {problem}")
    for name, tensor in stored.items():
        if not tensor.is_floating_point() or not tensor.isfinite().all():
            raise ModelError(f"{path}: tensor {name} holds something else than finite numbers")
    module.load_state_dict({name: tensor.to(torch.float32, copy=True) for name, tensor in stored.items()}, assign=True)
    for table in zero_tables(module.network):
        _log.warning("%s: %s is all zeros, the model cannot tell places apart", path, module.names[table])
    return {name: tensor.dtype for name, tensor in stored.items()}


def _other_names(stored: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Size]) -> str:
    missing, unexpected = sorted(expected.keys() - stored.keys()), sorted(stored.keys() - expected.keys())
    return "; ".join(
        f"{len(some)} tensors {what}, first {some[0]}"
        for some, what in ((missing, "are missing"), (unexpected, "do not belong to the model"))
        if some
    )


def _other_shapes(stored: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Size]) -> str:
    wrong = [name for name in sorted(expected) if stored[name].shape != expected[name]]
    if not wrong:
        return ""
    first = wrong[0]
    return (
        f"{len(wrong)} tensors have another shape, first {first}: "
        f"{list(stored[first].shape)} in the file, {list(expected[first])} in the model"
    )


def weight_bytes(tensors: Mapping[str, torch.Tensor]) -> bytes:
    """A safetensors file as transformers writes it; equal tensors give equal bytes."""
    return save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, {"format": "pt"})
