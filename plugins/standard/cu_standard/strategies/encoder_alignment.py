"""Encoder alignment: the L2 surrogate of Li et al., ICLR 2024 (arXiv 2402.00351), equation 10.

    min over θ of  E[ ‖E_θ(T(x_r)) − E_θ0(T(x_r))‖² + α ‖E_θ(T(x_f)) − E_θ0(T(n))‖² ]

Teacher and decoder stay as they are. With T(n) everything that the teacher's encoder sees is noise. Noise is drawn anew
for every forget image in every step: an image that always met the same noise would learn it as a code for itself.
Forget images are varied a little, so that unseen pictures of the same subject or class follow; the paper does not.
"""

from __future__ import annotations

import torch

from compliance_unlearn.api import Batch, LossTerms, ModelAdapter, Strategy, StrategyContext
from cu_standard.params import EncoderAlignmentParams

Features = tuple[torch.Tensor, ...]

CHUNK = 64
"""Images that the teacher encodes at once while caching."""


class EncoderAlignment(Strategy):
    """Balanced halves: the forget half towards noise features, the retain half held at the teacher's features."""

    def __init__(self, params: EncoderAlignmentParams) -> None:
        self._params = params
        self._noise_masks = torch.empty(0)
        self._noise_targets: Features = ()
        self._views = _Views.empty()

    def _prepare(self, context: StrategyContext) -> None:
        """Compute teacher features of a bank of noise images and, if they fit, of fixed views of the retain set."""
        generator = torch.Generator().manual_seed(context.seed)
        count = self._params.noise_bank
        self._noise_masks = context.teacher.masks(count, generator)
        noise = context.noise.sample(count, generator)
        self._noise_targets = _encode_all(context.teacher, noise, self._noise_masks)
        if context.retain is not None:
            self._views = _Views.of(context, generator, self._params)

    def _objective(self, context: StrategyContext, forget: Batch, retain: Batch | None) -> LossTerms:
        drawn = torch.randint(len(self._noise_masks), (len(forget.images),), generator=context.generator)
        images, masks = forget.images, self._noise_masks[drawn]
        if self._params.augment:
            images = augment(images, context.generator)
        targets = tuple(part[drawn] for part in self._noise_targets)
        if retain is None:
            features = context.student.encode(context.student.degrade(images, masks))
            return LossTerms({"forget": self._params.alpha * _distance(features, targets)})
        retained, retain_masks, retain_targets = self._views.draw(context, retain)
        half = len(images)
        both = context.student.degrade(torch.cat([images, retained]), torch.cat([masks, retain_masks]))
        features = context.student.encode(both)
        return LossTerms(
            {
                "retain": _distance(tuple(part[half:] for part in features), retain_targets),
                "forget": self._params.alpha * _distance(tuple(part[:half] for part in features), targets),
            }
        )


class _Views:
    """Views of each retain image with fixed masks, and the teacher's features of them.

    View ``v`` belongs to image ``v // per_image``; if images are varied, it is mirrored when ``v`` is odd. If they do
    not fit, nothing is kept: masks are drawn and features are computed in each step.
    """

    def __init__(self, masks: torch.Tensor, per_image: int, targets: Features | None, mirror: bool) -> None:
        self._masks = masks
        self._per_image = per_image
        self._targets = targets
        self._mirror = mirror

    @classmethod
    def empty(cls) -> _Views:
        return cls(torch.empty(0), 1, None, False)

    @classmethod
    def of(cls, context: StrategyContext, generator: torch.Generator, params: EncoderAlignmentParams) -> _Views:
        assert context.retain is not None
        first = context.teacher.masks(2, generator)
        fixed = torch.equal(first[0], first[1])
        mirror = params.augment
        per_image = (2 if mirror else 1) if fixed else params.retain_views
        views = torch.arange(len(context.retain) * per_image)
        probe = _encode_all(context.teacher, context.retain.batch([0]), first[:1])
        one = first[0].nbytes + sum(part.nbytes for part in probe)
        if one * len(views) > params.cache_megabytes * 2**20:
            return cls(torch.empty(0), per_image, None, mirror)
        masks = context.teacher.masks(len(views), generator)
        parts = [
            _encode_all(
                context.teacher, _mirrored(context.retain.batch(chunk // per_image), chunk, mirror), masks[chunk]
            )
            for chunk in torch.split(views, CHUNK)
        ]
        return cls(masks, per_image, tuple(torch.cat(depth) for depth in zip(*parts, strict=True)), mirror)

    def draw(self, context: StrategyContext, retain: Batch) -> tuple[torch.Tensor, torch.Tensor, Features]:
        """Images, masks and teacher features for a batch: one view an image, drawn at random."""
        drawn = torch.randint(self._per_image, (len(retain.indices),), generator=context.generator)
        images = _mirrored(retain.images, drawn, self._mirror)
        if self._targets is None:
            masks = context.teacher.masks(len(images), context.generator)
            return images, masks, _encode_all(context.teacher, images, masks)
        views = retain.indices * self._per_image + drawn
        return images, self._masks[views], tuple(part[views] for part in self._targets)


def _mirrored(images: torch.Tensor, views: torch.Tensor, mirror: bool) -> torch.Tensor:
    if not mirror:
        return images
    return torch.where((views % 2 == 1)[:, None, None, None], images.flip(-1), images)


def augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Mirror half of the images, shift each by up to 3 % of its size, and change contrast and brightness a little.

    Args:
        images: ``[n, channels, height, width]``; border pixels are repeated where a shift uncovers nothing.
        generator: source of all choices.
    """
    count, _, height, width = images.shape
    mirror = torch.rand(count, generator=generator) < 0.5
    images = torch.where(mirror[:, None, None, None], images.flip(-1), images)
    shifts = [_shifts(size, count, generator) for size in (height, width)]
    rows = (torch.arange(height) + shifts[0][:, None]).clamp(0, height - 1)
    columns = (torch.arange(width) + shifts[1][:, None]).clamp(0, width - 1)
    images = images[torch.arange(count)[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    contrast = 1.0 + 0.15 * (2.0 * torch.rand(count, 1, 1, 1, generator=generator) - 1.0)
    brightness = 0.045 * (2.0 * torch.rand(count, 1, 1, 1, generator=generator) - 1.0)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return (images - mean) * contrast + mean + brightness


def _shifts(size: int, count: int, generator: torch.Generator) -> torch.Tensor:
    reach = max(1, round(0.03 * size))
    return torch.randint(-reach, reach + 1, (count,), generator=generator)


@torch.no_grad()
def _encode_all(teacher: ModelAdapter, images: torch.Tensor, masks: torch.Tensor) -> Features:
    parts = [
        teacher.encode(teacher.degrade(images[start : start + CHUNK], masks[start : start + CHUNK]))
        for start in range(0, len(images), CHUNK)
    ]
    return tuple(torch.cat(depth) for depth in zip(*parts, strict=True))


def _distance(features: Features, targets: Features) -> torch.Tensor:
    """Mean squared difference, averaged over the elements of a depth and summed over depths."""
    terms = [
        torch.nn.functional.mse_loss(part.float(), target.float())
        for part, target in zip(features, targets, strict=True)
    ]
    return torch.stack(terms).sum()
