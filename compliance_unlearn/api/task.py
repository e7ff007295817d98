"""Tasks: what the model is asked to fill in. One place makes the masks for every model family.

A mask is a boolean tensor ``[n, 1, height, width]``, True where the pixel is hidden from the model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from compliance_unlearn.api.errors import ModelError

if TYPE_CHECKING:
    import torch


class _Task(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Inpaint(_Task):
    """Hide a centred rectangle that covers ``area`` of the image."""

    kind: Literal["inpaint"] = "inpaint"
    area: float = Field(default=0.25, gt=0, lt=1)


class Outpaint(_Task):
    """Hide all but a centred rectangle; ``area`` is the hidden share (uncropping)."""

    kind: Literal["outpaint"] = "outpaint"
    area: float = Field(default=0.75, gt=0, lt=1)


class RandomMask(_Task):
    """Hide a random share ``ratio`` of the cells of the grid, another choice for each image."""

    kind: Literal["random-mask"] = "random-mask"
    ratio: float = Field(default=0.75, gt=0, lt=1)


class SuperResolve(_Task):
    """Show the image at a lower resolution, each ``factor`` by ``factor`` square as its mean; hide every pixel."""

    kind: Literal["super-resolve"] = "super-resolve"
    factor: int = Field(default=4, ge=2)


class Colourise(_Task):
    """Show the brightness of the image (ITU-R BT.601) in place of its colours; hide every pixel."""

    kind: Literal["colourise"] = "colourise"


Task = Annotated[Inpaint | Outpaint | RandomMask | SuperResolve | Colourise, Field(discriminator="kind")]

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the brightness of a pixel (ITU-R BT.601-7, section 2.5.1)."""


def hidden_pixels(
    task: Task, count: int, height: int, width: int, cell: int, generator: torch.Generator
) -> torch.Tensor:
    """Masks for ``count`` images, aligned to a grid of square cells.

    Every mask of one task hides the same number of cells, so that a transformer can batch them.

    Args:
        task: what is hidden.
        count: number of masks.
        height: of the image in pixels, a multiple of ``cell``.
        width: of the image in pixels, a multiple of ``cell``.
        cell: edge of a cell in pixels; the patch size of a transformer, 1 for a convolutional model.
        generator: source of the random choice; untouched by tasks that have none.

    Returns:
        Boolean ``[count, 1, height, width]``, True where hidden; everywhere for tasks that show the whole image in a
        poorer form.
    """
    import torch

    if isinstance(task, SuperResolve | Colourise):
        return torch.ones(count, 1, height, width, dtype=torch.bool)

    rows, columns = height // cell, width // cell
    if isinstance(task, RandomMask):
        hidden = min(max(round(task.ratio * rows * columns), 1), rows * columns - 1)
        order = torch.rand(count, rows * columns, generator=generator).argsort(dim=1).argsort(dim=1)
        grid = (order < hidden).view(count, 1, rows, columns)
    else:
        inner = task.area if isinstance(task, Inpaint) else 1.0 - task.area
        box_rows = min(max(round(rows * inner**0.5), 1), rows - 1)
        box_columns = min(max(round(columns * inner**0.5), 1), columns - 1)
        top, left = (rows - box_rows) // 2, (columns - box_columns) // 2
        box = torch.zeros(1, 1, rows, columns, dtype=torch.bool)
        box[..., top : top + box_rows, left : left + box_columns] = True
        grid = (box if isinstance(task, Inpaint) else ~box).expand(count, 1, rows, columns)
    return grid.repeat_interleave(cell, dim=2).repeat_interleave(cell, dim=3)


def require_task(task: Task, channels: int, height: int, width: int) -> None:
    """Refuse a task that images of this shape do not have.

    Raises:
        ModelError: says why, and which tasks the images do have.
    """
    if isinstance(task, SuperResolve) and (height % task.factor or width % task.factor):
        problem = f"{height} by {width} pixels are no multiple of the factor {task.factor}"
    elif isinstance(task, Colourise) and channels != len(LUMA):
        problem = f"the model has {channels} channels; images in colour have {len(LUMA)}"
    else:
        return
    factors = [str(factor) for factor in range(2, min(height, width) + 1) if not (height % factor or width % factor)]
    others = ["inpaint", "outpaint", "random-mask"]
    others += [f"super-resolve (factor {', '.join(factors)})"] if factors else []
    others += ["colourise"] if channels == len(LUMA) else []
    raise ModelError(f"{task.kind}: {problem}; tasks for such images: {', '.join(others)}")


def shown_pixels(task: Task, images: torch.Tensor, hidden: torch.Tensor, fill: torch.Tensor) -> torch.Tensor:
    """T(x) as an image, for families that take pixels in a grid.

    Args:
        task: how images are degraded.
        images: ``[n, channels, height, width]``; noise outside of [0, 1] is not clipped.
        hidden: boolean ``[n, 1, height, width]``.
        fill: ``[channels]``, what stands where a pixel is hidden.

    Returns:
        ``[n, channels, height, width]``.

    Raises:
        ModelError: the task does not suit the images.
    """
    import torch

    require_task(task, *images.shape[1:])
    if isinstance(task, SuperResolve):
        small = torch.nn.functional.avg_pool2d(images, task.factor)
        return small.repeat_interleave(task.factor, dim=2).repeat_interleave(task.factor, dim=3)
    if isinstance(task, Colourise):
        brightness = torch.einsum("nchw,c->nhw", images, torch.tensor(LUMA, device=images.device, dtype=images.dtype))
        return brightness[:, None].expand_as(images)
    return torch.where(hidden, fill.to(images)[:, None, None], images)
