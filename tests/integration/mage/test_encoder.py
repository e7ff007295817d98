"""What the encoder sees, and what belongs to it."""

from __future__ import annotations

from pathlib import Path

import torch
from cu_vqgan.mage.adapter import MageAdapter
from cu_vqgan.mage.params import MageParams

from compliance_unlearn.api import Inpaint, Outpaint

CPU = torch.device("cpu")


def test_only_what_the_encoder_alone_reads_belongs_to_it(checkpoint: Path) -> None:
    adapter = MageAdapter(MageParams(), Inpaint()).load(checkpoint, CPU)
    names = set(adapter.encoder_parameters())
    assert {name.split(".")[0] for name in names} == {"blocks", "norm", "token_emb"}
    assert "token_emb.word_embeddings.weight" not in names
    assert not any(name.startswith(("vqgan.", "decoder", "mlm_layer.", "mask_token")) for name in names)


def test_the_tied_output_head_does_not_move_when_the_encoder_unlearns(checkpoint: Path, faces: torch.Tensor) -> None:
    adapter = MageAdapter(MageParams(), Inpaint()).load(checkpoint, CPU)
    degraded = adapter.degrade(faces, adapter.views(len(faces), torch.Generator().manual_seed(0)))
    teacher = adapter.replica()
    noise = torch.randn(faces.shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        features = adapter.encode(degraded)
        targets = teacher.encode(teacher.degrade(noise, teacher.views(len(faces), torch.Generator().manual_seed(0))))
        images = adapter.decode(degraded, features)
    before = {name: tensor.clone() for name, tensor in adapter.module.state_dict().items()}
    encoder = adapter.encoder_parameters()
    optimiser = torch.optim.AdamW(encoder.values(), lr=1e-2)
    for _ in range(3):
        optimiser.zero_grad()
        (adapter.encode(degraded)[0] - targets[0]).square().mean().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    after = adapter.module.state_dict()
    assert {name for name in before if not torch.equal(before[name], after[name])} == set(encoder)
    with torch.no_grad():
        assert not torch.equal(adapter.encode(degraded)[0], features[0])
        assert torch.equal(adapter.decode(degraded, features), images)


def test_hidden_pixels_are_replaced_before_the_image_is_tokenised(checkpoint: Path, faces: torch.Tensor) -> None:
    adapter = MageAdapter(MageParams(), Outpaint()).load(checkpoint, CPU)
    views = adapter.views(len(faces), torch.Generator().manual_seed(0))
    other = torch.where(views.hidden, faces.flip(0), faces)
    first, second = adapter.degrade(faces, views).inputs, adapter.degrade(other, views).inputs
    assert torch.equal(first.ids, second.ids)
    assert torch.equal(first.shown, second.shown)
    # Tokens of the visible square differ where the tokeniser is shown the pixels around it: the leak is real.
    whole = MageAdapter(MageParams(), Outpaint()).load(checkpoint, CPU)
    seen = [whole._tokens.ids(whole.module.vqgan, batch)[~first.hidden] for batch in (faces, other)]
    assert not torch.equal(*seen)


def test_a_margin_hides_the_tokens_around_the_hidden_pixels_too(checkpoint: Path, faces: torch.Tensor) -> None:
    adapter = MageAdapter(MageParams(margin=1), Outpaint(area=0.4)).load(checkpoint, CPU)
    degraded = adapter.degrade(faces, adapter.views(len(faces), torch.Generator().manual_seed(0)))
    # Three by three of the four by four tokens are shown; two by two of them touch no hidden one.
    assert int((~degraded.hidden[0]).sum()) == 12 * 12
    seen = torch.zeros(4, 4, dtype=torch.bool)
    seen[:2, :2] = True
    assert torch.equal(~degraded.inputs.hidden[0].view(4, 4), seen)
    with torch.no_grad():
        made = adapter.reconstruct(degraded)
    assert torch.equal(made.generated, degraded.hidden)
    shown = ~degraded.hidden.expand_as(faces)
    assert torch.equal(made.images[shown], faces[shown])


def test_features_are_the_class_token_and_the_visible_tokens(checkpoint: Path, faces: torch.Tensor) -> None:
    adapter = MageAdapter(MageParams(), Inpaint()).load(checkpoint, CPU)
    degraded = adapter.degrade(faces, adapter.views(len(faces), torch.Generator().manual_seed(0)))
    (features,) = adapter.encode(degraded)
    assert features.shape == (8, 1 + 12, 16)
