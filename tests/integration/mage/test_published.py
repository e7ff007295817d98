"""The adapter computes what the authors published, from the tensors that they published, and gives those back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from cu_vqgan.mage.adapter import MageAdapter
from cu_vqgan.mage.layout import MageConfig
from cu_vqgan.mage.params import MageParams
from safetensors.torch import load_file

from compliance_unlearn.api import Degraded, Inpaint, RandomMask, Task, Views

from . import published
from .published import CELL, GRID, SIZE, published_tensors

CPU = torch.device("cpu")
README = Path(__file__).parents[3] / "plugins" / "vqgan" / "README.md"
TASKS = (Inpaint(), RandomMask(ratio=0.4))


def loaded(folder: Path, task: Task, **params: float) -> MageAdapter:
    return MageAdapter(MageParams(**params), task).load(folder, CPU)


def seen(adapter: MageAdapter, images: torch.Tensor) -> tuple[Degraded, torch.Tensor, torch.Tensor]:
    """T(x), the image with black in place of hidden pixels, and the hidden tokens, ``[n, 16]``."""
    views = adapter.views(len(images), torch.Generator().manual_seed(2))
    black = images.masked_fill(views.hidden, 0.0)
    return adapter.degrade(images, views), black, views.hidden[:, 0, ::CELL, ::CELL].flatten(1)


@pytest.mark.parametrize("task", TASKS, ids=[task.kind for task in TASKS])
@torch.no_grad()
def test_encoder_and_decoder_compute_what_is_published(checkpoint: Path, faces: torch.Tensor, task: Task) -> None:
    adapter, tensors = loaded(checkpoint, task), published_tensors()
    degraded, black, hidden = seen(adapter, faces)
    ids = published.tokens(tensors, black)
    assert len(set(ids.flatten().tolist())) > 4
    assert torch.equal(degraded.inputs.ids, ids)

    expected = published.encoded(tensors, ids, hidden)
    (features,) = adapter.encode(degraded)
    kept = torch.cat([torch.ones(len(faces), 1, dtype=torch.bool), ~hidden], dim=1)
    torch.testing.assert_close(features.flatten(0, 1), expected[kept], atol=1e-4, rtol=1e-4)

    logits = published.predicted(tensors, expected, hidden)
    made = adapter.module.decode(features, hidden)
    torch.testing.assert_close(made.flatten(0, 1), logits[hidden], atol=1e-4, rtol=1e-4)

    codebook = tensors["vqgan.quantize.embedding.weight"]
    codes = torch.where(hidden[..., None], logits.softmax(dim=2) @ codebook, codebook[ids])
    unseen = hidden.view(-1, 1, GRID, GRID).repeat_interleave(CELL, dim=2).repeat_interleave(CELL, dim=3)
    whole = torch.where(unseen, published.pictures(tensors, codes), faces)
    torch.testing.assert_close(adapter.decode(degraded, (features,)), whole, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_one_round_of_generation_takes_the_likeliest_codes(checkpoint: Path, faces: torch.Tensor) -> None:
    adapter, tensors = loaded(checkpoint, Inpaint(), steps=1), published_tensors()
    degraded, black, hidden = seen(adapter, faces)
    ids = published.tokens(tensors, black)
    likeliest = published.predicted(tensors, published.encoded(tensors, ids, hidden), hidden).argmax(dim=2)
    codes = tensors["vqgan.quantize.embedding.weight"][torch.where(hidden, likeliest, ids)]
    whole = torch.where(degraded.hidden, published.pictures(tensors, codes), faces).clamp(0.0, 1.0)
    torch.testing.assert_close(adapter.reconstruct(degraded).images, whole, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_the_surest_tokens_are_filled_in_first(checkpoint: Path, faces: torch.Tensor) -> None:
    adapter, tensors = loaded(checkpoint, RandomMask(ratio=0.5), steps=2), published_tensors()
    degraded, black, hidden = seen(adapter, faces)
    ids = published.tokens(tensors, black)
    logits = published.predicted(tensors, published.encoded(tensors, ids, hidden), hidden)
    sure, likeliest = logits.log_softmax(dim=2).max(dim=2)
    # cos(π/4) of 8 hidden tokens are 5: the three surest stay.
    order = sure.masked_fill(~hidden, -torch.inf).argsort(dim=1, descending=True)
    first = torch.zeros_like(hidden).scatter(1, order[:, :3], True)
    ids, left = torch.where(first, likeliest, ids), hidden & ~first
    last = published.predicted(tensors, published.encoded(tensors, ids, left), left).argmax(dim=2)
    codes = tensors["vqgan.quantize.embedding.weight"][torch.where(left, last, ids)]
    whole = torch.where(degraded.hidden, published.pictures(tensors, codes), faces).clamp(0.0, 1.0)
    torch.testing.assert_close(adapter.reconstruct(degraded).images, whole, atol=1e-4, rtol=1e-4)


def test_the_training_loss_is_the_smoothed_cross_entropy_of_hidden_tokens(
    checkpoint: Path, faces: torch.Tensor
) -> None:
    adapter, tensors = loaded(checkpoint, RandomMask(ratio=1 / (GRID * GRID))), published_tensors()
    # With a single hidden token nothing is left to reveal, so the loss has only one meaning.
    generator = torch.Generator().manual_seed(2)
    views = adapter.views(len(faces), torch.Generator().manual_seed(2))
    hidden = views.hidden[:, 0, ::CELL, ::CELL].flatten(1)
    ids = published.tokens(tensors, faces.masked_fill(views.hidden, 0.0))
    wanted = published.tokens(tensors, faces)[hidden]
    logits = published.predicted(tensors, published.encoded(tensors, ids, hidden), hidden)[hidden]
    surprise = -logits.log_softmax(dim=1)
    expected = 0.9 * surprise.gather(1, wanted[:, None]).mean() + 0.1 * surprise.mean()
    torch.testing.assert_close(adapter.training_loss(faces, generator), expected, atol=1e-4, rtol=1e-4)


def test_an_export_holds_the_same_names_shapes_types_and_bits(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = published_tensors()
    stored["norm.weight"] = stored["norm.weight"].half()
    torch.save({"model": stored}, checkpoint / "checkpoint-last.pth")
    exported = tmp_path / "exported"
    exported.mkdir()
    loaded(checkpoint, Inpaint()).export(exported)
    found = load_file(exported / "model.safetensors")
    assert found.keys() == stored.keys()
    assert all(found[name].dtype == stored[name].dtype and torch.equal(found[name], stored[name]) for name in stored)
    assert {path.name for path in exported.iterdir()} == {"model.safetensors", "config.json"}
    again = loaded(exported, Inpaint())
    assert all(torch.equal(tensor, stored[name].to(tensor)) for name, tensor in again.module.state_dict().items())

    snippet = README.read_text().split("## `mage`")[1].split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(exported)
    exec(snippet, {})
    back = torch.load(exported / "mage.pth", weights_only=True)["model"]
    assert back.keys() == stored.keys()
    assert all(back[name].dtype == stored[name].dtype and torch.equal(back[name], stored[name]) for name in stored)


def test_the_page_names_every_key_and_every_parameter() -> None:
    page = README.read_text().split("## `mage`")[1]
    assert [key for key in (*MageConfig.model_fields, *MageParams.model_fields) if f"`{key}`" not in page] == []


@pytest.mark.parametrize(("width", "heads"), [(768, [12, 16]), (1024, [16, 16])])
def test_the_published_sizes_need_no_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int, heads: list[int]
) -> None:
    monkeypatch.setattr(published, "WIDTH", width)
    monkeypatch.setattr(published, "DECODER_WIDTH", width)
    monkeypatch.setattr(published, "LAYERS", 1)
    monkeypatch.setattr(published, "DECODER_LAYERS", 1)
    torch.save({"model": published_tensors()}, tmp_path / "mage-vit.pth")
    adapter = loaded(tmp_path, Inpaint())
    exported = tmp_path / "exported"
    exported.mkdir()
    adapter.export(exported)
    config = json.loads((exported / "config.json").read_text())
    assert [config["heads"], config["decoder_heads"]] == heads
    # The authors feed pixels in [0, 1] as they are.
    assert (config["mean"], config["std"]) == ([0.0] * 3, [1.0] * 3)
    assert (adapter.image_shape.height, adapter.cell) == (SIZE, CELL)


@torch.no_grad()
def test_drawn_codes_follow_the_seeds_of_the_views_alone(checkpoint: Path, faces: torch.Tensor) -> None:
    adapter = loaded(checkpoint, Inpaint(area=0.6), steps=3, temperature=6.0)
    views = adapter.views(len(faces), torch.Generator().manual_seed(2))
    first = adapter.reconstruct(adapter.degrade(faces, views)).images
    alone = adapter.reconstruct(adapter.degrade(faces[3:4], views[3:4])).images
    torch.testing.assert_close(first[3:4], alone)
    other = adapter.reconstruct(adapter.degrade(faces, Views(views.hidden, views.seeds + 1))).images
    hidden = views.hidden.expand_as(faces)
    assert not torch.allclose(first[hidden], other[hidden])
    assert torch.equal(first[~hidden], other[~hidden])
