"""Checkpoints of PyTorch (``.pth``), read without letting anything in them run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from compliance_unlearn.api import ModelError
from compliance_unlearn.api.model_files import named_tensors, read_pickle


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
    """Read the tensors, and what the arguments of the training say, which a run of the release stores beside them.

    Raises:
        ModelError: damaged, made of other classes, or without the tensors of a model.
    """
    content = read_pickle(path, '{"model": ...}, the dictionary of tensors alone, with torch.save')
    tensors = named_tensors(content, "model")
    if tensors is None:
        raise ModelError(f'{path}: holds no dictionary of tensors under "model"')
    norm_pix_loss = getattr(content.get("args"), "norm_pix_loss", None)
    return Checkpoint(tensors, norm_pix_loss if isinstance(norm_pix_loss, bool) else None)
