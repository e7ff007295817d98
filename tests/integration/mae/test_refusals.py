"""Weights that cannot be used are refused with a message that says what is wrong and what to do."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from cu_mae.adapter import MaeAdapter
from cu_mae.params import MaeParams
from safetensors.torch import load_file, save_file

from compliance_unlearn.api import Inpaint, ModelError, PixelStatistics, Views, WorkspaceError

from .conftest import small_model

CPU = torch.device("cpu")


@pytest.fixture
def folder(saved: tuple[Any, Path]) -> Path:
    return saved[1]


def refuse(folder: Path, match: str) -> None:
    with pytest.raises(ModelError, match=match) as caught:
        MaeAdapter(MaeParams(), Inpaint()).load(folder, CPU)
    assert "raised" not in str(caught.value)


def change_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def change_weights(folder: Path, **changes: Any) -> None:
    path = folder / "model.safetensors"
    tensors = {**load_file(path), **changes}
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, path, {"format": "pt"})


def test_another_model_family_is_named(folder: Path) -> None:
    change_config(folder, model_type="vit")
    refuse(folder, "model of type 'vit', expected a ViT-MAE of transformers")


def test_absent_files_are_named(folder: Path, tmp_path: Path) -> None:
    refuse(tmp_path / "nowhere", "no such folder")
    (folder / "model.safetensors").rename(folder / "old.safetensors")
    refuse(folder, "model.safetensors is absent")
    (folder / "config.json").unlink()
    refuse(folder, "config.json is absent")


def test_a_pickle_is_to_be_converted(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    refuse(folder, r"pickle.*convert them to model\.safetensors")


def test_weights_in_several_files_are_to_be_joined(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    (folder / "model.safetensors.index.json").write_text("{}")
    refuse(folder, "several files")


def test_truncated_weights_are_called_so(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    refuse(folder, "truncated")


@pytest.mark.parametrize("content", ["", "{", "[]", '"vit_mae"'])
def test_a_broken_config_is_called_so(folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content)
    refuse(folder, "JSON")


def test_missing_and_unexpected_tensors_are_counted_and_the_first_is_named(folder: Path) -> None:
    change_weights(
        folder, **{"vit.layernorm.weight": None, "vit.layernorm.bias": None, "classifier.weight": torch.ones(3)}
    )
    refuse(folder, r"2 tensors are missing, first vit\.layernorm\.bias; 1 tensors do not belong.*classifier\.weight")


def test_other_shapes_show_both_sides(folder: Path) -> None:
    change_config(folder, intermediate_size=64)
    refuse(folder, r"6 tensors have another shape, first .*\[48\] in the file, \[64\] in the model")


def test_one_tensor_under_two_names_is_refused(folder: Path) -> None:
    change_weights(folder, **{"vit.layers.0.mlp.fc1.bias": torch.ones(48)})
    refuse(folder, "are the same tensor")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(folder: Path, value: float) -> None:
    change_weights(folder, **{"vit.layernorm.weight": torch.full((32,), value)})
    refuse(folder, r"vit\.layernorm\.weight .*finite")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"image_size": [32, 48]}, "square"),
        ({"image_size": 30}, "not a multiple of patch_size"),
        ({"patch_size": 0}, "patch_size must be a positive"),
        ({"hidden_size": "wide"}, "config.json does not describe a ViT-MAE: .*hidden_size"),
        ({"num_attention_heads": 5}, "multiple of num_attention_heads"),
        ({"hidden_act": "no such function"}, "hidden_act"),
    ],
)
def test_impossible_architectures_are_refused(folder: Path, changes: dict[str, Any], match: str) -> None:
    change_config(folder, **changes)
    refuse(folder, match)


def test_sizes_may_be_pairs_and_defaults_may_be_left_out(folder: Path) -> None:
    change_config(folder, image_size=[32, 32])
    config = json.loads((folder / "config.json").read_text())
    for name in ("layer_norm_eps", "qkv_bias", "mask_ratio"):
        del config[name]
    (folder / "config.json").write_text(json.dumps(config))
    adapter = MaeAdapter(MaeParams(), Inpaint()).load(folder, CPU)
    assert (adapter.image_shape.height, adapter.cell) == (32, 8)


@pytest.mark.parametrize(
    "content", ['{"image_mean": [0.5, 0.5, 0.5], "image_std": [1]}', '{"image_mean": [0.5], "image_std": [0]}', "{}"]
)
def test_statistics_must_fit_the_channels(folder: Path, content: str) -> None:
    (folder / "preprocessor_config.json").write_text(content)
    refuse(folder, "image_(mean|std)")


def test_default_statistics_and_empty_tables_are_warned_of(
    folder: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    change_weights(folder, **{"decoder.decoder_pos_embed": torch.zeros(1, 17, 24)})
    with caplog.at_level(logging.WARNING):
        adapter = MaeAdapter(MaeParams(), Inpaint()).load(folder, CPU)
    assert "decoder_pos_embed is all zeros" in caplog.text
    assert "preprocessor_config.json is absent" in caplog.text
    assert adapter.statistics == PixelStatistics((0.5,), (0.5,))
    small_model(num_channels=3).save_pretrained(tmp_path / "colour")
    colour = MaeAdapter(MaeParams(), Inpaint()).load(tmp_path / "colour", CPU)
    assert colour.statistics.mean == (0.485, 0.456, 0.406)


def test_masks_must_hide_whole_patches_and_as_many_in_each_image(folder: Path) -> None:
    adapter = MaeAdapter(MaeParams(), Inpaint()).load(folder, CPU)
    views = adapter.views(2, torch.Generator())
    uneven = views.hidden.clone()
    uneven[1, :, :8, :8] = True
    with pytest.raises(ModelError, match="same number of patches"):
        adapter.degrade(torch.rand(2, 1, 32, 32), Views(uneven, views.seeds))
    views.hidden[:, :, 0, 0] = True
    with pytest.raises(ModelError, match="whole patches of 8"):
        adapter.degrade(torch.rand(2, 1, 32, 32), views)


def test_a_new_model_needs_statistics_for_its_channels() -> None:
    with pytest.raises(ModelError, match="1 channels, the images have 3"):
        MaeAdapter(MaeParams(), Inpaint()).create(
            PixelStatistics((0.5,) * 3, (0.2,) * 3), torch.Generator().manual_seed(0), CPU
        )


def test_a_model_must_be_loaded_first(tmp_path: Path) -> None:
    adapter = MaeAdapter(MaeParams(), Inpaint())
    with pytest.raises(ModelError, match="no model has been loaded"):
        adapter.export(tmp_path)
    with pytest.raises(ModelError, match="no model has been loaded"):
        _ = adapter.statistics


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_called_so(folder: Path, tmp_path: Path) -> None:
    adapter = MaeAdapter(MaeParams(), Inpaint()).load(folder, CPU)
    export = tmp_path / "export"
    export.mkdir()
    (export / "model.safetensors").symlink_to("/dev/full")
    with pytest.raises(WorkspaceError, match="No space left"):
        adapter.export(export)


@pytest.mark.parametrize(
    "changes", [{"image_size": 60}, {"patch_size": 64}, {"heads": 3}, {"decoder_hidden_size": 6, "decoder_heads": 2}]
)
def test_impossible_parameters_are_refused(changes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be a multiple"):
        MaeParams.model_validate({"architecture": changes})
