"""Artefact: whatever was shipped beside a changed encoder is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from cu_audit.records import CheckResult, Verdict
from cu_standard.checks.artefact import Artefact, identical
from cu_standard.params import NoParams
from safetensors.torch import load_file, save_file

from compliance_unlearn.api import PluginError
from tests.unit.standard.planted import Planted

ENCODER = frozenset({"encoder.weight", "encoder.bias"})
WEIGHTS = "model.safetensors"
Tensors = dict[str, torch.Tensor]


def tensors() -> Tensors:
    generator = torch.Generator().manual_seed(0)
    shapes = {"encoder.weight": (3, 2), "encoder.bias": (3,), "decoder.weight": (2, 3), "decoder.bias": (2,)}
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


@pytest.fixture
def world(tmp_path: Path) -> Planted:
    """An original, and a candidate whose encoder weight moved."""
    for name in ("original", "candidate"):
        folder = tmp_path / name
        folder.mkdir()
        moved = tensors()
        if name == "candidate":
            moved["encoder.weight"] += 0.1
        save_file(moved, folder / WEIGHTS, metadata={"format": "pt"})
        (folder / "config.json").write_text('{"size": 3}')
    return Planted(original=tmp_path / "original", candidate=tmp_path / "candidate", encoder_tensors=ENCODER)


def judged(world: Planted) -> CheckResult:
    (result,) = Artefact(NoParams()).run(world).results
    return result


def test_a_changed_encoder_and_nothing_else_passes(world: Planted) -> None:
    result = judged(world)
    assert (result.verdict, result.value, result.gates, result.sample_size) == (Verdict.PASSED, 0.0, True, 4)
    assert all(control.behaved for control in result.controls)
    assert "all 2 tensors outside of the encoder" in result.reason


def changed(change: Callable[[Tensors], object], **notes: str) -> Callable[[Path], object]:
    """Write the candidate's tensors again with a change."""

    def act(folder: Path) -> None:
        content = load_file(folder / WEIGHTS)
        change(content)
        save_file(content, folder / WEIGHTS, metadata={"format": "pt", **notes})

    return act


def flip_one_bit(content: Tensors) -> None:
    content["decoder.bias"].view(torch.uint8)[-1] ^= 1


def unchange(content: Tensors) -> None:
    content.update(tensors())


def rename(content: Tensors) -> None:
    content["decoder.offset"] = content.pop("decoder.bias")


def teacher(content: Tensors) -> None:
    content["teacher.encoder.weight"] = tensors()["encoder.weight"]


def the_original_beside(folder: Path) -> None:
    """Read first, so that the model's own file overrides every name."""
    save_file(tensors(), folder / "a.safetensors")


def weights_below(folder: Path) -> None:
    (folder / "deep").mkdir()
    save_file(tensors(), folder / "deep" / WEIGHTS)


TAMPERED: dict[str, tuple[Callable[[Path], object], str]] = {
    "one flipped bit of the decoder": (
        changed(flip_one_bit),
        "outside of the encoder changed, the first is decoder.bias",
    ),
    "nothing changed": (changed(unchange), "the encoder did not change"),
    "a renamed tensor": (changed(rename), "2 tensors were added or removed"),
    "a removed tensor": (changed(lambda content: content.pop("decoder.bias")), "1 tensors were added or removed"),
    "the teacher": (changed(teacher), "1 tensors were added or removed"),
    "an encoder of another type": (
        changed(lambda content: content.update({"encoder.weight": content["encoder.weight"].half()})),
        "another type or shape, the first is encoder.weight",
    ),
    "an encoder of another shape": (
        changed(lambda content: content.update({"encoder.weight": content["encoder.weight"].flatten()})),
        "another type or shape",
    ),
    "a negative zero": (changed(lambda content: content["decoder.bias"].mul_(-0.0)), "decoder.bias"),
    "a note in the header": (changed(lambda content: None, author="s17"), "1 notes in the headers"),
    "the original in a second file": (the_original_beside, "4 tensors are shipped twice"),
    "an optimiser": (lambda folder: (folder / "optimizer.pt").write_bytes(b"x"), "optimizer.pt is not part"),
    "a folder": (lambda folder: (folder / "deep").mkdir(), "deep is not part"),
    "weights in a folder": (
        weights_below,
        f"deep/{WEIGHTS} is not part",
    ),
    "another configuration": (lambda folder: (folder / "config.json").write_text("{}"), "config.json differs"),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_what_does_not_belong_there_fails_and_is_named(world: Planted, name: str) -> None:
    act, reason = TAMPERED[name]
    act(world.candidate)
    result = judged(world)
    assert result.verdict is Verdict.FAILED
    assert reason in result.reason
    assert result.value is not None
    assert result.value >= 1


def test_a_note_is_not_quoted(world: Planted) -> None:
    changed(lambda content: None, author="s17")(world.candidate)
    assert "s17" not in judged(world).model_dump_json()


def test_a_model_that_is_all_encoder_cannot_be_tested(world: Planted) -> None:
    assert judged(replace(world, encoder_tensors=frozenset(tensors()))).verdict is Verdict.VOID


def test_a_truncated_file_is_an_error_not_a_pass(world: Planted) -> None:
    path = world.candidate / WEIGHTS
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(PluginError, match=r"Artefact\.run raised"):
        judged(world)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (torch.tensor([torch.nan]), torch.tensor([torch.nan]), True),
        (torch.tensor([0.0]), torch.tensor([-0.0]), False),
        (torch.tensor([1]), torch.tensor([1.0]), False),
        (torch.ones(2, 3), torch.ones(3, 2), False),
        (torch.arange(6).view(2, 3).T, torch.arange(6).view(2, 3).T.contiguous(), True),
        (torch.empty(0), torch.empty(0), True),
        (torch.tensor(1.0), torch.tensor(1.0), True),
        (torch.tensor([True]), torch.tensor([False]), False),
    ],
)
def test_identical_means_every_bit(one: torch.Tensor, other: torch.Tensor, same: bool) -> None:
    assert identical(one, other) is same
