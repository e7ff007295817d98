"""The exported model: the original but for its encoder, nothing beside it, and readable by transformers alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.e2e.conftest import Finished


@pytest.fixture(scope="module")
def original(compliant: Finished) -> Path:
    return compliant.office.root / "models" / "face-mae" / "original"


@pytest.fixture(scope="module")
def candidate(compliant: Finished) -> Path:
    return compliant.office.link.resolve()


def test_only_tensors_of_the_encoder_differ(original: Path, candidate: Path) -> None:
    before, after = (load_file(folder / "model.safetensors") for folder in (original, candidate))
    assert set(before) == set(after)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(name.startswith("vit.") for name in changed)
    assert "vit.embeddings.position_embeddings" not in changed
    encoder = {name for name in before if name.startswith("vit.encoder.")}
    assert encoder <= changed


def test_types_and_bits_outside_of_the_encoder_are_the_same(original: Path, candidate: Path) -> None:
    before, after = (load_file(folder / "model.safetensors") for folder in (original, candidate))
    outside = [name for name in before if not name.startswith("vit.")]
    assert outside
    for name in outside:
        assert before[name].dtype == after[name].dtype
        assert before[name].numpy().tobytes() == after[name].numpy().tobytes()


def test_the_folder_holds_the_model_and_nothing_else(original: Path, candidate: Path) -> None:
    names = {"config.json", "model.safetensors", "preprocessor_config.json"}
    assert {path.name for path in candidate.iterdir()} == names
    for name in names - {"model.safetensors"}:
        assert (candidate / name).read_bytes() == (original / name).read_bytes()


def test_transformers_alone_loads_it(candidate: Path) -> None:
    from transformers.models.vit_mae.modeling_vit_mae import ViTMAEForPreTraining

    model, loading = ViTMAEForPreTraining.from_pretrained(candidate, output_loading_info=True)
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    assert not loading["mismatched_keys"]
    output = model.eval()(torch.zeros(1, 1, 32, 32))
    assert torch.isfinite(output.logits).all()
