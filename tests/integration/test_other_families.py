"""The folder of another family is refused with both sides in words, whatever else is absent from it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from cu_diffusion.adapter import DiffusionAdapter
from cu_diffusion.params import DiffusionParams
from cu_mae.adapter import MaeAdapter
from cu_mae.params import MaeParams
from cu_vqgan.adapter import VqganAdapter
from cu_vqgan.mage.adapter import MageAdapter
from cu_vqgan.mage.params import MageParams
from cu_vqgan.params import VqganParams

from compliance_unlearn.api import Inpaint, ModelAdapter, ModelError, weight_bytes
from compliance_unlearn.api.model_files import held_model
from compliance_unlearn.testing.adapter import Trap

CPU = torch.device("cpu")

ADAPTERS: dict[str, tuple[Callable[[], ModelAdapter], str]] = {
    "mae": (
        lambda: MaeAdapter(MaeParams(), Inpaint()),
        "a ViT-MAE of transformers or an MAE as its authors store it",
    ),
    "vqgan": (
        lambda: VqganAdapter(VqganParams(), Inpaint()),
        "a VQModel of diffusers or a VQ-GAN of taming-transformers",
    ),
    "mage": (lambda: MageAdapter(MageParams(), Inpaint()), "a MAGE"),
    "diffusion": (
        lambda: DiffusionAdapter(DiffusionParams(), Inpaint()),
        "a UNet2DModel of diffusers or a Palette model",
    ),
}

MAE = ("cls_token", "decoder_blocks.0.norm1.weight")
MAGE = (*MAE, "token_emb.LayerNorm.weight", "vqgan.quantize.embedding.weight")
TAMING = ("encoder.down.0.block.0.norm1.weight", "quantize.embedding.weight")
NETWORK = {"_class_name": "UNet2DModel"}
HEADS = {"heads": 4, "decoder_heads": 2, "mean": [0], "std": [1]}


def state(*names: str) -> dict[str, torch.Tensor]:
    return {name: torch.zeros(1) for name in names}


def write(folder: Path, files: Mapping[str, object]) -> None:
    """Files of a folder by their names: JSON, names of tensors for safetensors, and what is pickled."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".json":
            path.write_text(content if isinstance(content, str) else json.dumps(content))
        elif path.suffix == ".safetensors":
            assert isinstance(content, tuple)
            path.write_bytes(weight_bytes(state(*content)))
        else:
            torch.save(content, path)


FOLDERS: dict[str, tuple[str, str, dict[str, object]]] = {
    "transformers": (
        "mae",
        "a ViT-MAE of transformers",
        {"config.json": {"model_type": "vit_mae"}, "model.safetensors": ("vit.layernorm.bias",)},
    ),
    "transformers without a configuration": (
        "mae",
        "a ViT-MAE of transformers",
        {"model.safetensors": ("vit.layernorm.bias", "decoder.decoder_norm.bias")},
    ),
    "authors of MAE": (
        "mae",
        "an MAE as its authors store it",
        {"config.json": HEADS, "mae.pth": {"model": state(*MAE), "args": argparse.Namespace(lr=0.1)}},
    ),
    "VQModel": (
        "vqgan",
        "a VQModel of diffusers",
        {"config.json": {"_class_name": "VQModel"}, "diffusion_pytorch_model.safetensors": ("a",)},
    ),
    "taming": ("vqgan", "a VQ-GAN of taming-transformers", {"last.ckpt": {"state_dict": state(*TAMING)}}),
    "taming in JSON": (
        "vqgan",
        "a VQ-GAN of taming-transformers",
        {"config.json": {"model": {"params": {"ddconfig": {}}}}},
    ),
    "MAGE": ("mage", "a MAGE", {"config.json": HEADS, "last.pth": {"model": state(*MAGE)}}),
    "MAGE without a configuration": ("mage", "a MAGE", {"last.pth": {"model": state(*MAGE)}}),
    "MAGE exported": ("mage", "a MAGE", {"config.json": {"model_type": "mage", **HEADS}}),
    "pipeline": (
        "diffusion",
        "a UNet2DModel of diffusers",
        {"unet/config.json": NETWORK},
    ),
    "network": ("diffusion", "a UNet2DModel of diffusers", {"config.json": NETWORK}),
    "Palette": (
        "diffusion",
        "a Palette model",
        {"config.json": {"model": {"which_networks": []}}, "1_Network.pth": state("denoise_fn.out.0.bias")},
    ),
    "Palette with comments": (
        "diffusion",
        "a Palette model",
        {"config.json": "{} // as released", "1_Network.pth": state("denoise_fn.out.0.bias")},
    ),
    "latent diffusion": (
        "",
        "a latent diffusion model",
        {"v1.ckpt": {"state_dict": state("model.diffusion_model.out.0.bias")}},
    ),
    "another network of diffusers": (
        "",
        "an AutoencoderKL of diffusers",
        {"config.json": {"_class_name": "AutoencoderKL"}},
    ),
    "another network of transformers": ("", "a model of type 'vit'", {"config.json": {"model_type": "vit"}}),
    "a pipeline of something else": (
        "",
        "a KandinskyPriorPipeline of diffusers",
        {"model_index.json": {"_class_name": "KandinskyPriorPipeline"}},
    ),
}


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("kind", FOLDERS)
def test_another_family_is_named_on_both_sides(adapter: str, kind: str, tmp_path: Path) -> None:
    family, words, files = FOLDERS[kind]
    write(tmp_path, files)
    make, expected = ADAPTERS[adapter]
    with pytest.raises(ModelError) as caught:
        make().load(tmp_path, CPU)
    message = f"{tmp_path}: it looks like {words}, expected {expected}"
    # These files are no whole model, so its own adapter refuses them too, but not as another family.
    assert (str(caught.value) == message) == (family != adapter)


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"config.json": "{"},
        {"config.json": {"hidden_size": 3}, "model.safetensors": ("classifier.weight",)},
        {"a.pth": {"model": {"epoch": 3}}, "b.bin": [1]},
    ],
)
def test_files_that_do_not_say_what_they_are_give_no_name(files: dict[str, object], tmp_path: Path) -> None:
    write(tmp_path, files)
    assert held_model(tmp_path) is None


def test_looking_at_a_folder_runs_nothing_in_it(tmp_path: Path) -> None:
    write(tmp_path, {"a.pth": {"model": Trap(tmp_path / "trap")}, "b.pth": {"model": state(*MAGE)}})
    (tmp_path / "b.safetensors").write_bytes(b"damaged")
    assert held_model(tmp_path) == "a MAGE"
    assert not (tmp_path / "trap").exists()
