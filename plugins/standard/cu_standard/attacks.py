"""Attacks on a model that was made to forget: who may change its weights, and what then comes back.

What comes back is measured as PSNR over generated pixels of pictures that the attacker does not have, each under the
one view that it has in every world.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from cu_audit.records import FORGET, FORGET_HELD_OUT, RETAIN, Interval

from compliance_unlearn.api import CheckContext, LoopSettings, LossTerms, ModelAdapter, Outputs, Views, World
from cu_standard.checks.retain_drift import QUANTISED
from cu_standard.statistics import BOUND_LEVEL, mean_interval, peak_signal_noise_ratio

ATTACKER_SHARE = 0.1
"""Share of the forget pictures that an attacker has."""

PICTURES_AT_MOST = 64
"""Pictures that an attacker has, and pictures that are looked at; a quarter where each takes many passes."""

CHUNK = 64
"""Pictures in one forward pass."""


@dataclass(frozen=True)
class Pictures:
    """Pictures of one set, ``[n, channels, height, width]``, and the view of each."""

    images: torch.Tensor
    views: Views

    @classmethod
    def of(cls, context: CheckContext, name: str, chosen: torch.Tensor | None = None) -> Pictures:
        """Those of a set with the numbers ``chosen``, or all."""
        pictures = cls(context.outputs(World.TRUTH, name).truth, context.views(name))
        return pictures if chosen is None else pictures[chosen]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: slice | torch.Tensor) -> Pictures:
        return Pictures(self.images[index], self.views[index])


def attacked_and_others(context: CheckContext, *, samples: bool) -> tuple[Pictures, Pictures]:
    """The forget pictures that an attacker has, and those of the others on which success is measured.

    Args:
        context: of the check.
        samples: whether the family's reconstructions take many passes; see `ModelAdapter.samples`.
    """
    count = context.counts[FORGET]
    order = torch.randperm(count, generator=context.generator("forget pictures of an attacker"))
    own = min(max(1, round(ATTACKER_SHARE * count)), PICTURES_AT_MOST)
    looked_at = PICTURES_AT_MOST // 4 if samples else PICTURES_AT_MOST
    return Pictures.of(context, FORGET, order[:own]), Pictures.of(context, FORGET, order[own : own + looked_at])


def pictures_of_others(context: CheckContext, count: int | None = None) -> Pictures:
    """At most ``count`` retained pictures, in random order, of nobody who is among the subjects to forget."""
    if not context.counts.get(RETAIN):
        return Pictures.of(context, FORGET)[:0]
    forgotten = torch.cat(
        [context.outputs(World.TRUTH, name).subjects for name in (FORGET, FORGET_HELD_OUT) if context.counts.get(name)]
    )
    subjects = context.outputs(World.TRUTH, RETAIN).subjects
    of_others = torch.nonzero(~torch.isin(subjects, forgotten[forgotten >= 0])).flatten()
    order = torch.randperm(len(of_others), generator=context.generator("retained pictures of an attacker"))
    return Pictures.of(context, RETAIN, of_others[order[:count]])


@torch.no_grad()
def reconstructed(model: ModelAdapter, pictures: Pictures, fed: torch.Tensor | None = None) -> Outputs:
    """What a model makes of each picture, as of an unknown subject.

    Args:
        model: that reconstructs.
        pictures: what is to be made; at least one.
        fed: images that are shown to the model in place of the pictures, of the same shape.
    """
    shown, parts = pictures.images if fed is None else fed, []
    for start in range(0, len(pictures), CHUNK):
        part = slice(start, start + CHUNK)
        parts.append(model.reconstruct(model.degrade(shown[part], pictures.views[part])))
    return Outputs(
        truth=pictures.images,
        images=torch.cat([part.images.cpu() for part in parts]),
        generated=torch.cat([part.generated.cpu() for part in parts]),
        subjects=torch.full((len(pictures),), -1),
    )


def quality(model: ModelAdapter, pictures: Pictures, fed: torch.Tensor | None = None) -> torch.Tensor:
    """PSNR in dB of what a model makes of each picture, ``[n]``, at most `QUANTISED`; see `reconstructed`."""
    return peak_signal_noise_ratio(reconstructed(model, pictures, fed)).double().clamp(max=QUANTISED)


def fine_tune(
    context: CheckContext,
    model: ModelAdapter,
    parameters: Mapping[str, torch.nn.Parameter],
    images: torch.Tensor,
    settings: LoopSettings,
    purpose: str,
    watch: Callable[[int], bool] | None = None,
) -> None:
    """Train parameters of a model on pictures with the model's own training loss.

    Args:
        context: of the check.
        model: whose training loss it is.
        parameters: of the model, by name.
        images: ``[n, channels, height, width]``; each step draws a batch of them, with replacement.
        settings: of the loop.
        purpose: names the training; two with the same purpose draw the same numbers.
        watch: see `CheckContext.train`.

    Raises:
        ModelError: the loss or its gradient is not finite.
    """

    def objective(generator: torch.Generator) -> LossTerms:
        drawn = torch.randint(len(images), (settings.batch,), generator=generator)
        return LossTerms({"training": model.training_loss(images[drawn], generator)})

    context.train(parameters, objective, settings, purpose, watch)


@dataclass(frozen=True)
class Gain:
    """A mean paired difference of PSNR in dB, tested against a margin with Student's t.

    Attributes:
        mean: None if a difference is not finite.
        interval: None with fewer than two pictures, or if a difference is not finite.
        p_value: one-sided, of a mean that is not below the margin.
        detectable: smallest true mean whose lower bound would have been above the margin with probability 0.95.
    """

    mean: float | None
    interval: Interval | None
    p_value: float | None = None
    detectable: float | None = None

    @classmethod
    def of(cls, differences: torch.Tensor, margin: float) -> Gain:
        """From the difference of each picture, ``[n]``; the null hypothesis is a mean of at least ``margin``."""
        from scipy.stats import t

        finite = len(differences) > 0 and bool(torch.isfinite(differences).all())
        mean, interval = float(differences.mean()) if finite else None, mean_interval(differences)
        if mean is None or interval is None:
            return cls(mean, interval)
        freedom = len(differences) - 1
        error = float(differences.std()) / math.sqrt(len(differences))
        below = mean - margin
        p_value = float(t.cdf(below / error, freedom)) if error else float(below >= 0)
        return cls(mean, interval, p_value, margin + 2.0 * float(t.ppf(BOUND_LEVEL, freedom)) * error)
