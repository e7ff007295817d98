"""Files of models, as every adapter reads and writes them: safetensors, JSON, and what to say when they do not fit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compliance_unlearn.api.errors import ModelError

if TYPE_CHECKING:
    import torch

NOTES: Mapping[str, str] = {"format": "pt"}
"""What stands in the header of a safetensors file that holds tensors of torch."""


def read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    """Tensors of a safetensors file by their name in it; they do not change with the file.

    Raises:
        ModelError: truncated, or not safetensors.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(path.read_bytes())
    except SafetensorError as error:
        raise ModelError(f"{path}: truncated, or not a safetensors file ({error})") from error


def weight_bytes(tensors: Mapping[str, torch.Tensor], notes: Mapping[str, str] = NOTES) -> bytes:
    """A safetensors file; equal tensors and notes give equal bytes."""
    from safetensors.torch import save

    return save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, dict(notes) or None)


def require_tensors(
    stored: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Size], path: Path, misfit: str
) -> None:
    """Check that the tensors of a file are those of a network: names, shapes, and finite numbers.

    Args:
        stored: by their name in the file.
        expected: shape of each tensor of the network by its name in the file.
        path: of the file, for messages.
        misfit: what follows the path in a message about names or shapes, such as ``does not fit its config.json``.

    Raises:
        ModelError: says how many are wrong, and the first of them with both sides.
    """
    problem = _other_names(stored, expected) or _other_shapes(stored, expected)
    if problem:
        raise ModelError(f"{path} {misfit}: {problem}")
    for name, tensor in stored.items():
        if not tensor.is_floating_point() or not tensor.isfinite().all():
            raise ModelError(f"{path}: tensor {name} holds something else than finite numbers")


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


def parse_json(content: bytes, path: Path) -> dict[str, Any]:
    """Parse a JSON object; ``path`` is for the message.

    Raises:
        ModelError: it is not one.
    """
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: not valid JSON") from error
    if not isinstance(value, dict):
        raise ModelError(f"{path}: must hold a JSON object")
    return value


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ModelError: the file is not one.
    """
    return parse_json(path.read_bytes(), path)
