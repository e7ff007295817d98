"""Weights that cannot be used are refused with a message that says what is wrong and what to do."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from cu_vqgan.adapter import VqganAdapter
from cu_vqgan.discriminator import PatchDiscriminator
from cu_vqgan.params import SMALLEST_JUDGED, VqganParams
from safetensors.torch import load_file, save_file

from compliance_unlearn.api import Colourise, Inpaint, ModelError, PixelStatistics, SuperResolve, Task, WorkspaceError

from .conftest import CPU, load, small_model
from .plain_taming import Sizes, Tensors, random_tensors

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def folder(saved: tuple[Any, Path]) -> Path:
    return saved[1]


def refuse(folder: Path, match: str, task: Task | None = None) -> None:
    with pytest.raises(ModelError, match=match) as caught:
        load(folder, task)
    assert "raised" not in str(caught.value)


def change_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def change_weights(folder: Path, **changes: Any) -> None:
    tensors = {**load_file(folder / WEIGHTS), **changes}
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, folder / WEIGHTS)


def change_yaml(folder: Path, old: str, new: str) -> None:
    path = folder / "model.yaml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


class Trap:
    """Unpickling this makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
        return Path.touch, (self.path,)


# -- files -----------------------------------------------------------------------------------------------------------


def test_absent_files_are_named(folder: Path, tmp_path: Path) -> None:
    refuse(tmp_path / "nowhere", "no such folder")
    (folder / WEIGHTS).rename(folder / "old.safetensors")
    refuse(folder, f"{WEIGHTS} is absent")
    (folder / "config.json").unlink()
    refuse(folder, r"config\.json is absent, and so is the YAML")


def test_absent_files_of_taming_are_named(taming: tuple[Tensors, Path]) -> None:
    _, folder = taming
    (folder / "last.ckpt").unlink()
    refuse(folder, r"model\.safetensors is absent, and so is a checkpoint")


def test_two_candidates_are_both_named(taming: tuple[Tensors, Path]) -> None:
    tensors, folder = taming
    save_file(tensors, folder / "model.safetensors")
    refuse(folder, r"last\.ckpt and model\.safetensors could both be the weights")
    (folder / "other.yml").write_text("a: 1")
    refuse(folder, r"model\.yaml and other\.yml could both describe")


def test_a_pickle_of_diffusers_is_to_be_converted(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "diffusion_pytorch_model.bin")
    refuse(folder, rf"pickle.*convert them to {WEIGHTS}")


def test_weights_in_several_files_are_to_be_joined(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "diffusion_pytorch_model-00001-of-00001.safetensors")
    (folder / f"{WEIGHTS}.index.json").write_text("{}")
    refuse(folder, "several files")


def test_truncated_files_are_called_so(folder: Path, taming: tuple[Tensors, Path]) -> None:
    for path in (folder / WEIGHTS, taming[1] / "last.ckpt"):
        path.write_bytes(path.read_bytes()[:-1000])
        refuse(path.parent, "truncated")


@pytest.mark.parametrize("legacy", [False, True])
def test_a_checkpoint_with_more_than_tensors_is_refused_unread(
    legacy: bool, taming: tuple[Tensors, Path], tmp_path: Path
) -> None:
    _, folder = taming
    trap = tmp_path / "trap"
    content = {"state_dict": {"encoder.conv_in.weight": torch.ones(1)}, "callbacks": Trap(trap)}
    torch.save(content, folder / "last.ckpt", _use_new_zipfile_serialization=not legacy)
    refuse(
        folder,
        r"last\.ckpt: damaged, or a pickle of more than tensors.*save its `state_dict` alone.*model\.safetensors",
    )
    (folder / "last.ckpt").write_bytes(pickle.dumps(content["callbacks"]))
    refuse(folder, "damaged, or a pickle of more than tensors")
    assert not trap.exists()


def test_bytes_that_are_no_checkpoint_are_called_damaged(taming: tuple[Tensors, Path]) -> None:
    (taming[1] / "last.ckpt").write_bytes(Random(0).randbytes(300))
    refuse(taming[1], r"last\.ckpt: damaged, or")


