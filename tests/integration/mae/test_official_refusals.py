"""Checkpoints of the authors' kind that cannot be used are refused, with a message that says why; none of them runs."""

from __future__ import annotations

import argparse
import json
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from compliance_unlearn.api import ModelError
from compliance_unlearn.testing.adapter import Trap

from .official import Sizes, random_state
from .test_official_layout import SIZES, folder_with, load


def refuse(folder: Path, match: str) -> None:
    with pytest.raises(ModelError, match=match) as caught:
        load(folder)
    assert "raised" not in str(caught.value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return folder_with(tmp_path / "mae", random_state(SIZES))


def change(folder: Path, **changes: Any) -> None:
    """Other tensors in the checkpoint; None takes one away."""
    tensors = {**random_state(SIZES), **changes}
    torch.save({"model": {name: tensor for name, tensor in tensors.items() if tensor is not None}}, folder / "mae.pth")


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_an_encoder_alone_makes_no_images(kind: str, folder: Path) -> None:
    state = {name: tensor for name, tensor in random_state(SIZES).items() if not name.startswith(("decoder", "mask"))}
    if kind == "pth":
        torch.save({"model": state}, folder / "mae.pth")
    else:
        (folder / "mae.pth").unlink()
        save_file(state, folder / "model.safetensors")
    refuse(folder, "encoder alone.*mae_visualize")


def test_one_folder_holds_one_model(folder: Path) -> None:
    torch.save({"model": random_state(SIZES)}, folder / "other.pth")
    refuse(folder, r"mae\.pth, other\.pth.*Leave one")
    (folder / "other.pth").unlink()
    save_file(random_state(SIZES), folder / "model.safetensors")
    refuse(folder, r"mae\.pth, model\.safetensors.*Leave one")


@pytest.mark.parametrize("place", ["alone", "model", "args", "argument"])
def test_an_unsafe_pickle_does_not_run(place: str, folder: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    path, state = folder / "mae.pth", random_state(SIZES)
    if place == "alone":
        path.write_bytes(pickle.dumps(Trap(trap)))
    elif place == "model":
        torch.save({"model": {**state, "head": Trap(trap)}}, path)
    elif place == "args":
        torch.save({"model": state, "args": Trap(trap)}, path)
    else:
        torch.save({"model": state, "args": argparse.Namespace(norm_pix_loss=Trap(trap))}, path)
    refuse(folder, r"could run code and was not read.*torch\.save")
    assert not trap.exists()


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.5, 0.999])
def test_a_truncated_checkpoint_is_called_so(kept: float, folder: Path) -> None:
    path = folder / "mae.pth"
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    refuse(folder, "truncated|damaged")


@pytest.mark.parametrize("content", [[1], {"state_dict": {}}, {"model": [1]}, {"model": {"cls_token": 1}}])
def test_tensors_are_expected_under_model(content: object, folder: Path) -> None:
    torch.save(content, folder / "mae.pth")
    refuse(folder, 'no dictionary of tensors under "model"')


def test_another_family_is_told_by_its_tensors(folder: Path) -> None:
    torch.save({"model": {"conv1.weight": torch.ones(8, 3, 7, 7)}}, folder / "mae.pth")
    refuse(folder, r"no masked autoencoder.*patch_embed\.proj\.weight")


def test_channel_counts_show_both_sides(folder: Path) -> None:
    grey = random_state(Sizes(channels=1))
    change(folder, **{name: grey[name] for name in ("decoder_pred.weight", "decoder_pred.bias")})
    refuse(folder, r"2 tensors have another shape, first decoder_pred\.bias: \[36\] in the file, \[108\] in the model")
    folder_with(folder, random_state(SIZES), mean=[0.5], std=[0.5])
    refuse(folder, "mean has 1 figures and std 1, the weights take images of 3 channels")


def test_missing_and_unexpected_tensors_carry_the_names_of_the_file(folder: Path) -> None:
    change(folder, **{"blocks.1.attn.qkv.bias": None, "head.weight": torch.ones(2)})
    refuse(folder, r"1 tensors are missing, first blocks\.1\.attn\.qkv\.bias; 1 tensors do not belong.*head\.weight")


@pytest.mark.parametrize(
    ("tensor", "shape", "match"),
    [
        ("pos_embed", (1, 16, 32), "15 of them; .*square"),
        ("patch_embed.proj.weight", (32, 3, 6, 5), "6 by 5 pixels.*square"),
        ("patch_embed.proj.weight", (32, 108), "2 dimensions, that of a masked autoencoder 4"),
        ("pos_embed", (1, 1, 32), "empty"),
    ],
)
def test_impossible_shapes_are_refused(tensor: str, shape: tuple[int, ...], match: str, folder: Path) -> None:
    change(folder, **{tensor: torch.ones(shape)})
    refuse(folder, match)


def test_numbers_must_be_finite(folder: Path) -> None:
    change(folder, **{"norm.bias": torch.full((32,), float("nan"))})
    refuse(folder, r"tensor norm\.bias holds something else than finite numbers")


@pytest.mark.parametrize(
    ("config", "match"),
    [
        ({"decoder_heads": 2}, "heads: Field required; .* shapes of the tensors do not show"),
        ({"heads": 5, "decoder_heads": 2}, "5 and 2 heads do not divide .* 32 and 24"),
        ({"heads": 4, "decoder_heads": 2, "head": 4}, "head: Extra inputs are not permitted"),
        ({"heads": 4, "decoder_heads": 2, "std": [0.1, 0.1, 0]}, r"std\.2: .*greater than 0"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(config: dict[str, Any], match: str, folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps(config))
    refuse(folder, match)


def test_a_model_that_is_not_rgb_says_how_it_is_normalised(tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "grey", random_state(Sizes(channels=1)))
    refuse(folder, "mean: Field required; std: Field required")
    folder_with(folder, random_state(Sizes(channels=1)), mean=[0.4], std=[0.2])
    assert load(folder).statistics.mean == (0.4,)


def test_empty_tables_are_warned_of_by_the_name_in_the_file(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    change(folder, pos_embed=torch.zeros(1, 17, 32))
    load(folder)
    assert re.search(r"mae\.pth: pos_embed is all zeros", caplog.text)
