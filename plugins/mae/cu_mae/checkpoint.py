"""Checkpoints of PyTorch (``.pth``), read without letting anything in them run."""

from __future__ import annotations

import argparse
import pickle
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch

from compliance_unlearn.api import ModelError

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


@dataclass(frozen=True)
class Checkpoint:
    """What the release of MAE stores and we use; optimiser, epoch and scaler stay behind.

    Attributes:
        tensors: those under ``model``.
        norm_pix_loss: the option that the model was trained with; None where the arguments of the training are absent.
    """

    tensors: dict[str, torch.Tensor]
    norm_pix_loss: bool | None = None


def read_checkpoint(path: Path) -> Checkpoint:
    """Read tensors and plain values.

    A training run of the release also stores its arguments, an `argparse.Namespace`. That class is let in, since it
    keeps what it is given and calls nothing; every other class is refused before an object of it is made.

    Raises:
        ModelError: damaged, made of other classes, or without the tensors of a model.
    """
    try:
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            # torch warns of pickle protocols that it may not know; what it cannot read is refused all the same.
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path}: damaged, or a pickle of more than tensors, which could run code and was not read; whoever trusts "
            'it can save {"model": ...}, the dictionary of tensors alone, with torch.save'
        ) from error
    except _DAMAGED as error:
        raise ModelError(f"{path}: truncated, unreadable, or not a checkpoint of PyTorch") from error
    tensors = content.get("model") if isinstance(content, dict) else None
    if not isinstance(tensors, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in tensors.values()):
        raise ModelError(f'{path}: holds no dictionary of tensors under "model"')
    norm_pix_loss = getattr(content.get("args"), "norm_pix_loss", None)
    return Checkpoint(dict(tensors), norm_pix_loss if isinstance(norm_pix_loss, bool) else None)
