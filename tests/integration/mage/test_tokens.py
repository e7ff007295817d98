"""Tokens are computed once for each image, and never from weights that have changed since."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from cu_vqgan.mage.adapter import MageAdapter
from cu_vqgan.mage.params import MageParams
from cu_vqgan.mage.tokens import TokenCache, tokenise

from compliance_unlearn.api import Inpaint, RandomMask

CPU = torch.device("cpu")


@pytest.fixture
def adapter(checkpoint: Path) -> MageAdapter:
    return MageAdapter(MageParams(), Inpaint()).load(checkpoint, CPU)


def counted(adapter: MageAdapter) -> list[int]:
    """Grows by the number of images whenever the tokeniser's encoder runs."""
    runs: list[int] = []
    adapter.module.vqgan.encoder.register_forward_hook(lambda _module, inputs, _made: runs.append(len(inputs[0])))
    return runs


def test_an_image_that_was_met_before_is_not_tokenised_again(adapter: MageAdapter, faces: torch.Tensor) -> None:
    runs = counted(adapter)
    views = adapter.views(len(faces), torch.Generator().manual_seed(0))
    first = adapter.degrade(faces, views)
    assert sum(runs) == len(faces)
    second = adapter.degrade(faces.flip(0), views)
    adapter.reconstruct(second)
    adapter.decode(second, adapter.encode(second))
    assert sum(runs) == len(faces)
    assert torch.equal(second.inputs.ids, first.inputs.ids.flip(0))


def test_another_mask_of_the_same_image_is_another_image(checkpoint: Path, faces: torch.Tensor) -> None:
    adapter = MageAdapter(MageParams(), RandomMask(ratio=0.5)).load(checkpoint, CPU)
    runs = counted(adapter)
    for seed in (0, 1, 0):
        adapter.degrade(faces, adapter.views(len(faces), torch.Generator().manual_seed(seed)))
    assert sum(runs) == 2 * len(faces)


def test_ids_depend_neither_on_the_batch_nor_on_precision(adapter: MageAdapter, faces: torch.Tensor) -> None:
    views = adapter.views(len(faces), torch.Generator().manual_seed(0))
    together = adapter.degrade(faces, views).inputs.ids
    alone = adapter.replica()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        single = [alone.degrade(faces[i : i + 1], views[i : i + 1]).inputs.ids for i in range(len(faces))]
    assert torch.equal(together, torch.cat(single))


def test_new_weights_make_the_cache_forget(adapter: MageAdapter, faces: torch.Tensor) -> None:
    tokeniser, cache = adapter.module.vqgan, TokenCache()
    before = cache.ids(tokeniser, faces)
    state = tokeniser.state_dict()
    state["quantize.embedding.weight"] = state["quantize.embedding.weight"].flip(0)
    tokeniser.load_state_dict(state)
    assert torch.equal(cache.ids(tokeniser, faces), tokenise(tokeniser, faces))
    assert not torch.equal(cache.ids(tokeniser, faces), before)


def test_a_tokeniser_that_is_trained_is_asked_each_time(adapter: MageAdapter, faces: torch.Tensor) -> None:
    tokeniser, cache = adapter.module.vqgan.requires_grad_(True), TokenCache()
    optimiser = torch.optim.AdamW([tokeniser.codebook], lr=1.0, fused=True)
    cache.ids(tokeniser, faces)
    tokeniser.codebook.square().sum().backward()  # type: ignore[no-untyped-call]  # torch's
    optimiser.step()
    assert torch.equal(cache.ids(tokeniser, faces), tokenise(tokeniser, faces))
    assert len(cache) == 0


def test_the_cache_is_bounded_and_keeps_what_was_used_last(adapter: MageAdapter, faces: torch.Tensor) -> None:
    runs, cache = counted(adapter), TokenCache(capacity=4)
    tokeniser = adapter.module.vqgan
    cache.ids(tokeniser, faces[:4])
    cache.ids(tokeniser, faces[:1])
    cache.ids(tokeniser, faces[4:5])
    assert len(cache) == 4
    del runs[:]
    cache.ids(tokeniser, faces[:1])
    assert not runs
    cache.ids(tokeniser, faces[1:2])
    assert len(runs) == 1


def test_a_copy_of_the_model_begins_with_an_empty_cache(adapter: MageAdapter, faces: torch.Tensor) -> None:
    cache = TokenCache()
    cache.ids(adapter.module.vqgan, faces)
    assert len(copy.deepcopy(cache)) == 0
