"""Base training teaches tokeniser and encoder at once; afterwards the tokeniser stays as it is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from cu_vqgan.mage.adapter import MageAdapter
from cu_vqgan.mage.params import MageArchitecture, MageParams
from cu_vqgan.mage.tokens import tokenise
from cu_vqgan.mage.training import reveal

from compliance_unlearn.api import Inpaint, PixelStatistics, RandomMask

CPU = torch.device("cpu")
SMALL = MageArchitecture(
    image_size=16,
    channels=3,
    tokeniser_widths=(32, 32, 32),
    codes=16,
    code_width=4,
    width=16,
    layers=1,
    decoder_width=16,
    decoder_layers=1,
)


def made(**params: float) -> MageAdapter:
    statistics = PixelStatistics((0.4,) * 3, (0.2,) * 3)
    adapter = MageAdapter(MageParams(architecture=SMALL, **params), RandomMask(ratio=0.5))
    return adapter.create(statistics, torch.Generator().manual_seed(0), CPU)


def trained(adapter: MageAdapter, faces: torch.Tensor, steps: int) -> list[float]:
    """Losses of a few steps on the same views."""
    optimiser = torch.optim.AdamW(adapter.training_parameters().values(), lr=3e-3)
    losses = []
    for _ in range(steps):
        optimiser.zero_grad()
        loss = adapter.training_loss(faces, torch.Generator().manual_seed(1))
        loss.backward()  # type: ignore[no-untyped-call]  # torch's
        optimiser.step()
        losses.append(loss.item())
    return losses


def test_tokeniser_and_encoder_learn_together(faces: torch.Tensor) -> None:
    adapter = made(adversarial=0.0, perceptual=0.0)
    before = {name: tensor.clone() for name, tensor in adapter.module.state_dict().items()}
    losses = trained(adapter, faces, steps=12)
    assert losses[-1] < 0.8 * losses[0]
    moved = {name for name, tensor in adapter.module.state_dict().items() if not torch.equal(before[name], tensor)}
    learnt = {name for name, parameter in adapter.module.named_parameters() if parameter.requires_grad}
    assert moved == learnt
    assert {"vqgan.quantize.embedding.weight", "token_emb.word_embeddings.weight"} < learnt


def test_the_discriminator_is_trained_beside_the_model_and_never_stored(faces: torch.Tensor) -> None:
    adapter = made(perceptual=0.0)
    beside = {name for name in adapter.training_parameters() if name.startswith("discriminator.")}
    assert beside
    assert not any("discriminator" in name for name in adapter.module.state_dict())
    adapter.training_loss(faces, torch.Generator().manual_seed(1)).backward()  # type: ignore[no-untyped-call]
    assert all(adapter.training_parameters()[name].grad is not None for name in beside)
    assert not made(adversarial=0.0)._training_networks()


def test_codes_of_a_new_tokeniser_lie_where_pictures_are(faces: torch.Tensor) -> None:
    adapter = made()
    ids = tokenise(adapter.module.vqgan, 2.0 * faces - 1.0)
    assert len(set(ids.flatten().tolist())) >= SMALL.codes // 2


def test_a_loaded_model_learns_tokens_alone(checkpoint: Path, faces: torch.Tensor) -> None:
    adapter = MageAdapter(MageParams(), RandomMask(ratio=0.5)).load(checkpoint, CPU)
    adapter.training_loss(faces, torch.Generator().manual_seed(1)).backward()  # type: ignore[no-untyped-call]
    reached = {name.split(".")[0] for name, part in adapter.module.named_parameters() if part.grad is not None}
    assert {"blocks", "norm", "token_emb", "decoder_embed", "decoder_blocks", "mlm_layer"} <= reached
    assert "vqgan" not in reached
    assert adapter.module.token_emb.word_embeddings.weight.grad is None


def test_other_targets_are_other_answers(checkpoint: Path, faces: torch.Tensor) -> None:
    adapter = MageAdapter(MageParams(), Inpaint()).load(checkpoint, CPU)
    own, other = (
        adapter.training_loss(faces, torch.Generator().manual_seed(1), targets) for targets in (None, faces.flip(0))
    )
    assert not torch.equal(own, other)


@pytest.mark.parametrize("seed", range(4))
def test_some_of_the_hidden_tokens_are_revealed_with_their_true_ids(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    ids, answers = torch.randint(50, (3, 16), generator=generator), torch.randint(50, (3, 16), generator=generator)
    hidden = torch.zeros(3, 16, dtype=torch.bool).scatter(1, torch.arange(8).expand(3, 8), True)
    seeds = torch.randint(2**62, (3,), generator=generator)
    shown, still = reveal(ids, answers, hidden, seeds)
    assert not (still & ~hidden).any()
    counts = still.sum(dim=1).tolist()
    assert counts[0] >= 1 and len(set(counts)) == 1
    assert torch.equal(shown[~hidden], ids[~hidden])
    assert torch.equal(shown[hidden & ~still], answers[hidden & ~still])
    again = reveal(ids, answers, hidden, seeds)
    assert torch.equal(again[1], still)
