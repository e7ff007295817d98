"""Files of models, as every adapter reads and writes them: safetensors, pickles, JSON, and what to say of misfits."""

from __future__ import annotations

import argparse
import json
import pickle
import struct
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compliance_unlearn.api.errors import ModelError

if TYPE_CHECKING:
    import torch

NOTES: Mapping[str, str] = {"format": "pt"}
"""What stands in the header of a safetensors file that holds tensors of torch."""

# All that `torch.load` was seen to raise on files with changed and missing bytes.
_DAMAGED = (
    RuntimeError,
    OSError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    struct.error,
)

_CONFIGS = ("config.json", "unet/config.json", "model_index.json")
_TYPES = {"vit_mae": "a ViT-MAE of transformers", "mage": "a MAGE"}
# What a model is, and with what names of its tensors begin; the first line fits that has a tensor for each beginning.
_BEGINNINGS = (
    ("a MAGE", ("token_emb.",)),
    ("a Palette model", ("denoise_fn.",)),
    ("a latent diffusion model", ("model.diffusion_model.",)),
    ("a ViT-MAE of transformers", ("vit.", "decoder.decoder_")),
    ("an MAE as its authors store it", ("cls_token", "decoder_blocks.")),
    ("a VQModel of diffusers", ("quantize.embedding.", "encoder.down_blocks.")),
    ("a VQ-GAN of taming-transformers", ("quantize.embedding.", "encoder.down.")),
    ("a UNet2DModel of diffusers", ("conv_in.", "down_blocks.", "mid_block.")),
)
_PICKLES = (".pth", ".ckpt", ".pt", ".bin")


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


def tensor_names(path: Path) -> frozenset[str]:
    """Names of the tensors of a safetensors file, from its header alone.

    Raises:
        ModelError: truncated, or not safetensors.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return frozenset(file.keys())
    except SafetensorError as error:
        raise ModelError(f"{path}: truncated, or not a safetensors file ({error})") from error


def read_pickle(path: Path, instead: str) -> Any:
    """What `torch.save` wrote, read without running anything that stands in the file.

    Tensors, plain containers, numbers and text are let in, and `argparse.Namespace`: training scripts keep their
    arguments in one, and it calls nothing. Every other class is refused before an object of it is made.

    Args:
        path: of the file.
        instead: what somebody who trusts the file can save in its place, for the message.

    Raises:
        ModelError: damaged, or made of other classes.
    """
    try:
        return _unpickled(path)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path}: damaged, or a pickle of more than tensors, which could run code and was not read; whoever trusts "
            f"it can save {instead}"
        ) from error
    except _DAMAGED as error:
        raise ModelError(f"{path}: truncated, unreadable, or not a checkpoint of PyTorch") from error


def _unpickled(path: Path, *, mapped: bool = False) -> Any:
    import torch

    with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
        # torch warns of pickle protocols that it may not know; what it cannot read is refused all the same.
        warnings.simplefilter("ignore")
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)


def named_tensors(content: Any, key: str | None = None) -> dict[str, torch.Tensor] | None:
    """Tensors by name, if ``content``, or what it holds under ``key``, is a dictionary of nothing else."""
    import torch

    if key is not None:
        content = content.get(key) if isinstance(content, Mapping) else None
    if not isinstance(content, Mapping) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        return None
    return {str(name): tensor.detach() for name, tensor in content.items()}


def require_family(folder: Path, ours: tuple[str, ...]) -> None:
    """Refuse a folder that holds another family of models than an adapter reads.

    Args:
        folder: of a model; one whose files do not say what they are passes, for the adapter to look at closely.
        ours: what the adapter reads, in the words of `held_model`.

    Raises:
        ModelError: says what the folder seems to hold, and what was expected.
    """
    found = held_model(folder)
    if found not in (None, *ours):
        raise ModelError(f"{folder}: it looks like {found}, expected {' or '.join(ours)}")


def held_model(folder: Path) -> str | None:
    """What a folder seems to hold, such as ``a VQModel of diffusers``, or None if its files do not say.

    Its configuration comes first, then the names of its tensors; no tensor is read.
    """
    said = (_said(folder / name) for name in _CONFIGS)
    shown = (_shown(path) for path in sorted(folder.glob("*")))
    return next((words for source in (said, shown) for words in source if words), None)


def _said(path: Path) -> str | None:
    """What a configuration says that it describes."""
    try:
        config = read_json(path)
    except (OSError, ModelError):
        return None
    name, kind, model = (config.get(key) for key in ("_class_name", "model_type", "model"))
    if isinstance(name, str):
        return f"{'an' if name.startswith(tuple('AEIO')) else 'a'} {name} of diffusers"
    if isinstance(kind, str):
        return _TYPES.get(kind, f"a model of type {kind!r}")
    if not isinstance(model, Mapping):
        return None
    return "a Palette model" if "which_networks" in model else _taming(model.get("params"))


def _taming(params: Any) -> str | None:
    return "a VQ-GAN of taming-transformers" if isinstance(params, Mapping) and "ddconfig" in params else None


def _shown(path: Path) -> str | None:
    """What the names of a file's tensors show that it is."""
    names = _cheap_names(path)
    fitting = (
        words
        for words, beginnings in _BEGINNINGS
        if all(any(name.startswith(beginning) for name in names) for beginning in beginnings)
    )
    return next(fitting, None)


def _cheap_names(path: Path) -> Iterable[str]:
    """Names of the tensors of a file; none if it is not to be read, or only at length."""
    try:
        if path.suffix == ".safetensors":
            return tensor_names(path)
        content = _unpickled(path, mapped=True) if path.suffix in _PICKLES else None
    except (pickle.UnpicklingError, ModelError, *_DAMAGED):
        return ()
    kinds = (named_tensors(content, "model"), named_tensors(content, "state_dict"), named_tensors(content))
    return next((tensors for tensors in kinds if tensors), ())


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
