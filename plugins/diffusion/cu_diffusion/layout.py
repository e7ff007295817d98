"""Which layout a folder has, and the model in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from compliance_unlearn.api import ModelError, parse_json, read_json, read_safetensors
from compliance_unlearn.api.model_files import require_family
from cu_diffusion.model import DenoisingModel
from cu_diffusion.palette import read_palette
from cu_diffusion.palette_config import without_comments
from cu_diffusion.schedule import NoiseSchedule
from cu_diffusion.unet import CONFIG, SCHEDULER, SCHEDULER_CONFIG, UNET, WEIGHTS, UNetModel, build_network
from cu_diffusion.weights import fitting

FAMILY = ("a UNet2DModel of diffusers", "a Palette model")

_INDEX = "model_index.json"
_BESIDE = ("vae", "vqvae", "movq", "text_encoder", "image_encoder", "tokenizer", "bert")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_SCHEDULERS = (
    "DDPMScheduler",
    "DDIMScheduler",
    "PNDMScheduler",
    "DPMSolverMultistepScheduler",
    "UniPCMultistepScheduler",
)


def read_model(folder: Path) -> DenoisingModel:
    """Read a model in any layout that this plugin knows.

    Raises:
        ModelError: says which file is absent, or what does not fit.
    """
    if not folder.is_dir():
        raise ModelError(f"{folder}: there is no such folder; a diffusion model is a folder with {UNET}/{CONFIG}")
    _require_pixel_space(folder)
    require_family(folder, FAMILY)
    if (folder / UNET).is_dir() or "_class_name" in _config(folder):
        return read_unet(folder)
    return read_palette(folder)


def _require_pixel_space(folder: Path) -> None:
    """Refuse a pipeline with parts that would be absent from an export, such as the autoencoder of a latent space."""
    index = read_json(folder / _INDEX) if (folder / _INDEX).is_file() else {}
    named = {name for name, part in index.items() if isinstance(part, list) and any(part)}
    found = {path.name for path in folder.iterdir() if path.is_dir() and path.name.startswith(_BESIDE)}
    beside = sorted((named | found) - {UNET, SCHEDULER})
    if beside:
        raise ModelError(
            f"{folder}: it looks like a {index.get('_class_name', 'pipeline')} of diffusers with {', '.join(beside)}, "
            f"expected a pipeline in pixel space: {UNET} and {SCHEDULER}"
        )


def _config(folder: Path) -> Mapping[str, object]:
    path = folder / CONFIG
    if not path.is_file():
        raise ModelError(f"{folder}: there is neither {UNET}/{CONFIG} nor {CONFIG}")
    return parse_json(without_comments(path.read_bytes()), path)


def read_unet(folder: Path) -> UNetModel:
    """Read the folder of a pipeline (``unet/``, ``scheduler/``), or that of a network with its scheduler's file."""
    piped = (folder / UNET).is_dir()
    network_folder, scheduler_folder = (f"{UNET}/", f"{SCHEDULER}/") if piped else ("", "")
    config_path, scheduler_path = folder / network_folder / CONFIG, folder / scheduler_folder / SCHEDULER_CONFIG
    weights_path = folder / network_folder / WEIGHTS
    _require_files(config_path, scheduler_path, weights_path)
    names = [network_folder + CONFIG, scheduler_folder + SCHEDULER_CONFIG]
    files = {name: (folder / name).read_bytes() for name in (*names, _INDEX) if (folder / name).is_file()}
    config = parse_json(files[names[0]], config_path)
    _require_class(config.get("_class_name"), ("UNet2DModel",), config_path)
    scheduler = parse_json(files[names[1]], scheduler_path)
    _require_class(scheduler.get("_class_name"), _SCHEDULERS, scheduler_path)
    network = build_network(config, "meta")
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    content = fitting(read_safetensors(weights_path), shapes, weights_path)
    network.load_state_dict(content.tensors, assign=True)
    network.requires_grad_(True)
    schedule = NoiseSchedule.from_config(scheduler)
    return UNetModel(network, schedule, files, network_folder + WEIGHTS, content.dtypes)


def _require_class(found: object, expected: tuple[str, ...], path: Path) -> None:
    if found not in expected:
        raise ModelError(f"{path}: _class_name is {found!r}, expected {' or '.join(expected)}")


def _require_files(config: Path, scheduler: Path, weights: Path) -> None:
    for path in (config, scheduler):
        if not path.is_file():
            raise ModelError(f"{path} is absent; save network and scheduler with save_pretrained of diffusers")
    if weights.is_file():
        return
    if weights.with_name(f"{weights.name}.index.json").is_file():
        raise ModelError(f"{weights.parent}: the weights are in several files; save them again as one {weights.name}")
    if any(path.suffix in _PICKLES for path in weights.parent.iterdir()):
        raise ModelError(
            f"{weights.parent}: the weights are a pickle, which can run code when it is read; convert them to "
            f"{weights.name}"
        )
    raise ModelError(f"{weights} is absent")
