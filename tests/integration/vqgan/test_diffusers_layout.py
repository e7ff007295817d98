"""The adapter computes what `VQModel` of diffusers does, and diffusers alone loads what we export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from cu_vqgan.adapter import VqganAdapter
from cu_vqgan.params import Architecture, VqganParams
from safetensors.torch import load_file, save_file

from compliance_unlearn.api import (
    Colourise,
    Inpaint,
    Outpaint,
    PixelStatistics,
    RandomMask,
    SuperResolve,
    Task,
    shown_pixels,
)

from .conftest import CPU, load, random_images, small_model

WEIGHTS = "diffusion_pytorch_model.safetensors"
OLD_NAMES = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}


@pytest.mark.parametrize("task", [Inpaint(), Outpaint(), RandomMask(), SuperResolve(factor=2), Colourise()])
def test_features_and_outputs_are_those_of_diffusers(task: Task, tmp_path: Path) -> None:
    model = small_model(in_channels=3, out_channels=3, vq_embed_dim=3)
    model.save_pretrained(tmp_path)
    adapter, images = load(tmp_path, task), random_images(3, 3)
    views = adapter.views(3, torch.Generator().manual_seed(1))
    shown = shown_pixels(task, images, views.hidden, torch.full((3,), 0.5)) * 2 - 1
    with torch.no_grad():
        degraded = adapter.degrade(images, views)
        (features,) = adapter.encode(degraded)
        torch.testing.assert_close(features, model.encode(shown).latents, atol=1e-5, rtol=1e-5)
        decoded = adapter.decode(degraded, (features,)) * 2 - 1
        torch.testing.assert_close(decoded, model(shown).sample, atol=1e-5, rtol=1e-5)
        made = adapter.reconstruct(degraded)
    assert made.generated.all()
    assert (adapter.image_shape.height, adapter.image_shape.channels) == (16, 3)


def test_what_is_decoded_are_codes_and_nothing_between_them(saved: tuple[Any, Path]) -> None:
    model, folder = saved
    adapter = load(folder)
    degraded = adapter.degrade(random_images(1, 1), adapter.views(1, torch.Generator()))
    with torch.no_grad():
        (features,) = adapter.encode(degraded)
        vectors = features.permute(0, 2, 3, 1).reshape(-1, 4)
        nearest = model.quantize.embedding.weight[torch.cdist(vectors, model.quantize.embedding.weight).argmin(dim=1)]
        codes = nearest.view(1, 8, 8, 4).permute(0, 3, 1, 2)
        torch.testing.assert_close(adapter.decode(degraded, (features,)), adapter.decode(degraded, (codes,)))


@pytest.mark.parametrize("names", ["current", "before 0.15"])
def test_the_folder_comes_back_byte_for_byte(names: str, saved: tuple[Any, Path], tmp_path: Path) -> None:
    from diffusers.models.autoencoders.vq_model import VQModel

    model, folder = saved
    if names != "current":
        tensors = load_file(folder / WEIGHTS)
        for new, old in OLD_NAMES.items():
            tensors = {name.replace(new, old): tensor for name, tensor in tensors.items()}
        save_file(tensors, folder / WEIGHTS, {"format": "pt"})
        assert "encoder.mid_block.attentions.0.query.weight" in tensors
    export = tmp_path / "export"
    export.mkdir()
    load(folder).export(export)
    assert {path.name for path in export.iterdir()} == {"config.json", WEIGHTS}
    for path in export.iterdir():
        assert path.read_bytes() == (folder / path.name).read_bytes()
    again = VQModel.from_pretrained(export, local_files_only=True)
    pixels = random_images(2, 1)
    with torch.no_grad():
        assert torch.equal(again(pixels).sample, model(pixels).sample)


def test_half_precision_weights_are_computed_in_float32_and_stored_as_they_were(
    saved: tuple[Any, Path], tmp_path: Path
) -> None:
    _, folder = saved
    halves = {name: tensor.half() for name, tensor in load_file(folder / WEIGHTS).items()}
    save_file(halves, folder / WEIGHTS, {"format": "pt"})
    adapter = load(folder)
    assert {parameter.dtype for parameter in adapter.module.parameters()} == {torch.float32}
    export = tmp_path / "export"
    export.mkdir()
    adapter.export(export)
    assert (export / WEIGHTS).read_bytes() == (folder / WEIGHTS).read_bytes()


def test_the_encoder_ends_before_the_quantiser(saved: tuple[Any, Path]) -> None:
    adapter = load(saved[1])
    others = adapter.module.state_dict().keys() - adapter.encoder_parameters().keys()
    assert {name.split(".")[0] for name in adapter.encoder_parameters()} == {"encoder", "quant_conv"}
    assert {name.split(".")[0] for name in others} == {"quantize", "post_quant_conv", "decoder"}


def test_diffusers_loads_a_new_model_without_its_discriminator(tmp_path: Path) -> None:
    from diffusers.models.autoencoders.vq_model import VQModel

    sizes = Architecture(image_size=16, channels=3, block_out_channels=(8, 8), norm_groups=4)
    adapter = VqganAdapter(VqganParams(architecture=sizes), Inpaint())
    adapter.create(PixelStatistics((0.3, 0.4, 0.5), (0.2,) * 3), torch.Generator().manual_seed(0), CPU)
    assert any(name.startswith("discriminator.") for name in adapter.training_parameters())
    adapter.export(tmp_path)
    model, report = VQModel.from_pretrained(tmp_path, output_loading_info=True, local_files_only=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert json.loads((tmp_path / "config.json").read_text())["sample_size"] == 16
    assert model.quantize.embedding.weight.shape == (256, 3)


def test_bfloat16_autocast_gives_nearly_the_same_features(saved: tuple[Any, Path]) -> None:
    adapter = load(saved[1])
    degraded = adapter.degrade(random_images(4, 1), adapter.views(4, torch.Generator()))
    with torch.no_grad():
        (exact,) = adapter.encode(degraded)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            (rough,) = adapter.encode(degraded)
            made = adapter.reconstruct(degraded).images
    assert made.dtype == torch.float32
    assert (exact - rough.float()).abs().max() < 0.05 * exact.abs().max()
