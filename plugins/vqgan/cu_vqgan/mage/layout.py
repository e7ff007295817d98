"""The files of a model: a released checkpoint, or what this adapter exports.

A released checkpoint is one ``.pth`` whose tensors stand under ``model``; ours is ``model.safetensors`` with the same
names, and ``config.json`` with what no shape shows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from compliance_unlearn.api import ModelError, read_safetensors
from compliance_unlearn.api.model_files import named_tensors, read_pickle, require_family

CONFIG, WEIGHTS = "config.json", "model.safetensors"
CHECKPOINTS = (".pth", ".ckpt")


class MageConfig(BaseModel):
    """What ``config.json`` holds.

    Attributes:
        model_type: of the family.
        heads: attention heads of the encoder.
        decoder_heads: attention heads of the decoder.
        mean: of each channel; the authors feed pixels in [0, 1] as they are, hence 0 and 1 where nothing is said.
        std: of each channel.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model_type: Literal["mage"] = "mage"
    heads: int = Field(ge=1)
    decoder_heads: int = Field(ge=1)
    mean: tuple[float, ...]
    std: tuple[float, ...]


def weights_file(folder: Path) -> Path:
    """The file with the weights.

    Raises:
        ModelError: there is none, or more than one.
    """
    if not folder.is_dir():
        raise ModelError(f"{folder}: there is no such folder; a MAGE is a folder with {WEIGHTS} or a released .pth")
    require_family(folder, ("a MAGE",))
    found = [folder / WEIGHTS] if (folder / WEIGHTS).is_file() else []
    found += sorted(path for path in folder.iterdir() if path.suffix in CHECKPOINTS)
    if not found:
        raise ModelError(f"{folder}: there is neither {WEIGHTS} nor a file ending in {' or '.join(CHECKPOINTS)}")
    if len(found) > 1:
        raise ModelError(f"{folder}: {found[0].name} and {found[1].name} both hold weights; leave one of them")
    return found[0]


def read_config(folder: Path) -> MageConfig | None:
    """What ``config.json`` says, None without one.

    Raises:
        ModelError: it does not describe a MAGE.
    """
    path = folder / CONFIG
    if not path.is_file():
        return None
    try:
        config = MageConfig.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise ModelError(f"{path} does not describe a MAGE: {place}: {first['msg']}") from error
    if not len(config.mean) == len(config.std) or min(config.std, default=0) <= 0:
        raise ModelError(f"{path}: mean and std must hold a figure for each channel, and std only positive ones")
    return config


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """All tensors of a file, without running anything that stands in it.

    Raises:
        ModelError: truncated, unsafe, or no tensors where they belong.
    """
    tensors = read_safetensors(path) if path.name == WEIGHTS else _read_checkpoint(path)
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ModelError(f"{path}: tensor {name} holds something else than finite numbers")
    return tensors


def _read_checkpoint(path: Path) -> dict[str, torch.Tensor]:
    content = read_pickle(path, '{"model": ...}, the dictionary of tensors alone, with torch.save')
    tensors = named_tensors(content, "model")
    if tensors is None:
        raise ModelError(f"{path}: there are no tensors under 'model', where the checkpoints of MAGE have them")
    return tensors
