"""Masks: what is hidden, how much, on which grid."""

from __future__ import annotations

import pytest
import torch

from compliance_unlearn.api import (
    Colourise,
    Inpaint,
    ModelError,
    Outpaint,
    RandomMask,
    SuperResolve,
    Task,
    hidden_pixels,
)
from compliance_unlearn.api.task import require_task

TASKS: list[Task] = [Inpaint(area=0.25), Inpaint(area=0.5), Outpaint(area=0.75), RandomMask(ratio=0.75)]


def masks(task: Task, count: int = 6, height: int = 32, width: int = 48, cell: int = 4, seed: int = 0) -> torch.Tensor:
    return hidden_pixels(task, count, height, width, cell, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("task", TASKS, ids=str)
def test_a_mask_is_boolean_for_each_image_and_the_same_for_the_same_seed(task: Task) -> None:
    found = masks(task)
    assert (found.shape, found.dtype) == ((6, 1, 32, 48), torch.bool)
    assert torch.equal(found, masks(task))


@pytest.mark.parametrize("task", TASKS, ids=str)
@pytest.mark.parametrize("cell", [1, 2, 8])
def test_cells_are_hidden_as_a_whole(task: Task, cell: int) -> None:
    found = masks(task, cell=cell)
    grid = found[..., ::cell, ::cell]
    assert torch.equal(found, grid.repeat_interleave(cell, dim=2).repeat_interleave(cell, dim=3))


@pytest.mark.parametrize("task", TASKS, ids=str)
def test_every_image_hides_the_same_number_of_pixels(task: Task) -> None:
    assert len(set(masks(task, count=50).sum(dim=(1, 2, 3)).tolist())) == 1


@pytest.mark.parametrize(
    ("task", "share"),
    [(task, getattr(task, "ratio", getattr(task, "area", 0.0))) for task in TASKS],
    ids=str,
)
def test_the_hidden_share_is_what_was_asked_for(task: Task, share: float) -> None:
    assert float(masks(task, height=64, width=64, cell=1).float().mean()) == pytest.approx(share, abs=0.02)


def test_inpainting_hides_a_centred_rectangle_of_the_images_proportions() -> None:
    rows, columns = (masks(Inpaint(area=0.25))[0, 0].any(dim=dim).nonzero().flatten().tolist() for dim in (1, 0))
    assert (rows[0], 31 - rows[-1]) == (8, 8)
    assert (columns[0], 47 - columns[-1]) == (12, 12)


@pytest.mark.parametrize("area", [0.2, 0.25, 0.5, 0.9])
def test_outpainting_hides_what_inpainting_of_the_rest_would_show(area: float) -> None:
    assert torch.equal(masks(Outpaint(area=area)), ~masks(Inpaint(area=1 - area)))


def test_random_masks_differ_between_images_and_seeds_and_cover_every_cell_alike() -> None:
    found = masks(RandomMask(ratio=0.5), count=400, cell=8)[..., ::8, ::8]
    assert len({tuple(each) for each in found.flatten(1).tolist()}) > 350
    assert not torch.equal(found, masks(RandomMask(ratio=0.5), count=400, cell=8, seed=1)[..., ::8, ::8])
    assert (found.float().mean(dim=0) - 0.5).abs().max() < 0.12


@pytest.mark.parametrize(
    "task", [Inpaint(area=0.001), Inpaint(area=0.999), Outpaint(area=0.999), RandomMask(ratio=0.999)]
)
def test_something_is_always_hidden_and_something_always_shown(task: Task) -> None:
    found = masks(task, cell=8)
    assert found.any(dim=3).any(dim=2).all()
    assert not found.all(dim=3).all(dim=2).any()


@pytest.mark.parametrize("task", [Inpaint(), Outpaint()])
def test_tasks_without_choice_draw_nothing(task: Task) -> None:
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    hidden_pixels(task, 3, 16, 16, 4, generator)
    assert torch.equal(before, generator.get_state())


@pytest.mark.parametrize(
    ("task", "shape", "problem", "others"),
    [
        (Colourise(), (1, 12, 8), "has 1 channels; images in colour have 3", ", super-resolve (factor 2, 4)"),
        (Colourise(), (4, 1, 1), "has 4 channels; images in colour have 3", ""),
        (SuperResolve(factor=5), (3, 9, 9), "multiple of the factor 5", ", super-resolve (factor 3, 9), colourise"),
    ],
)
def test_a_task_that_images_do_not_have_is_refused_with_those_that_they_have(
    task: Task, shape: tuple[int, int, int], problem: str, others: str
) -> None:
    with pytest.raises(ModelError) as caught:
        require_task(task, *shape)
    assert str(caught.value).startswith(f"{task.kind}: ")
    assert str(caught.value).endswith(f"{problem}; tasks for such images: inpaint, outpaint, random-mask{others}")


@pytest.mark.parametrize("task", [*TASKS, SuperResolve(factor=4), Colourise()], ids=str)
def test_images_in_colour_that_divide_have_every_task(task: Task) -> None:
    require_task(task, 3, 8, 12)
