"""Residual: do small changes of the input bring the forgotten pictures back?

Each picture is shown in ten slightly changed copies: with Gaussian noise of 1, 2, 4 and 8 % of the pixel range,
shifted by one pixel to each side, mirrored, and 5 % brighter; the mask stays where it is. What the model makes of a
copy is compared with the hidden part of that copy of the true picture, and with those of the other pictures to forget
changed in the same way. The attacker may take the best of all copies (after Hsu et al., 2025, who call what comes back
residual knowledge).

Statistic: ratio = error of the best copy against others' pictures / against the own one, where errors are mean squares
over generated pixels and means geometric; with PSNR the ratio is 10^(difference / 10). Each picture's PSNR is taken
after the mean of its output and the mean of its truth, so that neither good nor easy pictures count, only whether
the two belong together: 1 is chance, also for the best of many copies and for a model that answers everything with
the same image. Null hypothesis: the ratio is above 1 + margin. Student's interval over pictures, or over subjects.

Reported too: the ratio of the forgotten pictures' to that of held-out pictures of the subject, H: above 1 the model
knows more about what it was trained on than about what it never saw (the retrain goal); and the ratio without changes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from cu_audit.records import FORGET, FORGET_HELD_OUT, BeforeAfter, CheckResult, Control, Interval, Question, Verdict

from compliance_unlearn.api import Check, CheckContext, Measurement, ModelAdapter, Views, World
from cu_standard.checks.retain_drift import QUANTISED
from cu_standard.clusters import clusters_of, detectable, needed, p_value_at_most
from cu_standard.params import ResidualParams
from cu_standard.statistics import at_most, cluster_means, finite_mean, mean_interval

AT_LEAST = 5
"""Pictures without which nothing is said."""

NOISE = (0.01, 0.02, 0.04, 0.08)
"""Standard deviations of the noise, as shares of the pixel range."""

BRIGHTER = 1.05
"""Factor of the brighter copy."""

CHUNK = 64
"""Pictures in one forward pass."""


@dataclass(frozen=True)
class Pictures:
    """Pictures that are perturbed.

    Attributes:
        truth: ``[n, channels, height, width]``, in [0, 1].
        fed: what the model is shown, of the same shape: the truth, or noise in its place.
        views: one for each.
        subjects: integer ``[n]``.
    """

    truth: torch.Tensor
    fed: torch.Tensor
    views: Views
    subjects: torch.Tensor


@dataclass(frozen=True)
class Recovery:
    """How much better outputs fit to their own truth than to others', in dB of PSNR.

    Attributes:
        best: over all changed copies, of each cluster, ``[g]``; not finite where an output is not.
        unchanged: without a change, of each cluster, ``[g]``.
    """

    best: torch.Tensor
    unchanged: torch.Tensor

    @classmethod
    def of(cls, model: ModelAdapter, pictures: Pictures, generator: torch.Generator) -> Recovery:
        """Of what a model makes of copies of pictures."""
        clusters = clusters_of(pictures.subjects)
        shown = [pictures.fed, *noisy(pictures.fed, generator), *moved(pictures.fed)]
        truths = [pictures.truth] * (1 + len(NOISE)) + moved(pictures.truth)
        unchanged, *changed = (
            fits(model, copy, truth, pictures.views) for copy, truth in zip(shown, truths, strict=True)
        )
        best = torch.stack(changed).amax(dim=0)
        return cls(*(cluster_means(own_fit(each), clusters) for each in (best, unchanged)))


class Residual(Check):
    """Recovery of forgotten pictures from slightly changed inputs."""

    def __init__(self, params: ResidualParams) -> None:
        self._params = params

    def _run(self, context: CheckContext) -> Measurement:
        if context.counts[FORGET] < AT_LEAST:
            reason = f"only {context.counts[FORGET]} pictures; at least {AT_LEAST} are needed"
            return Measurement((self._blank(context, FORGET).model_copy(update={"reason": reason}),))
        after, before, noise = (
            self._recovery(context, world, FORGET) for world in (World.CANDIDATE, World.ORIGINAL, World.NOISE)
        )
        results = [self._result(context, after, before, noise)]
        figures = {FORGET: BeforeAfter(before=finite_mean(before.best), after=finite_mean(after.best))}
        if context.counts.get(FORGET_HELD_OUT, 0) >= AT_LEAST:
            unseen, old = (
                self._recovery(context, world, FORGET_HELD_OUT) for world in (World.CANDIDATE, World.ORIGINAL)
            )
            results.append(self._against_held_out(context, after, unseen))
            figures[FORGET_HELD_OUT] = BeforeAfter(before=finite_mean(old.best), after=finite_mean(unseen.best))
        return Measurement(tuple(results), {"residual_recovery": figures})

    def _recovery(self, context: CheckContext, world: World, name: str) -> Recovery:
        order = torch.randperm(context.counts[name], generator=context.generator(f"perturbed pictures of {name}"))
        chosen = order[: self._params.pictures].sort().values
        outputs = context.outputs(World.TRUTH, name)
        truth = outputs.truth[chosen]
        fed = context.noise(len(truth), "perturbed inputs") if world is World.NOISE else truth
        model = context.model(World.ORIGINAL if world is World.NOISE else world)
        pictures = Pictures(truth, fed, context.views(name)[chosen], outputs.subjects[chosen])
        return Recovery.of(model, pictures, context.generator(f"perturbations of {name}"))

    def _result(self, context: CheckContext, after: Recovery, before: Recovery, noise: Recovery) -> CheckResult:
        limit, interval = 1.0 + self._params.margin, mean_interval(after.best)
        controls = self._controls(before, noise)
        blank = self._blank(context, FORGET).model_copy(update={"controls": controls})
        if not all(control.behaved for control in controls):
            reason = "a control misbehaved: these pictures cannot show what comes back"
            return blank.model_copy(update={"verdict": Verdict.VOID, "reason": reason})
        if interval is None:
            reason = "the model gives outputs that are not numbers, or there are too few independent records"
            return blank.model_copy(update={"reason": reason})
        ratios = _as_ratios(interval)
        verdict = at_most(ratios, limit)
        value, unchanged = (_power(float(recovery.mean())) for recovery in (after.best, after.unchanged))
        reason = (
            f"the best copy fits {value:.2f} times as well to its own picture as to others, {unchanged:.2f} times "
            f"without a change; up to {ratios.high:.2f} cannot be excluded, allowed {limit:g}"
        )
        if verdict is Verdict.INCONCLUSIVE:
            wanted = needed(self._measured(context, FORGET), interval, decibel(limit))
            reason += f"; about {wanted} pictures would settle it, if nothing comes back"
        return blank.model_copy(
            update={
                "verdict": verdict,
                "value": value,
                "interval": ratios,
                "p_value": p_value_at_most(after.best, decibel(limit)),
                "detectable": _power(detectable(interval, decibel(limit))),
                "reason": reason,
            }
        )

    def _controls(self, before: Recovery, noise: Recovery) -> tuple[Control, ...]:
        limit = 1.0 + self._params.margin
        caught, missed = (_judged(recovery, limit) for recovery in (before, noise))
        return (
            Control(
                name="original model",
                expected=f"fails: ratio above {limit:g}",
                value=_ratio(before.best),
                behaved=caught is Verdict.FAILED,
            ),
            Control(
                name="original model on changed copies of noise",
                expected=f"passes: not shown to be above {limit:g}",
                value=_ratio(noise.best),
                behaved=missed not in (None, Verdict.FAILED),
            ),
        )

    def _against_held_out(self, context: CheckContext, forgotten: Recovery, unseen: Recovery) -> CheckResult:
        limit, interval = 1.0 + self._params.margin, difference_interval(forgotten.best, unseen.best)
        blank = self._blank(context, FORGET_HELD_OUT)
        update: dict[str, object] = {
            "question": Question.NEVER_SEEN,
            "claim": "Small changes of the input bring back no more of forgotten than of never-seen pictures.",
            "gates": False,
            "sample_size": sum(self._measured(context, name) for name in (FORGET, FORGET_HELD_OUT)),
        }
        if interval is None:
            reason = "the model gives outputs that are not numbers, or there are too few independent records"
            return blank.model_copy(update=update | {"reason": reason})
        ratios = _as_ratios(interval)
        value = _power(float(forgotten.best.mean() - unseen.best.mean()))
        return blank.model_copy(
            update=update
            | {
                "verdict": at_most(ratios, limit),
                "value": value,
                "interval": ratios,
                "reason": f"{value:.2f} times as much comes back; up to {ratios.high:.2f} cannot be excluded",
            }
        )

    def _blank(self, context: CheckContext, name: str) -> CheckResult:
        return CheckResult(
            name="residual",
            set=name,
            question=Question.RECOVERABLE,
            claim="Slightly changed inputs do not bring back what tells a forgotten picture from another one.",
            verdict=Verdict.INCONCLUSIVE,
            gates=True,
            value=None,
            unit="ratio",
            interval=None,
            threshold=1.0 + self._params.margin,
            sample_size=self._measured(context, name),
            reason="",
            not_tested=(
                "What all forgotten pictures have in common, other changes, and inputs that were optimised to bring "
                "the picture back."
            ),
        )

    def _measured(self, context: CheckContext, name: str) -> int:
        return min(context.counts[name], self._params.pictures)


def noisy(images: torch.Tensor, generator: torch.Generator) -> list[torch.Tensor]:
    """Copies of images ``[n, channels, height, width]`` with a little Gaussian noise."""
    return [images + share * torch.randn(images.shape, generator=generator) for share in NOISE]


def moved(images: torch.Tensor) -> list[torch.Tensor]:
    """Copies of images whose hidden part changes too: shifted to each side, mirrored, brighter up to white."""
    padded = torch.nn.functional.pad(images, [1] * 4, mode="replicate")
    height, width = images.shape[2:]
    corners = ((0, 1), (2, 1), (1, 0), (1, 2))
    shifted = [padded[:, :, top : top + height, left : left + width] for top, left in corners]
    brighter = torch.maximum(images, (BRIGHTER * images).clamp(max=1.0))
    return [*shifted, images.flip(-1), brighter]


@torch.no_grad()
def fits(model: ModelAdapter, shown: torch.Tensor, truth: torch.Tensor, views: Views) -> torch.Tensor:
    """PSNR of each output against each truth, over the pixels generated in that output: ``[n, n]``, in dB.

    Args:
        model: that reconstructs.
        shown: images that it is shown, ``[n, channels, height, width]``.
        truth: what it should make of them, of the same shape.
        views: one for each.
    """
    parts = []
    every = truth.flatten(1).double()
    for start in range(0, len(shown), CHUNK):
        part = slice(start, start + CHUNK)
        made = model.reconstruct(model.degrade(shown[part], views[part]))
        generated = made.generated.cpu().expand(-1, truth.shape[1], -1, -1).flatten(1).double()
        images = made.images.cpu().flatten(1).double() * generated
        squares = images.square().sum(dim=1)[:, None] - 2 * images @ every.T + generated @ every.square().T
        parts.append(squares / generated.sum(dim=1)[:, None])
    return -10.0 * torch.cat(parts).clamp(min=10.0 ** (-QUANTISED / 10)).log10()


def own_fit(fit: torch.Tensor) -> torch.Tensor:
    """How much better each output fits to its own truth than to others': ``[n]``, its mean is 0 by chance.

    Args:
        fit: of each output to each truth, ``[n, n]``; what an output or a truth has in all pairs is taken off.
    """
    alone = fit.diagonal() - fit.mean(dim=0) - fit.mean(dim=1) + fit.mean()
    return alone * len(fit) / (len(fit) - 1)


def difference_interval(one: torch.Tensor, other: torch.Tensor) -> Interval | None:
    """Of the difference of two means (Welch, 1947), each bound at 95 %; None as in `mean_interval`."""
    from scipy.stats import t

    if min(len(one), len(other)) < 2 or not torch.isfinite(torch.cat([one, other])).all():
        return None
    variances = [float(values.var()) / len(values) for values in (one, other)]
    parts = [variance**2 / (len(values) - 1) for variance, values in zip(variances, (one, other), strict=True)]
    freedom = sum(variances) ** 2 / sum(parts) if sum(parts) else 1.0
    reach = float(t.ppf(0.95, freedom)) * math.sqrt(sum(variances))
    difference = float(one.mean() - other.mean())
    return Interval(low=difference - reach, high=difference + reach, level=0.9, method="Welch, each bound at 95 %")


def decibel(ratio: float) -> float:
    """A ratio of mean squared errors as a difference of PSNR."""
    return 10.0 * math.log10(ratio)


def _power(difference: float) -> float:
    """A difference of PSNR as a ratio of mean squared errors."""
    return float(10.0 ** (difference / 10.0))


def _ratio(recovery: torch.Tensor) -> float | None:
    mean = finite_mean(recovery)
    return None if mean is None else _power(mean)


def _judged(recovery: Recovery, limit: float) -> Verdict | None:
    interval = mean_interval(recovery.best)
    return None if interval is None else at_most(_as_ratios(interval), limit)


def _as_ratios(interval: Interval) -> Interval:
    return interval.model_copy(update={"low": _power(interval.low), "high": _power(interval.high)})
