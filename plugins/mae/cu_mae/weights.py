"""Tensors of a file, put into a network."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import torch

from compliance_unlearn.api import require_tensors
from cu_mae.network import NamedNetwork, zero_tables

_log = logging.getLogger(__name__)


def load_tensors(
    module: NamedNetwork, stored: Mapping[str, torch.Tensor], path: Path, misfit: str
) -> dict[str, torch.dtype]:
    """Put stored tensors, as float32, into a network that has shapes only (device ``meta``).

    Args:
        module: the network under the names of the file.
        stored: tensors by their name in the file.
        path: the file.
        misfit: what follows the file's path in a message when names or shapes are others than the network's.

    Returns:
        The type that each tensor had in the file.

    Raises:
        ModelError: other tensors or shapes than the network's, or numbers that are not finite; names the first one.
    """
    require_tensors(stored, {name: tensor.shape for name, tensor in module.state_dict().items()}, path, misfit)
    module.load_state_dict({name: tensor.to(torch.float32, copy=True) for name, tensor in stored.items()}, assign=True)
    for table in zero_tables(module.network):
        _log.warning("%s: %s is all zeros, the model cannot tell places apart", path, module.names[table])
    return {name: tensor.dtype for name, tensor in stored.items()}
