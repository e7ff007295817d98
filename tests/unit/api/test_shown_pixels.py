"""T(x) as an image, and views: the same for everybody who asks, whatever the batch."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from cu_echo.adapter import EchoAdapter
from cu_echo.params import EchoAdapterParams

from compliance_unlearn.api import (
    Colourise,
    Inpaint,
    ModelError,
    PixelStatistics,
    SuperResolve,
    Views,
    hidden_pixels,
    seeded_noise,
    seeded_uniform,
    shown_pixels,
)

GREY = torch.tensor([0.5])


def everywhere(count: int, size: int) -> torch.Tensor:
    return torch.ones(count, 1, size, size, dtype=torch.bool)


@pytest.mark.parametrize("task", [SuperResolve(factor=4), Colourise()])
def test_tasks_that_show_the_whole_image_in_a_poorer_form_hide_every_pixel(task: SuperResolve | Colourise) -> None:
    assert torch.equal(hidden_pixels(task, 3, 8, 12, 1, torch.Generator()), torch.ones(3, 1, 8, 12, dtype=torch.bool))


def test_hidden_pixels_are_filled_and_visible_ones_are_not_clipped() -> None:
    images = torch.linspace(-1.0, 2.0, 64).view(1, 1, 8, 8)
    hidden = hidden_pixels(Inpaint(area=0.25), 1, 8, 8, 1, torch.Generator())
    shown = shown_pixels(Inpaint(), images, hidden, GREY)
    assert torch.equal(shown[~hidden], images[~hidden])
    assert (shown[hidden] == 0.5).all()


def test_a_lower_resolution_holds_the_mean_of_each_square_and_nothing_more() -> None:
    images = torch.arange(16.0).view(1, 1, 4, 4)
    shown = shown_pixels(SuperResolve(factor=2), images, everywhere(1, 4), GREY)
    assert shown[0, 0].tolist() == [[2.5, 2.5, 4.5, 4.5]] * 2 + [[10.5, 10.5, 12.5, 12.5]] * 2


def test_a_factor_that_does_not_divide_the_image_is_refused() -> None:
    with pytest.raises(ModelError, match="8 by 8 pixels are no multiple of the factor 3"):
        shown_pixels(SuperResolve(factor=3), torch.rand(1, 1, 8, 8), everywhere(1, 8), GREY)


def test_colours_of_equal_brightness_look_the_same() -> None:
    red, green = torch.zeros(2, 3, 1, 1).unbind()
    red[0], green[1] = 0.587, 0.299
    shown = shown_pixels(Colourise(), torch.stack([red, green]), everywhere(2, 1), torch.zeros(3))
    assert torch.allclose(shown, torch.full((2, 3, 1, 1), 0.299 * 0.587))


def test_grey_images_cannot_be_colourised() -> None:
    with pytest.raises(ModelError, match="the model has 1 channels"):
        shown_pixels(Colourise(), torch.rand(1, 1, 8, 8), everywhere(1, 8), GREY)


@pytest.mark.parametrize("draw", [seeded_noise, seeded_uniform])
def test_what_is_drawn_for_an_image_depends_on_its_seed_and_purpose_alone(draw: Callable[..., torch.Tensor]) -> None:
    seeds = torch.tensor([5, 2**62 - 1, 5, 0])
    before = torch.random.get_rng_state()
    found = draw(seeds, (3, 4))
    assert torch.equal(before, torch.random.get_rng_state())
    assert found.shape == (4, 3, 4)
    assert torch.equal(found[0], found[2])
    assert torch.equal(found[1:2], draw(seeds[1:2], (3, 4)))
    assert not torch.equal(found[0], found[1])
    assert not torch.equal(found, draw(seeds, (3, 4), purpose=1))


def test_noise_is_standard_normal_and_uniform_numbers_fill_the_unit_interval() -> None:
    seeds = torch.arange(400)
    noise, drawn = seeded_noise(seeds, (50,)), seeded_uniform(seeds)
    assert (float(noise.mean()), float(noise.std())) == pytest.approx((0.0, 1.0), abs=0.02)
    assert (float(drawn.min()) >= 0.0, float(drawn.max()) < 1.0) == (True, True)
    assert (float(drawn.mean()), float(drawn.std())) == pytest.approx((0.5, 12**-0.5), abs=0.05)


class Sampling(EchoAdapter):
    """An adapter that says that it draws."""

    samples = True


@pytest.mark.parametrize("kind", [EchoAdapter, Sampling])
def test_seeds_are_drawn_for_families_that_sample_and_for_no_other(kind: type[EchoAdapter]) -> None:
    adapter = kind(EchoAdapterParams(size=8, width=3), Inpaint())
    adapter.create(PixelStatistics((0.5,), (0.25,)), torch.Generator().manual_seed(0), torch.device("cpu"))
    views = adapter.views(40, torch.Generator().manual_seed(1))
    assert len(views) == len(views.hidden) == 40
    assert len(set(views.seeds.tolist())) == (40 if kind.samples else 1)
    both = Views.concatenated([views[:10], views[torch.arange(10, 40)]])
    assert torch.equal(both.hidden, views.hidden)
    assert torch.equal(both.seeds, views.seeds)


def test_views_of_another_number_of_images_are_refused() -> None:
    adapter = EchoAdapter(EchoAdapterParams(size=8, width=3), Inpaint())
    adapter.create(PixelStatistics((0.5,), (0.25,)), torch.Generator().manual_seed(0), torch.device("cpu"))
    views = adapter.views(4, torch.Generator())
    with pytest.raises(ModelError, match="one seed an image"):
        adapter.degrade(torch.rand(4, 1, 8, 8), Views(views.hidden, views.seeds[:3]))
    with pytest.raises(ModelError, match="targets must be like the images"):
        adapter.training_loss(torch.rand(4, 1, 8, 8), torch.Generator(), torch.rand(4, 1, 8, 7))
