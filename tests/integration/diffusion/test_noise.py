"""Where randomness and pictures enter, and where they must not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from compliance_unlearn.api import Inpaint, SuperResolve, Task, Views
from tests.integration.diffusion.small_models import adapter_for, pictures, seeded

TASKS = pytest.mark.parametrize("task", [Inpaint(), SuperResolve(factor=2)], ids=["inpaint", "super-resolve"])
ROLES = pytest.mark.parametrize("role", ["degrade", "training_view"])


@pytest.fixture(params=["diffusers", "palette"])
def folder(request: pytest.FixtureRequest, saved: tuple[Any, Path], released: Path) -> Path:
    """A model of each layout."""
    return saved[1] if request.param == "diffusers" else released


@TASKS
@ROLES
def test_with_a_noise_image_all_that_the_encoder_sees_is_noise(folder: Path, task: Task, role: str) -> None:
    adapter, noise = adapter_for(folder, task), torch.randn(2, 1, 16, 16, generator=seeded(2))
    views = adapter.views(2, seeded(1))
    before = adapter.encode(getattr(adapter, role)(noise, views))
    adapter.encode(getattr(adapter, role)(pictures(2), views))
    adapter.reconstruct(adapter.degrade(pictures(2), views))
    adapter.training_loss(pictures(2), seeded(1))
    inputs = getattr(adapter, role)(noise, views)
    assert _same(before, adapter.encode(inputs))
    # Beside the mask, what the network is given is T(noise) and the noise of the view: of neither is a picture part.
    seen = adapter._model.joined(inputs.inputs)
    still = adapter._model.joined(getattr(adapter, role)(torch.zeros_like(noise), views).inputs)
    double = adapter._model.joined(getattr(adapter, role)(2 * noise, views).inputs)
    torch.testing.assert_close(double - seen, seen - still, rtol=0, atol=1e-4)


@TASKS
def test_no_result_depends_on_the_rest_of_the_batch(folder: Path, task: Task) -> None:
    adapter, images = adapter_for(folder, task), pictures(4)
    views = adapter.views(4, seeded(1))
    alone, order = slice(2, 3), torch.tensor([3, 2, 1, 0])
    with torch.no_grad():
        together = adapter.reconstruct(adapter.degrade(images, views)).images
        single = adapter.reconstruct(adapter.degrade(images[alone], views[alone])).images
        turned = adapter.reconstruct(adapter.degrade(images[order], views[order])).images
        seen = adapter._model.joined(adapter.training_view(images, views).inputs)
        seen_alone = adapter._model.joined(adapter.training_view(images[alone], views[alone]).inputs)
    torch.testing.assert_close(single, together[alone], rtol=0, atol=1e-5)
    torch.testing.assert_close(turned, together[order], rtol=0, atol=1e-5)
    assert torch.equal(seen_alone, seen[alone])


def test_the_seed_decides_what_is_made(folder: Path) -> None:
    adapter = adapter_for(folder)
    image, views = pictures(1).expand(2, -1, -1, -1), adapter.views(2, seeded(1))
    with torch.no_grad():
        made = adapter.reconstruct(adapter.degrade(image, views)).images
        same = adapter.reconstruct(adapter.degrade(image, Views(views.hidden, views.seeds[[1, 1]]))).images
    assert not torch.equal(made[0], made[1])
    torch.testing.assert_close(same[0], same[1], rtol=0, atol=1e-5)


def test_measured_views_hold_no_hidden_pixel_and_training_views_do(folder: Path) -> None:
    adapter, images = adapter_for(folder), pictures(2)
    views = adapter.views(2, seeded(1))
    other = torch.where(views.hidden, 1 - images, images)
    joined = adapter._model.joined
    assert torch.equal(*(joined(adapter.degrade(some, views).inputs) for some in (images, other)))
    assert not torch.equal(*(joined(adapter.training_view(some, views).inputs) for some in (images, other)))


def test_sampling_begins_with_noise_and_the_last_time_of_the_schedule(folder: Path) -> None:
    adapter = adapter_for(folder)
    views = adapter.views(2, seeded(1))
    inputs = adapter.degrade(pictures(2), views).inputs
    assert set(inputs.times.steps.tolist()) == {len(adapter._model.schedule.levels) - 1}
    hidden = views.hidden
    assert torch.equal(inputs.noised[hidden], inputs.noise[hidden])


@TASKS
def test_more_steps_come_from_the_same_noise(folder: Path, task: Task) -> None:
    image, made = pictures(1), []
    for sampler in ("ddim", "dpm-solver"):
        adapter = adapter_for(folder, task, sampler=sampler, sampling_steps=4)
        views = adapter.views(1, seeded(1))
        with torch.no_grad():
            made.append(adapter.reconstruct(adapter.degrade(image, views)))
    assert not torch.equal(made[0].images, made[1].images)
    for result in made:
        shown = ~result.generated
        torch.testing.assert_close(result.images[shown], image[shown])


def test_the_embedding_of_time_is_not_the_encoders(folder: Path) -> None:
    adapter = adapter_for(folder)
    encoder = adapter.encoder_parameters()
    shared = [name for name, _ in adapter.module.named_parameters() if "time_embedding" in name or "cond_embed" in name]
    assert shared
    assert not set(shared) & set(encoder)
    inputs = adapter.training_view(pictures(2), adapter.views(2, seeded(1)))
    torch.stack([part.pow(3).sum() for part in adapter.encode(inputs)]).sum().backward()  # type: ignore[no-untyped-call]
    assert all(adapter.module.get_parameter(name).grad is None for name in shared)
    assert all(parameter.grad is not None for parameter in encoder.values())


def test_base_training_reaches_every_tensor(folder: Path) -> None:
    adapter = adapter_for(folder)
    adapter.training_loss(pictures(2), seeded(1)).backward()  # type: ignore[no-untyped-call]
    assert all(parameter.grad is not None for parameter in adapter.training_parameters().values())


def _same(first: tuple[torch.Tensor, ...], second: tuple[torch.Tensor, ...]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
