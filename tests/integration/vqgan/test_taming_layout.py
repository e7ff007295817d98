"""Checkpoints of taming-transformers compute what that architecture defines, and come back under the same names."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from compliance_unlearn.api import RandomMask

from .conftest import BESIDE, load, random_images, write_taming
from .plain_taming import Sizes, Tensors, decode, encode, quantise

VARIANTS = {
    "attention on the middle level": Sizes(),
    "attention on the two lowest": Sizes(attn_resolutions=(4, 8), ch_mult=(1, 1, 2), num_res_blocks=1),
    "grey, one level, no attention but the middle's": Sizes(channels=1, ch_mult=(1,), attn_resolutions=(99,)),
}


def export(folder: Path, target: Path) -> Path:
    target.mkdir()
    load(folder).export(target)
    return target


@pytest.mark.parametrize("sizes", VARIANTS.values(), ids=VARIANTS)
def test_features_and_outputs_are_those_that_the_architecture_defines(sizes: Sizes, tmp_path: Path) -> None:
    tensors, folder = write_taming(tmp_path / "taming", sizes)
    adapter, images = load(folder, RandomMask(ratio=0.4)), random_images(2, sizes.channels)
    views = adapter.views(2, torch.Generator().manual_seed(1))
    shown = torch.where(views.hidden, 0.0, images * 2 - 1)
    with torch.no_grad():
        expected = encode(tensors, sizes, shown)
        degraded = adapter.degrade(images, views)
        (features,) = adapter.encode(degraded)
        torch.testing.assert_close(features, expected, atol=1e-4, rtol=1e-4)
        pixels = decode(tensors, sizes, quantise(tensors, expected)) / 2 + 0.5
        torch.testing.assert_close(adapter.decode(degraded, (features,)), pixels, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(adapter.reconstruct(degraded).images, pixels.clamp(0, 1), atol=1e-4, rtol=1e-4)


def test_an_export_has_the_names_shapes_and_bits_of_the_checkpoint(
    taming: tuple[Tensors, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tensors, folder = taming
    with caplog.at_level(logging.WARNING):
        written = load_file(export(folder, tmp_path / "export") / "model.safetensors")
    assert written.keys() == tensors.keys()
    assert all(torch.equal(written[name], tensor) for name, tensor in tensors.items())
    assert tensors["encoder.mid.attn_1.q.weight"].shape == (64, 64, 1, 1)
    assert f"last.ckpt: {len(BESIDE)} tensors beside the model are left out" in caplog.text


def test_an_export_says_in_json_what_the_yaml_file_says_and_is_loaded_again_to_the_same_bytes(
    taming: tuple[Tensors, Path], tmp_path: Path
) -> None:
    tensors, folder = taming
    first = export(folder, tmp_path / "first")
    config = json.loads((first / "config.json").read_text())
    assert config["model"]["base_learning_rate"] == 4.5e-6
    assert config["model"]["params"]["ddconfig"]["ch_mult"] == [1, 2, 2]
    assert config["model"]["params"]["lossconfig"]["params"] == {"disc_start": 250001}
    second = export(first, tmp_path / "second")
    assert {path.name: path.read_bytes() for path in first.iterdir()} == {
        path.name: path.read_bytes() for path in second.iterdir()
    }
    assert load(second).module.state_dict().keys() == tensors.keys()


def test_the_state_dict_shows_the_parameters_themselves(taming: tuple[Tensors, Path]) -> None:
    adapter = load(taming[1])
    name = "encoder.mid.attn_1.q.weight"
    parameter = adapter.encoder_parameters()[name]
    with torch.no_grad():
        parameter.fill_(3.0)
    assert torch.equal(adapter.module.state_dict()[name], torch.full((64, 64, 1, 1), 3.0))


def test_tensors_alone_are_a_checkpoint_too(taming: tuple[Tensors, Path]) -> None:
    tensors, folder = taming
    torch.save({name: tensor.half() for name, tensor in tensors.items()}, folder / "last.ckpt")
    adapter = load(folder)
    assert {parameter.dtype for parameter in adapter.module.parameters()} == {torch.float32}
    assert adapter.module.as_stored()["quant_conv.bias"].dtype == torch.float16


def test_notes_in_the_header_are_those_of_the_file(taming: tuple[Tensors, Path], tmp_path: Path) -> None:
    from safetensors import safe_open

    tensors, folder = taming
    (folder / "last.ckpt").unlink()
    save_file(tensors, folder / "model.safetensors")
    with safe_open(export(folder, tmp_path / "export") / "model.safetensors", framework="pt") as file:
        assert not file.metadata()


def test_a_model_without_attention_has_none(tmp_path: Path) -> None:
    sizes = Sizes(attn_resolutions=(8,))
    tensors, folder = write_taming(tmp_path / "taming", sizes)
    path = folder / "model.yaml"
    path.write_text(path.read_text().replace("dropout: 0.0", "attn_type: none"))
    torch.save({name: tensor for name, tensor in tensors.items() if "attn" not in name}, folder / "last.ckpt")
    assert not any("attn" in name for name in load(folder).module.state_dict())