@pytest.mark.parametrize("content", [[torch.ones(1)], {"state_dict": {"epoch": 3}}, {"state_dict": 1}])
def test_a_checkpoint_without_tensors_is_called_so(content: Any, taming: tuple[Tensors, Path]) -> None:
    torch.save(content, taming[1] / "last.ckpt")
    refuse(taming[1], "no `state_dict` of tensors")


@pytest.mark.parametrize("content", ["", "{", "[]", '"VQModel"'])
def test_a_broken_config_is_called_so(folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content)
    refuse(folder, "JSON")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("a: [", "not valid YAML"),
        ("a: 1\na: 2", "not valid YAML"),
        ("- a", "must hold keys and values"),
        ("a: &one [1]\nb: *one", "anchors and aliases"),
        ("a: !!python/object/apply:os.system [ls]", "tags"),
        ("a: 2020-01-01", "JSON has no word for"),
        ("a: .nan", "JSON has no word for"),
        ("# " + 300_000 * "x", "larger than 256 KiB"),
    ],
)
def test_only_plain_yaml_is_read(content: str, match: str, taming: tuple[Tensors, Path]) -> None:
    (taming[1] / "model.yaml").write_text(content)
    refuse(taming[1], match)


# -- another family, size or number of channels ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"_class_name": "AutoencoderKL"}, "looks like an AutoencoderKL of diffusers, expected a VQModel"),
        ({"_class_name": None, "model_type": "vit_mae"}, "looks like a ViT-MAE of transformers, expected a VQModel"),
        ({"_class_name": None}, "config.json: does not say what it describes, expected a VQModel"),
        ({"out_channels": 3}, "takes 1 channels and gives 3"),
        ({"down_block_types": ["DownEncoderBlock2D"]}, "1, 2 and 2 entries"),
        ({"down_block_types": ["DownBlock2D", "DownBlock2D"]}, r"down_block_types\.0: .*DownEncoderBlock2D"),
        ({"block_out_channels": [8, 18]}, "18 channels does not divide into 4 groups"),
        ({"norm_type": "spatial"}, "norm_type: .*'group'"),
        ({"norm_num_groups": 0}, "norm_num_groups: .*greater than or equal to 1"),
        ({"sample_size": 15}, "images of 15 pixels cannot be halved 1 times"),
        ({"sample_size": "large"}, "sample_size: .*integer"),
        ({"num_vq_embeddings": 32}, r"quantize\.embedding\.weight: \[16, 4\] in the file, \[32, 4\] in the model"),
        (
            {"in_channels": 3, "out_channels": 3},
            r"first decoder\.conv_out\.bias: \[1\] in the file, \[3\] in the model",
        ),
        ({"layers_per_block": 2}, "tensors are missing, first decoder"),
    ],
)
def test_what_does_not_fit_names_both_sides(folder: Path, changes: dict[str, Any], match: str) -> None:
    change_config(folder, **changes)
    refuse(folder, match)


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("taming.models.vqgan.VQModel", "taming.models.vqgan.GumbelVQ", "GumbelVQ, expected taming.models.vqgan.VQ"),
        ("    ddconfig:", "    other:", r"model\.params\.ddconfig: Field required"),
        ("double_z: False", "double_z: True", r"model\.params\.ddconfig\.double_z"),
        ("dropout: 0.0", "tanh_out: True", r"model\.params\.ddconfig\.tanh_out"),
        ("dropout: 0.0", "with_a_new_layer: 1", r"model\.params\.ddconfig\.with_a_new_layer"),
        ("ch_mult: [1, 2, 2]", "ch_mult: [2, 2, 2]", "ch_mult begins with 2, expected 1"),
        ("ch: 32", "ch: 16", "16 channels does not divide into 32 groups"),
        ("n_embed: 24", "n_embed: 25", r"quantize\.embedding\.weight: \[24, 5\] in the file, \[25, 5\] in the model"),
        ("in_channels: 3", "in_channels: 1", "takes 1 channels and gives 3"),
        ("model:", "models:", r"model\.params is absent"),
    ],
)
def test_a_configuration_of_taming_that_does_not_fit_is_named(
    old: str, new: str, match: str, taming: tuple[Tensors, Path]
) -> None:
    change_yaml(taming[1], old, new)
    refuse(taming[1], match)


