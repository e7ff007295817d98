"""Weights that cannot be used are refused with a message that says what is wrong and what to do."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from cu_vqgan.mage.adapter import MageAdapter
from cu_vqgan.mage.params import MageArchitecture, MageParams
from pydantic import ValidationError

from compliance_unlearn.api import Inpaint, ModelError, PixelStatistics, Views, WorkspaceError
from compliance_unlearn.testing.adapter import Trap

from .published import published_tensors

CPU = torch.device("cpu")


def refuse(folder: Path, match: str) -> None:
    with pytest.raises(ModelError, match=match) as caught:
        MageAdapter(MageParams(), Inpaint()).load(folder, CPU)
    assert "raised" not in str(caught.value)


def store(folder: Path, **changes: Any) -> None:
    """The checkpoint with some tensors replaced; None leaves one out. ``_`` stands for a dot in no name."""
    tensors = {**published_tensors(), **changes}
    content = {"model": {name: tensor for name, tensor in tensors.items() if tensor is not None}}
    torch.save(content, folder / "checkpoint-last.pth")


def test_another_family_is_named(checkpoint: Path) -> None:
    torch.save({"model": {"encoder.conv_in.weight": torch.zeros(1)}}, checkpoint / "checkpoint-last.pth")
    refuse(checkpoint, "holds no MAGE.*tensors of the encoder of a plain VQ-GAN")
    torch.save({"model": {"blocks.0.norm1.weight": torch.zeros(1)}}, checkpoint / "checkpoint-last.pth")
    refuse(checkpoint, "holds no MAGE: token_emb.word_embeddings.weight is missing.*another family")
    (checkpoint / "config.json").write_text('{"model_type": "vit_mae", "hidden_size": 3}')
    refuse(checkpoint, "looks like a ViT-MAE of transformers, expected a MAGE")


def test_a_codebook_of_another_size_names_both_sides(checkpoint: Path) -> None:
    store(checkpoint, **{"vqgan.quantize.embedding.weight": torch.zeros(32, 6)})
    refuse(checkpoint, r"has 32 codes .*must have 1033 rows, it has 1025")


def test_a_tensor_of_another_shape_names_both_sides(checkpoint: Path) -> None:
    store(checkpoint, **{"decoder_norm.weight": torch.zeros(13)})
    refuse(checkpoint, r"decoder_norm.weight is \[13\] in the file, \[12\] in a network")
    store(checkpoint, **{"vqgan.decoder.conv_out.weight": torch.zeros(1, 32, 3, 3)})
    refuse(checkpoint, r"vqgan.decoder.conv_out.weight is \[1, 32, 3, 3\] in the file, \[3, 32, 3, 3\]")
    store(checkpoint, **{"token_emb.position_embeddings.weight": torch.zeros(16, 16)})
    refuse(checkpoint, "16 positions are no square")


def test_missing_and_foreign_tensors_are_named(checkpoint: Path) -> None:
    store(checkpoint, **{"blocks.1.attn.qkv.bias": None})
    refuse(checkpoint, "1 tensors are missing, first blocks.1.attn.qkv.bias")
    store(checkpoint, **{"class_emb.weight": torch.zeros(3)})
    refuse(checkpoint, "1 tensors do not belong to a MAGE, first class_emb.weight")
    store(checkpoint, **{name: None for name in published_tensors() if name.startswith("vqgan.")})
    refuse(checkpoint, "the tokeniser .* is missing")


def test_numbers_that_are_not_finite_are_refused(checkpoint: Path) -> None:
    store(checkpoint, **{"norm.bias": torch.full((16,), torch.nan)})
    refuse(checkpoint, "norm.bias holds something else than finite numbers")


def test_an_unsafe_pickle_is_refused_before_it_runs(checkpoint: Path, tmp_path: Path) -> None:
    trap, path = tmp_path / "trap", checkpoint / "checkpoint-last.pth"
    torch.save({"model": published_tensors(), "args": Trap(trap)}, path)
    refuse(checkpoint, "could run code")
    path.write_bytes(pickle.dumps(Trap(trap)))
    refuse(checkpoint, "could run code")
    assert not trap.exists()


def test_a_checkpoint_without_tensors_or_cut_short_is_refused(checkpoint: Path) -> None:
    path = checkpoint / "checkpoint-last.pth"
    path.write_bytes(path.read_bytes()[:1000])
    refuse(checkpoint, "truncated")
    torch.save({"state_dict": published_tensors()}, path)
    refuse(checkpoint, "no tensors under 'model'")


def test_files_are_asked_for_by_name(checkpoint: Path, tmp_path: Path) -> None:
    refuse(tmp_path / "nowhere", "no such folder")
    (checkpoint / "other.pth").write_bytes(b"")
    refuse(checkpoint, "checkpoint-last.pth and other.pth both hold weights")
    (checkpoint / "other.pth").unlink()
    (checkpoint / "checkpoint-last.pth").unlink()
    refuse(checkpoint, "neither model.safetensors nor a file ending in .pth or .ckpt")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"model_type": "mae"}, "looks like a model of type 'mae', expected a MAGE"),
        ({"heads": 5}, "cannot be split into"),
        ({"heads": "many"}, "config.json does not describe a MAGE: heads"),
        ({"mean": [0.5], "std": [0.5]}, "figures for 1 channels, the model has 3"),
        ({"std": [1, 0, 1]}, "std only positive"),
    ],
)
def test_a_configuration_that_does_not_fit_is_named(checkpoint: Path, changes: dict[str, Any], match: str) -> None:
    path = checkpoint / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    refuse(checkpoint, match)


def test_heads_that_nobody_published_are_asked_for(checkpoint: Path) -> None:
    (checkpoint / "config.json").unlink()
    refuse(checkpoint, "width 16 is none of those published .*config.json must name heads")


def test_masks_keep_to_the_grid_of_tokens(checkpoint: Path) -> None:
    adapter = MageAdapter(MageParams(), Inpaint()).load(checkpoint, CPU)
    images, seeds = torch.zeros(2, 3, 16, 16), torch.zeros(2, dtype=torch.long)
    hidden = torch.zeros(2, 1, 16, 16, dtype=torch.bool)
    hidden[:, :, :4, :3] = True
    with pytest.raises(ModelError, match="whole cells of 4 by 4"):
        adapter.degrade(images, Views(hidden, seeds))
    hidden[0, :, :4, 3] = True
    hidden[1] = False
    with pytest.raises(ModelError, match="the same number of tokens"):
        adapter.degrade(images, Views(hidden, seeds))
    hidden[:] = True
    with pytest.raises(ModelError, match="nothing is left to see"):
        adapter.degrade(images, Views(hidden, seeds))


def test_a_new_model_takes_images_of_its_channels() -> None:
    with pytest.raises(ModelError, match="takes 1 channels, the images have 3"):
        MageAdapter(MageParams(), Inpaint()).create(PixelStatistics((0.5,) * 3, (0.5,) * 3), torch.Generator(), CPU)


def test_an_export_that_cannot_be_written_says_where(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="gone: the model cannot be written"):
        MageAdapter(MageParams(), Inpaint()).load(checkpoint, CPU).export(tmp_path / "gone")


@pytest.mark.parametrize(
    "sizes",
    [{"tokeniser_widths": (32, 48)}, {"image_size": 60}, {"image_size": 8}, {"width": 130}, {"decoder_heads": 3}],
)
def test_sizes_that_no_model_can_have_are_refused(sizes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        MageArchitecture(**sizes)


def test_images_too_small_for_the_discriminator_are_refused() -> None:
    small = {"image_size": 8, "tokeniser_widths": [32, 32]}
    with pytest.raises(ValidationError, match="images of 8 pixels are too small for the patch discriminator"):
        MageParams.model_validate({"architecture": small})
    MageParams.model_validate({"architecture": small, "adversarial": 0})
