"""Weights: read as safetensors, or as pickled tensors where a release has nothing else; written as safetensors."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from compliance_unlearn.api import ModelError


@dataclass(frozen=True)
class StoredWeights:
    """Tensors of a file.

    Attributes:
        tensors: float32, by name.
        dtypes: name -> type in the file.
    """

    tensors: dict[str, torch.Tensor]
    dtypes: dict[str, torch.dtype]


def read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    """All tensors of a safetensors file.

    Raises:
        ModelError: not safetensors, or truncated.
    """
    try:
        return load(path.read_bytes())
    except SafetensorError as error:
        raise ModelError(f"{path}: truncated, or not a safetensors file ({error})") from error


def read_pickled_tensors(path: Path) -> dict[str, torch.Tensor]:
    """A state dict that `torch.save` wrote, read without running any code that the file may hold.

    Raises:
        ModelError: truncated, or it holds something else than tensors by name.
    """
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise ModelError(f"{path}: truncated, or no plain state dict; nothing of it was run") from error
    if not isinstance(stored, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in stored.values()):
        raise ModelError(f"{path}: expected a state dict, tensors by name")
    return {str(name): tensor for name, tensor in stored.items()}


def fitting(stored: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Size], path: Path) -> StoredWeights:
    """Tensors of a file, which must be those of the network.

    Args:
        stored: by name.
        expected: shape of each tensor of the network by its name.
        path: of the file, for messages.

    Raises:
        ModelError: other tensors, other shapes or other numbers than expected; names the first of them.
    """
    problems = [
        f"{len(names)} tensors {what}, first {sorted(names)[0]}"
        for names, what in (
            (expected.keys() - stored.keys(), "are missing"),
            (stored.keys() - expected.keys(), "do not belong to the model"),
        )
        if names
    ]
    if problems:
        raise ModelError(f"{path} does not fit its config.json: {'; '.join(problems)}")
    wrong = sorted(name for name, tensor in stored.items() if tensor.shape != expected[name])
    if wrong:
        raise ModelError(
            f"{path} does not fit its config.json: {len(wrong)} tensors have another shape, first {wrong[0]}: "
            f"{list(stored[wrong[0]].shape)} in the file, {list(expected[wrong[0]])} in the model"
        )
    for name, tensor in stored.items():
        if not tensor.is_floating_point() or not tensor.isfinite().all():
            raise ModelError(f"{path}: tensor {name} holds something else than finite numbers")
    return StoredWeights(
        tensors={name: tensor.to(torch.float32, copy=True).contiguous() for name, tensor in stored.items()},
        dtypes={name: tensor.dtype for name, tensor in stored.items()},
    )


def weight_bytes(tensors: Mapping[str, torch.Tensor]) -> bytes:
    """A safetensors file; equal tensors give equal bytes."""
    return save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, {"format": "pt"})
