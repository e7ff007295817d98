"""Weights in safetensors, under the names of any release of transformers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from compliance_unlearn.api import ModelError

# Releases before 5.0, and the checkpoints on the hub, nest the layers more deeply; save_pretrained of 5.x writes
# `decoder.decoder_encoder.layer.N` where they wrote `decoder.decoder_layers.N`. In memory the names are those of 5.x.
_RENAMES = (
    (re.compile(r"(^|[._])encoder\.layer\.(?=\d)"), r"\1layers."),
    (re.compile(r"\.attention\.attention\.(query|key|value)\."), lambda match: f".attention.{match[1][0]}_proj."),
    (re.compile(r"\.attention\.output\.dense\."), ".attention.o_proj."),
    (re.compile(r"\.intermediate\.dense\."), ".mlp.fc1."),
    (re.compile(r"(?<!attention)\.output\.dense\."), ".mlp.fc2."),
)


@dataclass(frozen=True)
class StoredWeights:
    """Tensors of a file.

    Attributes:
        tensors: float32, by the name that the network gives them.
        names: the network's name -> the file's name.
        dtypes: the network's name -> type in the file.
    """

    tensors: dict[str, torch.Tensor]
    names: dict[str, str]
    dtypes: dict[str, torch.dtype]


def network_name(stored: str) -> str:
    """The name that transformers 5 gives a tensor in memory, from the name that any release stored it under."""
    for pattern, replacement in _RENAMES:
        stored = pattern.sub(replacement, stored)
    return stored


def classic_name(name: str) -> str:
    """The name that every release of transformers reads, from the name in memory."""
    name = re.sub(r"^vit\.layers\.", "vit.encoder.layer.", name)
    name = re.sub(r"\.attention\.o_proj\.", ".attention.output.dense.", name)
    for word in ("query", "key", "value"):
        name = name.replace(f".attention.{word[0]}_proj.", f".attention.attention.{word}.")
    return name.replace(".mlp.fc1.", ".intermediate.dense.").replace(".mlp.fc2.", ".output.dense.")


def read_weights(path: Path, expected: Mapping[str, torch.Size]) -> StoredWeights:
    """Read a safetensors file whose tensors must be those of the network.

    Args:
        path: the file.
        expected: shape of each tensor by its name in the network.

    Raises:
        ModelError: not safetensors, truncated, or other tensors or shapes than expected; names the first of them.
    """
    try:
        with safe_open(path, framework="pt") as file:
            names = _network_names(path, file.keys())
            _require_same_names(path, names, expected)
            shapes = {name: torch.Size(file.get_slice(stored).get_shape()) for name, stored in names.items()}
            _require_same_shapes(path, shapes, expected)
            tensors = {name: file.get_tensor(stored) for name, stored in names.items()}
    except SafetensorError as error:
        raise ModelError(f"{path}: truncated, or not a safetensors file ({error})") from error
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or not tensor.isfinite().all():
            raise ModelError(f"{path}: tensor {name} holds something else than finite numbers")
    return StoredWeights(
        tensors={name: tensor.to(torch.float32, copy=True) for name, tensor in tensors.items()},
        names=names,
        dtypes={name: tensor.dtype for name, tensor in tensors.items()},
    )


def _network_names(path: Path, stored: Iterable[str]) -> dict[str, str]:
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
        raise ModelError(f"{path} does not fit its config.json: {'; '.join(problems)}")


def _require_same_shapes(path: Path, shapes: Mapping[str, torch.Size], expected: Mapping[str, torch.Size]) -> None:
    wrong = [name for name in sorted(expected) if shapes[name] != expected[name]]
    if wrong:
        first = wrong[0]
        raise ModelError(
            f"{path} does not fit its config.json: {len(wrong)} tensors have another shape, first {first}: "
            f"{list(shapes[first])} in the file, {list(expected[first])} in the model"
        )


def weight_bytes(tensors: Mapping[str, torch.Tensor]) -> bytes:
    """A safetensors file as transformers writes it; equal tensors give equal bytes."""
    return save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, {"format": "pt"})