def test_missing_and_unexpected_tensors_are_counted_and_the_first_is_named(folder: Path) -> None:
    change_weights(folder, **{"quant_conv.weight": None, "quant_conv.bias": None, "classifier.weight": torch.ones(3)})
    refuse(folder, r"2 tensors are missing, first quant_conv\.bias; 1 tensors do not belong.*classifier\.weight")


def test_one_tensor_under_two_names_is_refused(folder: Path) -> None:
    change_weights(folder, **{"encoder.mid_block.attentions.0.query.bias": torch.ones(16)})
    refuse(folder, "are the same tensor")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(folder: Path, value: float) -> None:
    change_weights(folder, **{"quant_conv.bias": torch.full((4,), value)})
    refuse(folder, r"quant_conv\.bias .*finite")


def test_weights_of_another_layout_are_refused(taming: tuple[Tensors, Path]) -> None:
    _, folder = taming
    (folder / "last.ckpt").unlink()
    save_file(random_tensors(Sizes(num_res_blocks=1)), folder / "model.safetensors")
    refuse(folder, "are missing, first decoder")


# -- tasks, parameters and the rest ----------------------------------------------------------------------------------


def test_a_task_that_the_images_do_not_have_lists_others(folder: Path) -> None:
    others = r"tasks for such images: inpaint, outpaint, random-mask, super-resolve \(factor 2, 4, 8, 16\)$"
    refuse(folder, f"the model has 1 channels; .*{others}", Colourise())
    refuse(folder, f"16 by 16 pixels are no multiple of the factor 3; {others}", SuperResolve(factor=3))


def test_a_new_model_needs_statistics_for_its_channels() -> None:
    with pytest.raises(ModelError, match="1 channels, the images have 3"):
        VqganAdapter(VqganParams(), Inpaint()).create(PixelStatistics((0.5,) * 3, (0.2,) * 3), torch.Generator(), CPU)


def test_a_model_must_be_loaded_first(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model has been loaded"):
        VqganAdapter(VqganParams(), Inpaint()).export(tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_called_so(folder: Path, tmp_path: Path) -> None:
    export = tmp_path / "export"
    export.mkdir()
    (export / WEIGHTS).symlink_to("/dev/full")
    with pytest.raises(WorkspaceError, match="No space left"):
        load(folder).export(export)


@pytest.mark.parametrize(
    "changes", [{"image_size": 62}, {"block_out_channels": [24, 64]}, {"norm_groups": 7}, {"block_out_channels": [0]}]
)
def test_impossible_parameters_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be a multiple"):
        VqganParams.model_validate({"architecture": changes})


def test_images_too_small_for_the_discriminator_are_refused() -> None:
    with pytest.raises(ValueError, match=r"images of 8 pixels are too small for the patch discriminator.*takes 12 or"):
        VqganParams.model_validate({"architecture": {"image_size": 8}})
    VqganParams.model_validate({"architecture": {"image_size": 8}, "adversarial": 0})
    VqganParams.model_validate({"architecture": {"image_size": SMALLEST_JUDGED}})
    discriminator = PatchDiscriminator(1)
    assert discriminator(torch.zeros(2, 1, SMALLEST_JUDGED, SMALLEST_JUDGED)).numel() == 2
    with pytest.raises(RuntimeError):
        discriminator(torch.zeros(2, 1, SMALLEST_JUDGED - 1, SMALLEST_JUDGED - 1))


def test_the_small_model_is_accepted_as_it_is(tmp_path: Path) -> None:
    small_model().save_pretrained(tmp_path)
    assert load(tmp_path).image_shape.height == 16
