"""A model as it was found in a folder, whatever the folder's layout, and the way back into a folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from compliance_unlearn.api import ImageShape, PixelStatistics, WorkspaceError, weight_bytes
from cu_mae.network import NamedNetwork

CONFIG, WEIGHTS = "config.json", "model.safetensors"
IMAGENET = PixelStatistics(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
"""What the authors of MAE normalise with."""


@dataclass(frozen=True)
class StoredModel:
    """A network and what its folder says of it.

    Attributes:
        module: the network; names in its state dict are those of the weights file.
        shape: of the images.
        patch: edge of a patch in pixels.
        statistics: normalisation of the pixels.
        norm_pix_loss: whether it was trained on patches that are normalised one by one.
        dtypes: type of each tensor in the file, by its name there; float32 where absent.
        files: the JSON files of the folder by name, which are written as they were read.
    """

    module: NamedNetwork
    shape: ImageShape
    patch: int
    statistics: PixelStatistics
    norm_pix_loss: bool
    dtypes: Mapping[str, torch.dtype]
    files: Mapping[str, bytes]

    def write(self, folder: Path) -> None:
        """Write the model into an existing folder.

        Raises:
            WorkspaceError: the disk does not take it.
        """
        tensors = {
            name: tensor.to(self.dtypes.get(name, torch.float32)) for name, tensor in self.module.state_dict().items()
        }
        try:
            for name, content in self.files.items():
                (folder / name).write_bytes(content)
            (folder / WEIGHTS).write_bytes(weight_bytes(tensors))
        except OSError as error:
            raise WorkspaceError(f"{folder}: the model cannot be written: {error.strerror}") from error


def json_bytes(content: Mapping[str, Any]) -> bytes:
    """A JSON object in the form that transformers gives it: sorted keys, two spaces, a line break at the end."""
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()


def read_files(folder: Path, *names: str) -> dict[str, bytes]:
    """Those of the named files that a folder has."""
    return {name: (folder / name).read_bytes() for name in names if (folder / name).is_file()}
