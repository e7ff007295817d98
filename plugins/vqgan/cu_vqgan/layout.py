"""The two layouts of a folder: `save_pretrained` of diffusers, and taming-transformers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from compliance_unlearn.api import ModelError, read_json
from compliance_unlearn.api.model_files import require_family
from cu_vqgan import taming
from cu_vqgan.config import NetworkConfig, parsed
from cu_vqgan.plain_yaml import read_yaml
from cu_vqgan.weights import CHECKPOINT

CONFIG = "config.json"
DIFFUSERS_WEIGHTS, TAMING_WEIGHTS = "diffusion_pytorch_model.safetensors", "model.safetensors"
CLASS = "VQModel"
FAMILY = ("a VQModel of diffusers", "a VQ-GAN of taming-transformers")

_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
# Checkpoints of diffusers before 0.15 name the parts of attention so.
_OLD_NAMES = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}


@dataclass(frozen=True)
class Layout:
    """How a model lies in a folder.

    Attributes:
        config: its architecture.
        content: bytes of the ``config.json`` of an export.
        weights_name: name of the weights file of an export.
        network_name: the name that diffusers gives a tensor, from its name in the file.
        beside: beginnings of names in the file that do not belong to the model.
    """

    config: NetworkConfig
    content: bytes
    weights_name: str
    network_name: Callable[[str], str]
    beside: tuple[str, ...] = ()


def read_layout(folder: Path) -> tuple[Layout, Path]:
    """Recognise the layout of a folder by its files.

    Returns:
        The layout, and the file of the weights.

    Raises:
        ModelError: neither layout, or a configuration that describes something else than a VQ-GAN.
    """
    if not folder.is_dir():
        raise ModelError(f"{folder}: there is no such folder; a VQ-GAN is a folder with {CONFIG} and weights")
    require_family(folder, FAMILY)
    path = _config_file(folder)
    if path.name != CONFIG:
        stored = read_yaml(path)
        return _taming_layout(stored, path, json_bytes(stored, path)), _taming_weights(folder)
    stored = read_json(path)
    if "model" in stored:
        return _taming_layout(stored, path, path.read_bytes()), _taming_weights(folder)
    if stored.get("_class_name") != CLASS:
        raise ModelError(f"{path}: does not say what it describes, expected {' or '.join(FAMILY)}")
    layout = diffusers_layout(parsed(NetworkConfig, stored, path), path.read_bytes())
    return layout, _diffusers_weights(folder)


def new_layout(config: NetworkConfig) -> Layout:
    """That of a model which is made here."""
    content = {"_class_name": CLASS, "_diffusers_version": version("diffusers"), **config.model_dump(mode="json")}
    return diffusers_layout(config, (json.dumps(content, indent=2, sort_keys=True) + "\n").encode())


def diffusers_layout(config: NetworkConfig, content: bytes) -> Layout:
    """The layout of `save_pretrained`."""
    return Layout(config, content, DIFFUSERS_WEIGHTS, _current_name)


def json_bytes(stored: Mapping[str, Any], path: Path) -> bytes:
    """What was read as YAML, as JSON."""
    try:
        return (json.dumps(stored, indent=2, allow_nan=False) + "\n").encode()
    except (TypeError, ValueError) as error:
        raise ModelError(f"{path}: holds a value that JSON has no word for ({error}); quote it") from error


def _taming_layout(stored: Mapping[str, Any], path: Path, content: bytes) -> Layout:
    config = taming.network_config(stored, path)
    return Layout(
        config, content, TAMING_WEIGHTS, partial(taming.network_name, levels=config.levels), beside=taming.BESIDE
    )


def _current_name(stored: str) -> str:
    for old, new in _OLD_NAMES.items():
        stored = stored.replace(old, new)
    return stored


def _config_file(folder: Path) -> Path:
    if (folder / CONFIG).is_file():
        return folder / CONFIG
    found = sorted(path for path in folder.iterdir() if path.suffix in (".yaml", ".yml"))
    if not found:
        raise ModelError(f"{folder}: {CONFIG} is absent, and so is the YAML file of taming-transformers")
    if len(found) > 1:
        raise ModelError(f"{folder}: {found[0].name} and {found[1].name} could both describe the model; keep one")
    return found[0]


def _diffusers_weights(folder: Path) -> Path:
    if (folder / DIFFUSERS_WEIGHTS).is_file():
        return folder / DIFFUSERS_WEIGHTS
    if (folder / f"{DIFFUSERS_WEIGHTS}.index.json").is_file():
        raise ModelError(f"{folder}: the weights are in several files; save them again as one {DIFFUSERS_WEIGHTS}")
    if any(path.suffix in _PICKLES for path in folder.iterdir()):
        raise ModelError(
            f"{folder}: the weights are a pickle, which can run code when it is read; convert them to "
            f"{DIFFUSERS_WEIGHTS}"
        )
    raise ModelError(f"{folder}: {DIFFUSERS_WEIGHTS} is absent")


def _taming_weights(folder: Path) -> Path:
    found = sorted(path for path in folder.iterdir() if path.suffix == CHECKPOINT or path.name == TAMING_WEIGHTS)
    if not found:
        raise ModelError(f"{folder}: {TAMING_WEIGHTS} is absent, and so is a checkpoint *{CHECKPOINT}")
    if len(found) > 1:
        raise ModelError(f"{folder}: {found[0].name} and {found[1].name} could both be the weights; keep one")
    return found[0]
