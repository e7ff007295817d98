"""The layout of transformers: the folder that `save_pretrained` of ViTMAEForPreTraining makes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from compliance_unlearn.api import ImageShape, ModelError, PixelStatistics, read_json, read_safetensors
from cu_mae.names import classic_name, network_names
from cu_mae.network import NamedNetwork, architecture_config, build_network, complete_config, initialise_network
from cu_mae.params import Architecture
from cu_mae.stored import CONFIG, IMAGENET, WEIGHTS, StoredModel, json_bytes, read_files
from cu_mae.weights import load_tensors

PREPROCESSOR = "preprocessor_config.json"
MODEL_TYPE = "vit_mae"

_PICKLES = (".bin", ".pt", ".ckpt", ".pkl", ".pickle")
_SIZES = (
    "image_size",
    "patch_size",
    "num_channels",
    "hidden_size",
    "num_attention_heads",
    "decoder_hidden_size",
    "decoder_num_attention_heads",
)
_log = logging.getLogger(__name__)


def read(folder: Path) -> StoredModel:
    """Read a model.

    Raises:
        ModelError: absent, unsafe, damaged, or files that do not fit each other.
    """
    check_folder(folder)
    path, weights = folder / CONFIG, folder / WEIGHTS
    given = read_json(path)
    if given.get("model_type") != MODEL_TYPE:
        raise ModelError(f"{path}: model_type is {given.get('model_type')!r}, expected {MODEL_TYPE!r}")
    config = complete_config(given)
    shape, patch = image_geometry(config, path)
    statistics = read_statistics(folder, shape.channels)
    network = build_network({**config, "image_size": shape.height, "patch_size": patch}, "meta")
    stored = read_safetensors(weights)
    names = network_names(stored, weights)
    module = NamedNetwork(network, {name: names.get(name, name) for name in network.state_dict()})
    return StoredModel(
        module=module,
        shape=shape,
        patch=patch,
        statistics=statistics,
        norm_pix_loss=config["norm_pix_loss"],
        dtypes=load_tensors(module, stored, weights, "does not fit its config.json"),
        files=read_files(folder, CONFIG, PREPROCESSOR),
    )


def new(
    architecture: Architecture, mask_ratio: float, statistics: PixelStatistics, generator: torch.Generator
) -> StoredModel:
    """A model with random weights, as `read` would find it."""
    config = architecture_config(architecture, mask_ratio)
    network = initialise_network(complete_config(config), generator)
    shape = architecture.image_shape
    return StoredModel(
        module=NamedNetwork(network, {name: classic_name(name) for name in network.state_dict()}),
        shape=shape,
        patch=architecture.patch_size,
        statistics=statistics,
        norm_pix_loss=architecture.norm_pix_loss,
        dtypes={},
        files={CONFIG: json_bytes(config), PREPROCESSOR: json_bytes(preprocessor_config(statistics, shape))},
    )


def check_folder(folder: Path) -> None:
    """Refuse what is not the folder of a model with safetensors weights.

    Raises:
        ModelError: says which file is absent, and what to do about weights that are pickled or in several files.
    """
    if not folder.is_dir():
        raise ModelError(f"{folder}: there is no such folder; a ViT-MAE is a folder with {CONFIG} and {WEIGHTS}")
    if not (folder / CONFIG).is_file():
        raise ModelError(f"{folder}: {CONFIG} is absent")
    if (folder / WEIGHTS).is_file():
        return
    if (folder / f"{WEIGHTS}.index.json").is_file():
        raise ModelError(f"{folder}: the weights are in several files; save them again as one {WEIGHTS}")
    if any(path.suffix in _PICKLES for path in folder.iterdir()):
        raise ModelError(
            f"{folder}: the weights are a pickle, which can run code when it is read; convert them to {WEIGHTS}"
        )
    raise ModelError(f"{folder}: {WEIGHTS} is absent")


def image_geometry(config: Mapping[str, Any], path: Path) -> tuple[ImageShape, int]:
    """Image shape and patch size of a configuration with all its defaults filled in.

    Raises:
        ModelError: sizes that no ViTMAEForPreTraining can work with.
    """
    sizes = {name: _edge(config[name], f"{path}: {name}") for name in _SIZES}
    image, patch = sizes["image_size"], sizes["patch_size"]
    if image % patch:
        raise ModelError(f"{path}: image_size {image} is not a multiple of patch_size {patch}")
    for part in ("", "decoder_"):
        if sizes[f"{part}hidden_size"] % sizes[f"{part}num_attention_heads"]:
            raise ModelError(f"{path}: {part}hidden_size is not a multiple of {part}num_attention_heads")
    return ImageShape(sizes["num_channels"], image, image), patch


def _edge(value: Any, where: str) -> int:
    if isinstance(value, list | tuple):
        if len(set(value)) != 1:
            raise ModelError(f"{where} is {list(value)}: ViTMAEForPreTraining works on square images and patches only")
        value = value[0]
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ModelError(f"{where} must be a positive whole number")
    return value


def read_statistics(folder: Path, channels: int) -> PixelStatistics:
    """Normalisation of the pixels, from ``preprocessor_config.json``.

    Without that file the model is taken to have been trained as the published checkpoints were: with the ImageNet
    figures for three channels. For any other number of channels there is no such custom; 0.5 and 0.5, the defaults of
    transformers' ViT image processor, stand in. Both cases are logged as a warning.

    Raises:
        ModelError: the figures do not fit the number of channels, or a deviation is not positive.
    """
    path = folder / PREPROCESSOR
    if not path.is_file():
        _log.warning("%s is absent: pixels are normalised with default figures", path)
        return IMAGENET if channels == 3 else PixelStatistics((0.5,) * channels, (0.5,) * channels)
    stored = read_json(path)
    if stored.get("do_normalize") is False:
        return PixelStatistics((0.0,) * channels, (1.0,) * channels)
    mean = _figures(stored.get("image_mean"), channels, f"{path}: image_mean")
    std = _figures(stored.get("image_std"), channels, f"{path}: image_std")
    if min(std) <= 0:
        raise ModelError(f"{path}: image_std must be positive")
    return PixelStatistics(mean, std)


def _figures(value: Any, channels: int, where: str) -> tuple[float, ...]:
    if isinstance(value, int | float):
        value = [value] * channels
    if not isinstance(value, list) or len(value) != channels or not all(isinstance(v, int | float) for v in value):
        raise ModelError(f"{where} must hold one number for each of the {channels} channels")
    return tuple(float(v) for v in value)


def preprocessor_config(statistics: PixelStatistics, shape: ImageShape) -> dict[str, Any]:
    """What transformers' image processor needs to normalise as this model does."""
    return {
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": list(statistics.mean),
        "image_processor_type": "ViTImageProcessor",
        "image_std": list(statistics.std),
        "resample": 2,
        "rescale_factor": 1 / 255,
        "size": {"height": shape.height, "width": shape.width},
    }
