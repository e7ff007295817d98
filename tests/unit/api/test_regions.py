"""Only generated pixels are scored."""

from __future__ import annotations

import torch

from compliance_unlearn.api.regions import BLANK, generated_region


def images(count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_of_a_hidden_rectangle_the_rectangle_is_left() -> None:
    mask = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    mask[..., 2:6, 3:7] = True
    assert torch.equal(generated_region(images(), mask), images()[..., 2:6, 3:7])


def test_of_a_picture_that_was_made_anew_everything_is_left() -> None:
    assert torch.equal(generated_region(images(), torch.ones(2, 1, 8, 8, dtype=torch.bool)), images())


def test_given_pixels_inside_of_a_frame_are_grey() -> None:
    mask = torch.ones(2, 1, 8, 8, dtype=torch.bool)
    mask[..., 2:6, 2:6] = False
    region = generated_region(images(), mask)
    assert (region[..., 2:6, 2:6] == BLANK).all()
    assert torch.equal(region[..., :2, :], images()[..., :2, :])


def test_what_was_given_cannot_change_what_is_scored() -> None:
    mask = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(1)) < 0.5
    other = torch.where(mask, images(), 0.0)
    assert torch.equal(generated_region(images(), mask), generated_region(other, mask))
