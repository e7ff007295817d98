"""Encoder alignment: the L2 surrogate of Li et al., ICLR 2024 (arXiv 2402.00351), equation 10.

    min over θ of  E[ ‖E_θ(T(x_r)) − E_θ0(T(x_r))‖² + α ‖E_θ(T(x_f)) − E_θ0(T(n))‖² ]

Teacher and decoder stay as they are. With T(n) everything that the teacher's encoder sees is noise. Noise is drawn anew for
every forget image in every step: an image that always met the same noise would learn it as a code for itself.
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
        targets = tuple(part[drawn] for part in self._noise_targets)
        if retain is None:
            features = context.student.encode(context.student.degrade(images, masks))
            return LossTerms({"forget": self._params.alpha * _distance(features, targets)})
        retain_masks, retain_targets = self._views.draw(context, retain)
        half = len(images)
        both = context.student.degrade(torch.cat([images, retain.images]), torch.cat([masks, retain_masks]))
        features = context.student.encode(both)
        return LossTerms(
            {
                "retain": _distance(tuple(part[half:] for part in features), retain_targets),
                "forget": self._params.alpha * _distance(tuple(part[:half] for part in features), targets),
            }
        )


class _Views:
    """Fixed masks for each retain image, with the teacher's features if they fit in memory."""

    def __init__(self, masks: torch.Tensor, per_image: int, targets: Features | None) -> None:
        self._masks = masks
        self._per_image = per_image
        self._targets = targets

    @classmethod
    def empty(cls) -> _Views:
        return cls(torch.empty(0), 1, None)

    @classmethod
    def of(cls, context: StrategyContext, generator: torch.Generator, params: EncoderAlignmentParams) -> _Views:
        assert context.retain is not None
        count = len(context.retain)
        first = context.teacher.masks(2, generator)
        fixed = bool(torch.equal(first[0], first[1]))
        per_image = 1 if fixed else params.retain_views
        masks = context.teacher.masks(count * per_image, generator)
        probe = _encode_all(context.teacher, context.retain.batch([0]), masks[:1])
        megabytes = sum(part.nbytes for part in probe) * len(masks) / 2**20
        if megabytes > params.cache_megabytes:
            return cls(masks, per_image, None)
        views = torch.arange(count).repeat_interleave(per_image)
        parts = [
            _encode_all(context.teacher, context.retain.batch(views[start : start + CHUNK]), masks[start : start + CHUNK])
            for start in range(0, len(views), CHUNK)
        ]
        return cls(masks, per_image, tuple(torch.cat(depth) for depth in zip(*parts, strict=True)))

    def draw(self, context: StrategyContext, retain: Batch) -> tuple[torch.Tensor, Features]:
        """Masks and teacher features for a batch, one view an image drawn at random."""
        views = retain.indices * self._per_image
        if self._per_image > 1:
            views = views + torch.randint(self._per_image, (len(views),), generator=context.generator)
        masks = self._masks[views]
        if self._targets is not None:
            return masks, tuple(part[views] for part in self._targets)
        return masks, _encode_all(context.teacher, retain.images, masks)


@torch.no_grad()
def _encode_all(teacher: ModelAdapter, images: torch.Tensor, masks: torch.Tensor) -> Features:
    parts = [
        teacher.encode(teacher.degrade(images[start : start + CHUNK], masks[start : start + CHUNK]))
        for start in range(0, len(images), CHUNK)
    ]
    return tuple(torch.cat(depth) for depth in zip(*parts, strict=True))


def _distance(features: Features, targets: Features) -> torch.Tensor:
    """Mean squared difference, averaged over the elements of a depth and summed over depths."""
    terms = [torch.nn.functional.mse_loss(part.float(), target.float()) for part, target in zip(features, targets, strict=True)]
    return torch.stack(terms).sum()
