"""The files of a model: reads and writes the folder that `save_pretrained` of transformers makes."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compliance_unlearn.api import ImageShape, ModelError, PixelStatistics

CONFIG, WEIGHTS, PREPROCESSOR = "config.json", "model.safetensors", "preprocessor_config.json"
MODEL_TYPE = "vit_mae"
IMAGENET = PixelStatistics(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))

_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
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


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ModelError: the file is not one.
    """
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise ModelError(f"{path}: not valid JSON") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path}: must hold a JSON object")
    return content


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object in the form that transformers gives it: sorted keys, two spaces, a line break at the end."""
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


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
