"""The layout of the authors (github.com/facebookresearch/mae): a ``.pth``, or the same tensors as safetensors."""

from __future__ import annotations

from pathlib import Path

from compliance_unlearn.api import ImageShape, ModelError, PixelStatistics, read_safetensors
from compliance_unlearn.api.model_files import tensor_names
from cu_mae.checkpoint import Checkpoint, read_checkpoint
from cu_mae.fused import fuse_attention
from cu_mae.names import official_name
from cu_mae.network import NamedNetwork, build_network
from cu_mae.official_config import network_config, read_config, shown_sizes
from cu_mae.stored import CONFIG, WEIGHTS, StoredModel, json_bytes, read_files
from cu_mae.weights import load_tensors


def recognises(folder: Path) -> bool:
    """Whether the weights in a folder have this layout."""
    if (folder / WEIGHTS).is_file():
        return "cls_token" in tensor_names(folder / WEIGHTS)
    return bool(_checkpoints(folder))


def read(folder: Path) -> StoredModel:
    """Read a model whose weights are in this layout.

    Raises:
        ModelError: unsafe, damaged, without a decoder, or files that do not fit each other.
    """
    path = _only_weights(folder)
    pickled = path.suffix == ".pth"
    stored = read_checkpoint(path) if pickled else Checkpoint(read_safetensors(path))
    sizes = shown_sizes(stored.tensors, path)
    config = read_config(folder / CONFIG, sizes, stored.norm_pix_loss)
    network = fuse_attention(build_network(network_config(sizes, config), "meta"))
    module = NamedNetwork(network, {name: official_name(name) for name in network.state_dict()})
    return StoredModel(
        module=module,
        shape=ImageShape(sizes["num_channels"], sizes["image_size"], sizes["image_size"]),
        patch=sizes["patch_size"],
        statistics=PixelStatistics(config.mean, config.std),
        norm_pix_loss=config.norm_pix_loss,
        dtypes=load_tensors(module, stored.tensors, path, "holds tensors that do not fit each other"),
        # What was found out about a checkpoint stays with its tensors when they become safetensors.
        files={CONFIG: json_bytes(config.model_dump(mode="json"))} if pickled else read_files(folder, CONFIG),
    )


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.pth") if path.is_file())


def _only_weights(folder: Path) -> Path:
    found = [*_checkpoints(folder), *([folder / WEIGHTS] if (folder / WEIGHTS).is_file() else [])]
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise ModelError(f"{folder}: which of these files is the model: {names}? Leave one and move the others away")
    return found[0]
