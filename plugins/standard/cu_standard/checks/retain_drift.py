"""Retain drift: did the model become worse for everybody else?

Paired equivalence test: the drop of PSNR (dB, generated pixels, before minus after) of each image; records of one
subject are one cluster. Null hypothesis: the mean drop is at least the margin. Passed when the one-sided upper 95 %
bound is within it. The largest drop of any subject is bounded from above by the largest of the subjects' upper bounds:
an intersection-union test (Berger, 1982), which needs no correction for the number of subjects. The lower bound is
corrected (Bonferroni).

Near neighbours of the forget set, the tenth of retained pictures whose hidden content is most like that of pictures to
forget, are tested apart from the others: harm shows there first. Which they are does not depend on any model, but on a
feature network. A margin for them needs it; without a margin pixels may take its place, and the plot says so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from cu_audit.records import (
    FORGET,
    RETAIN,
    RETAIN_HELD_OUT,
    BeforeAfter,
    CheckResult,
    Control,
    Interval,
    Question,
    Verdict,
)

from compliance_unlearn.api import Check, CheckContext, Measurement, Outputs, World
from cu_standard.clusters import p_value_at_most
from cu_standard.neighbours import drop_histogram, nearest_retained
from cu_standard.nets import default_net
from cu_standard.params import RetainDriftParams
from cu_standard.statistics import at_most, cluster_means, finite_mean, mean_interval, peak_signal_noise_ratio

WORST_SUBJECT = "worst-subject"

QUANTISED = 20.0 * math.log10(255.0 * math.sqrt(12.0))
"""PSNR of rounding to 8 bits, 58.9 dB: what is above differs by less than pictures can show, and may be infinite."""


NEAR, FAR = "near-neighbours", "far-neighbours"


@dataclass(frozen=True)
class Pictures:
    """Retained pictures before and after, and as a model that answers everything with noise outputs has them."""

    name: str
    before: Outputs
    after: Outputs
    noise: Outputs

    @classmethod
    def of(cls, context: CheckContext, name: str) -> Pictures:
        """Of a whole set."""
        worlds = (World.ORIGINAL, World.CANDIDATE, World.NOISE)
        return cls(name, *(context.outputs(world, name) for world in worlds))

    def picked(self, name: str, chosen: torch.Tensor) -> Pictures:
        """Those chosen, boolean ``[n]``, under another name."""
        parts = (
            Outputs(part.truth[chosen], part.images[chosen], part.generated[chosen], part.subjects[chosen])
            for part in (self.before, self.after, self.noise)
        )
        return Pictures(name, *parts)

    @property
    def drops(self) -> torch.Tensor:
        """Mean drop of each cluster in dB."""
        return cluster_means(drop(self.before, self.after), self.before.subjects)

    def control(self, margin: float) -> Control:
        """The noise outputs must fail on these very pictures."""
        drops = cluster_means(drop(self.before, self.noise), self.before.subjects)
        interval = mean_interval(drops)
        return Control(
            name="model that answers everything with noise outputs",
            expected="fails: the drop is above the margin",
            value=finite_mean(drops),
            behaved=interval is not None and at_most(interval, margin) is Verdict.FAILED,
        )


class RetainDrift(Check):
    """Mean drop on retain and on held-out retain, that of the subject who lost most, and that of near neighbours."""

    def __init__(self, params: RetainDriftParams) -> None:
        self._params = params

    def _require(self) -> None:
        if self._params.near_drop_at_most is not None:
            default_net()

    def _run(self, context: CheckContext) -> Measurement:
        sets = [name for name in (RETAIN, RETAIN_HELD_OUT) if context.counts.get(name)]
        results = [self._mean_drop(Pictures.of(context, name), self._params.psnr_drop_at_most) for name in sets]
        if RETAIN not in sets:
            return Measurement(results=tuple(results))
        worst = self._worst_subject(context)
        results += [worst] if worst else []
        if not context.counts.get(FORGET):
            return Measurement(results=tuple(results))
        near, measured_by = nearest_retained(context, by_pixels=self._params.near_drop_at_most is None)
        pictures = Pictures.of(context, RETAIN)
        parts = (pictures.picked(NEAR, near), pictures.picked(FAR, ~near))
        return Measurement(
            results=(*results, *self._neighbours(*parts, measured_by)),
            metrics={f"psnr_{part.name}": {RETAIN: _mean_psnr(part)} for part in parts if len(part.before)},
            plots=drop_histogram(
                {part.name: drop(part.before, part.after) for part in parts},
                self._params.near_drop_at_most,
                measured_by,
            ),
        )

    def _mean_drop(self, pictures: Pictures, margin: float) -> CheckResult:
        drops = pictures.drops
        interval = mean_interval(drops)
        control = pictures.control(margin)
        verdict, reason = _judge(interval, margin, pictures.after, control)
        if interval is not None and not reason:
            reason = f"mean drop {drops.mean():.2f} dB, upper bound {interval.high:.2f} dB, allowed {margin:.2f} dB"
        return CheckResult(
            name="retain-drift",
            set=pictures.name,
            question=Question.RETAINED,
            claim="For pictures that are not to be forgotten the model is as good as before, within the margin.",
            verdict=verdict,
            gates=True,
            value=finite_mean(drops),
            unit="dB",
            interval=interval,
            threshold=margin,
            sample_size=len(pictures.before),
            p_value=p_value_at_most(drops, margin) if interval else None,
            controls=(control,),
            reason=reason,
            not_tested="Tasks and masks other than the model's own.",
        )

    def _neighbours(self, near: Pictures, far: Pictures, measured_by: str) -> tuple[CheckResult, ...]:
        """Results on near and far neighbours, where a margin was set for the near ones."""
        margin = self._params.near_drop_at_most
        if margin is None:
            return ()
        claim = "For the retained pictures that are most like those to forget the model is as good as before."
        result = self._mean_drop(near, margin)
        update = {"claim": claim, "reason": f"{result.reason}; nearness by {measured_by}"}
        if len(near.drops) < 2:
            update |= {
                "verdict": Verdict.INCONCLUSIVE,
                "reason": "all near neighbours are of one subject, so no bound exists",
            }
        found = [result.model_copy(update=update)]
        if len(far.before):
            others = self._mean_drop(far, margin)
            found.append(others.model_copy(update={"gates": False, "reason": f"for comparison: {others.reason}"}))
        return tuple(found)

    def _worst_subject(self, context: CheckContext) -> CheckResult | None:
        pictures = Pictures.of(context, RETAIN)
        before, after = pictures.before, pictures.after
        known = torch.unique(before.subjects[before.subjects >= 0]).tolist()
        if not known:
            return self._without_subjects(before)
        drops = drop(before, after)
        subjects = [drops[before.subjects == subject] for subject in known]
        single = [float(values) for values in subjects if len(values) == 1]
        worst = max(subjects, key=_severity)
        interval = largest_mean_interval(subjects)
        margin, control = self._params.worst_subject_drop_at_most, pictures.control(self._params.psnr_drop_at_most)
        if margin is None:
            verdict, reason = Verdict.INCONCLUSIVE, "reported only: no margin was set"
        else:
            verdict, reason = _judge(interval, margin, after, control)
            if verdict is Verdict.PASSED and max(single, default=-math.inf) > margin:
                verdict, reason = Verdict.INCONCLUSIVE, f"a subject with one picture lost {max(single):.2f} dB there"
            if verdict is Verdict.PASSED and context.totals[RETAIN] > context.counts[RETAIN]:
                verdict = Verdict.INCONCLUSIVE
                reason = f"{context.totals[RETAIN] - context.counts[RETAIN]} retained pictures were not measured"
            if interval is not None and not reason:
                reason = (
                    f"largest mean drop {worst.mean():.2f} dB, over {len(worst)} pictures; largest upper bound of "
                    f"{len(subjects) - len(single)} subjects {interval.high:.2f} dB, allowed {margin:.2f} dB"
                )
        return CheckResult(
            name="retain-drift",
            set=WORST_SUBJECT,
            question=Question.RETAINED,
            claim="No single retained subject lost more than the margin.",
            verdict=verdict,
            gates=margin is not None,
            value=finite_mean(worst),
            unit="dB",
            interval=interval,
            threshold=margin,
            sample_size=len(worst),
            controls=(control,),
            reason=reason,
            not_tested=f"Subjects with one picture, for whom no bound exists: {len(single)}." if single else "",
        )

    def _without_subjects(self, before: Outputs) -> CheckResult | None:
        """A margin that was asked for is never dropped in silence."""
        margin = self._params.worst_subject_drop_at_most
        if margin is None:
            return None
        return CheckResult(
            name="retain-drift",
            set=WORST_SUBJECT,
            question=Question.RETAINED,
            claim="No single retained subject lost more than the margin.",
            verdict=Verdict.INCONCLUSIVE,
            gates=True,
            value=None,
            unit="dB",
            interval=None,
            threshold=margin,
            sample_size=len(before),
            reason="the data set does not say who its subjects are, so that none can be singled out",
        )


def drop(before: Outputs, after: Outputs) -> torch.Tensor:
    """Drop of PSNR in dB of each image, ``[n]``; what is better than `QUANTISED` counts as that."""
    return _psnr(before) - _psnr(after)


def _psnr(outputs: Outputs) -> torch.Tensor:
    return peak_signal_noise_ratio(outputs).double().clamp(max=QUANTISED)


def _mean_psnr(pictures: Pictures) -> BeforeAfter:
    return BeforeAfter(before=finite_mean(_psnr(pictures.before)), after=finite_mean(_psnr(pictures.after)))


def largest_mean_interval(subjects: list[torch.Tensor]) -> Interval | None:
    """Interval of the largest of the subjects' means, from those with two values or more; None if there is none.

    The upper bound is the largest upper bound, since the one of the subject whose mean is largest holds with 95 %. The
    lower bound is the largest lower bound, each at ``1 - 0.05 / number`` of subjects.
    """
    bounded = [values for values in subjects if len(values) > 1]
    intervals = [mean_interval(values, lower_level=1 - 0.05 / len(bounded)) for values in bounded]
    found = [interval for interval in intervals if interval is not None]
    if not found or len(found) < len(intervals):
        return None
    return Interval(
        low=max(interval.low for interval in found),
        high=max(interval.high for interval in found),
        level=0.9,
        method="Student t of each subject, bounds of the largest mean, each at 95 %",
    )


def _judge(interval: Interval | None, margin: float, after: Outputs, control: Control) -> tuple[Verdict, str]:
    """The verdict, and the reason if it is not the interval."""
    if not control.behaved:
        return Verdict.VOID, "a control misbehaved: this set cannot show a drop"
    if not torch.isfinite(after.images).all():
        return Verdict.FAILED, "the unlearned model gives outputs that are not numbers"
    if interval is None:
        return Verdict.INCONCLUSIVE, "too few independent records, or a figure that is not finite"
    return at_most(interval, margin), ""


def _severity(values: torch.Tensor) -> float:
    """The mean drop; a drop that is not a number is the worst."""
    mean = float(values.mean())
    return math.inf if math.isnan(mean) else mean
