"""Files of models: what fits is read, and what does not is named with both sides."""

from __future__ import annotations

import argparse
import pickle
import warnings
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

from compliance_unlearn.api import ModelError, parse_json, read_json, read_safetensors, require_tensors, weight_bytes
from compliance_unlearn.api.model_files import named_tensors, read_pickle, tensor_names
from compliance_unlearn.testing.adapter import Trap

TENSORS = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(2, dtype=torch.bfloat16)}
SHAPES = {name: tensor.shape for name, tensor in TENSORS.items()}


def test_tensors_come_back_with_their_bits_and_do_not_change_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(weight_bytes({"a": TENSORS["a"].t().contiguous().t(), "b": TENSORS["b"]}))
    found = read_safetensors(path)
    path.write_bytes(b"\0" * path.stat().st_size)
    assert {name: tensor.dtype for name, tensor in found.items()} == {"a": torch.float32, "b": torch.bfloat16}
    assert all(torch.equal(found[name], TENSORS[name]) for name in TENSORS)


def test_equal_tensors_give_equal_bytes_and_notes_stand_in_the_header() -> None:
    assert weight_bytes(TENSORS) == weight_bytes({name: tensor.clone() for name, tensor in TENSORS.items()})
    assert b'"format":"pt"' in weight_bytes(TENSORS)
    assert b"__metadata__" not in weight_bytes(TENSORS, {})


@pytest.mark.parametrize("kept", [0, 7, 60])
def test_a_truncated_file_is_called_so(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(weight_bytes(TENSORS)[:kept])
    with pytest.raises(ModelError, match="truncated, or not a safetensors file"):
        read_safetensors(path)


def test_the_header_alone_gives_the_names(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(weight_bytes(TENSORS))
    assert tensor_names(path) == {"a", "b"}
    path.write_bytes(b"{}")
    with pytest.raises(ModelError, match="truncated, or not a safetensors file"):
        tensor_names(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_gives_tensors_and_the_arguments_of_its_training(zipped: bool, tmp_path: Path) -> None:
    content = {"model": TENSORS, "args": argparse.Namespace(rate=0.1), "epoch": 3}
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    found = read_pickle(tmp_path / "a.pth", "tensors")
    assert (found["args"].rate, found["epoch"]) == (0.1, 3)
    tensors = named_tensors(found, "model")
    assert tensors is not None
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)


@pytest.mark.parametrize("content", [3, [TENSORS], {"model": 3}, {"model": {"a": 3}}, {"state_dict": TENSORS}])
def test_anything_but_tensors_by_name_is_none(content: Any) -> None:
    assert named_tensors(content, "model") is None
    assert named_tensors(content) is None


def test_a_pickle_that_could_run_code_or_is_damaged_is_refused_without_a_warning(tmp_path: Path) -> None:
    path, trap = tmp_path / "a.pth", Trap(tmp_path / "trap")
    contents = [pickle.dumps(trap, protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    for content in (*contents, Random(0).randbytes(300)):
        path.write_bytes(content)
        with warnings.catch_warnings(), pytest.raises(ModelError) as caught:
            warnings.simplefilter("error")
            read_pickle(path, "its tensors")
        assert str(caught.value) == (
            f"{path}: damaged, or a pickle of more than tensors, which could run code and was not read; "
            "whoever trusts it can save its tensors"
        )
    path.write_bytes(b"")
    with pytest.raises(ModelError, match="truncated, unreadable, or not a checkpoint"):
        read_pickle(path, "its tensors")
    assert not trap.path.exists()


def test_tensors_that_are_those_of_the_network_pass() -> None:
    before = {name: tensor.clone() for name, tensor in TENSORS.items()}
    require_tensors(TENSORS, SHAPES, Path("file"), "does not fit")
    assert all(torch.equal(TENSORS[name], before[name]) for name in before)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"c": torch.ones(1)}, r"file does not fit: 1 tensors do not belong to the model, first c"),
        (
            {"a": torch.ones(3, 2)},
            r"1 tensors have another shape, first a: \[3, 2\] in the file, \[2, 3\] in the model",
        ),
        ({"b": torch.tensor([1.0, torch.nan])}, r"file: tensor b holds something else than finite numbers"),
        ({"b": torch.tensor([1, 2])}, r"file: tensor b holds something else than finite numbers"),
    ],
)
def test_what_does_not_fit_names_the_first_and_both_sides(changed: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        require_tensors({**TENSORS, **changed}, SHAPES, Path("file"), "does not fit")


def test_missing_and_unexpected_tensors_are_told_together() -> None:
    with pytest.raises(
        ModelError, match=r"2 tensors are missing, first a; 1 tensors do not belong to the model, first z"
    ):
        require_tensors({"z": torch.ones(1)}, SHAPES, Path("file"), "does not fit")


@pytest.mark.parametrize(
    ("content", "message"), [(b"{", "not valid JSON"), (b"[" * 100_000, "not valid JSON"), (b"[]", "object")]
)
def test_what_is_no_json_object_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ModelError, match=message):
        read_json(tmp_path / "config.json")


def test_a_json_object_is_read() -> None:
    assert parse_json(b'{"a": 1}', Path("file")) == {"a": 1}
