"""What the frozen teacher makes of noise and of retained images: computed once where it never changes and fits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from compliance_unlearn.api import Batch, Degraded, ModelAdapter, StrategyContext, Views
from cu_standard.strategies.pictures import mirrored

Features = tuple[torch.Tensor, ...]

Seen = Callable[[ModelAdapter, Degraded], Features]
"""What of a model is aligned: its features, or the pixels that its decoder makes of them."""

CHUNK = 64
"""Images that the teacher sees at once while targets are kept."""


@dataclass(frozen=True)
class Seeds:
    """Where targets come from: what of the models is aligned, how much is kept, and the generator of what is kept."""

    seen: Seen
    generator: torch.Generator
    cache_megabytes: int


class NoiseTargets:
    """T(n) through the teacher: a bank of noise images, or fresh ones in each step where no bank fits.

    Each forget image of a step meets another noise image: one that always met the same would learn it as a code for
    itself.
    """

    def __init__(self, context: StrategyContext, seeds: Seeds, count: int) -> None:
        self._seen = seeds.seen
        self._views = context.teacher.views(count, seeds.generator)
        noise = context.noise.sample(count, seeds.generator)
        first = look(context.teacher, self._seen, noise[:CHUNK], self._views[:CHUNK])
        self._kept = _bytes(first) / len(first[0]) * count <= seeds.cache_megabytes * 2**20
        rest = [
            look(context.teacher, self._seen, noise[start : start + CHUNK], self._views[start : start + CHUNK])
            for start in range(CHUNK, count if self._kept else 0, CHUNK)
        ]
        self._features = _joined([first, *rest])

    @property
    def spread(self) -> tuple[float, ...]:
        """Variance of the teacher's answers to noise at each depth, over images and elements."""
        return tuple(max(float(part.float().var()), 1e-12) for part in self._features)

    @property
    def centre(self) -> tuple[float, ...]:
        """Mean of the teacher's answers to noise at each depth, over images and elements."""
        return tuple(float(part.float().mean()) for part in self._features)

    def draw(self, context: StrategyContext, count: int) -> tuple[Views, Features]:
        """Views for ``count`` forget images, and what the teacher makes of noise under the same views."""
        if self._kept:
            drawn = torch.randint(len(self._views), (count,), generator=context.generator)
            return self._views[drawn], tuple(part[drawn] for part in self._features)
        views = context.teacher.views(count, context.generator)
        return views, look(context.teacher, self._seen, context.noise.sample(count, context.generator), views)


class RetainTargets:
    """Views of each retain image with the teacher's answers.

    View ``v`` belongs to image ``v // per_image``; if images are varied, it is mirrored when ``v`` is odd. If they do
    not fit, or the family samples and so sees an image in another way each time, nothing is kept: views are drawn and
    the teacher is asked in each step.
    """

    def __init__(self, context: StrategyContext, seeds: Seeds, *, per_image: int, mirror: bool) -> None:
        assert context.retain is not None
        self._seen, self._mirror = seeds.seen, mirror
        self._views: Views | None = None
        self._features: Features = ()
        teacher, retain = context.teacher, context.retain
        first = teacher.views(2, seeds.generator)
        fixed = torch.equal(first.hidden[0], first.hidden[1])
        self._per_image = (2 if mirror else 1) if fixed else per_image
        if teacher.samples:
            return
        numbers = torch.arange(len(retain) * self._per_image)
        probe = look(teacher, self._seen, retain.batch([0]), first[:1])
        if (first.hidden[0].nbytes + _bytes(probe)) * len(numbers) > seeds.cache_megabytes * 2**20:
            return
        self._views = teacher.views(len(numbers), seeds.generator)
        parts = [
            look(teacher, self._seen, self._varied(retain.batch(chunk // self._per_image), chunk), self._views[chunk])
            for chunk in torch.split(numbers, CHUNK)
        ]
        self._features = _joined(parts)

    def draw(self, context: StrategyContext, retain: Batch) -> tuple[torch.Tensor, Views, Features]:
        """Images, views and the teacher's answers for a batch: one view an image, drawn at random."""
        drawn = torch.randint(self._per_image, (len(retain.indices),), generator=context.generator)
        images = self._varied(retain.images, drawn)
        if self._views is None:
            views = context.teacher.views(len(images), context.generator)
            return images, views, look(context.teacher, self._seen, images, views)
        chosen = retain.indices * self._per_image + drawn
        return images, self._views[chosen], tuple(part[chosen] for part in self._features)

    def _varied(self, images: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        return mirrored(images, numbers % 2 == 1) if self._mirror else images


@torch.no_grad()
def look(teacher: ModelAdapter, seen: Seen, images: torch.Tensor, views: Views) -> Features:
    """What of the teacher is aligned, of some images under some views."""
    return seen(teacher, teacher.training_view(images, views))


def _bytes(features: Features) -> int:
    return sum(part.nbytes for part in features)


def _joined(parts: list[Features]) -> Features:
    return tuple(torch.cat(depth) for depth in zip(*parts, strict=True))
