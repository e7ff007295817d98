"""Retain drift: did the model become worse for everybody else?

Paired equivalence test: the drop of PSNR (dB, generated pixels, before minus after) of each image; records of one
subject are one cluster. Null hypothesis: the mean drop is at least the margin. Passed when the one-sided upper 95 %
bound is within it. The largest drop of any subject is bounded from above by the largest of the subjects' upper bounds:
an intersection-union test (Berger, 1982), which needs no correction for the number of subjects. The lower bound is
corrected (Bonferroni).
"""

from __future__ import annotations

import math

import torch
from cu_audit.records import RETAIN, RETAIN_HELD_OUT, CheckResult, Control, Interval, Verdict

from compliance_unlearn.api import Check, CheckContext, Measurement, Outputs, World
from cu_standard.params import RetainDriftParams
from cu_standard.statistics import at_most, cluster_means, finite_mean, mean_interval, peak_signal_noise_ratio

WORST_SUBJECT = "worst-subject"

QUANTISED = 20.0 * math.log10(255.0 * math.sqrt(12.0))
"""PSNR of rounding to 8 bits, 58.9 dB: what is above differs by less than pictures can show, and may be infinite."""


class RetainDrift(Check):
    """Mean drop on retain and on held-out retain, and that of the subject who lost most."""

    def __init__(self, params: RetainDriftParams) -> None:
        self._params = params

    def _run(self, context: CheckContext) -> Measurement:
        results = []
        for name in (RETAIN, RETAIN_HELD_OUT):
            if context.counts.get(name):
                results.append(self._mean_drop(context, name))
        if RETAIN in {result.set for result in results}:
            worst = self._worst_subject(context)
            results += [worst] if worst else []
        return Measurement(results=tuple(results))

    def _mean_drop(self, context: CheckContext, name: str) -> CheckResult:
        before, after = context.outputs(World.ORIGINAL, name), context.outputs(World.CANDIDATE, name)
        drops = cluster_means(drop(before, after), before.subjects)
        interval = mean_interval(drops)
        margin = self._params.psnr_drop_at_most
        control = self._control(context, name)
        verdict, reason = _judge(interval, margin, after, control)
        if interval is not None and not reason:
            reason = f"mean drop {drops.mean():.2f} dB, upper bound {interval.high:.2f} dB, allowed {margin:.2f} dB"
        return CheckResult(
            name="retain-drift",
            set=name,
            claim="For pictures that are not to be forgotten the model is as good as before, within the margin.",
            verdict=verdict,
            gates=True,
            value=finite_mean(drops),
            unit="dB",
            interval=interval,
            threshold=margin,
            sample_size=len(before),
            controls=(control,),
            reason=reason,
            not_tested="Tasks and masks other than the model's own.",
        )

    def _control(self, context: CheckContext, name: str) -> Control:
        before, broken = context.outputs(World.ORIGINAL, name), context.outputs(World.NOISE, name)
        drops = cluster_means(drop(before, broken), before.subjects)
        interval = mean_interval(drops)
        return Control(
            name="model that answers everything with noise outputs",
            expected="fails: the drop is above the margin",
            value=finite_mean(drops),
            behaved=interval is not None and at_most(interval, self._params.psnr_drop_at_most) is Verdict.FAILED,
        )

    def _worst_subject(self, context: CheckContext) -> CheckResult | None:
        before, after = context.outputs(World.ORIGINAL, RETAIN), context.outputs(World.CANDIDATE, RETAIN)
        known = torch.unique(before.subjects[before.subjects >= 0]).tolist()
        if not known:
            return self._without_subjects(before)
        drops = drop(before, after)
        subjects = [drops[before.subjects == subject] for subject in known]
        single = [float(values) for values in subjects if len(values) == 1]
        worst = max(subjects, key=_severity)
        interval = largest_mean_interval(subjects)
        margin, control = self._params.worst_subject_drop_at_most, self._control(context, RETAIN)
        if margin is None:
            verdict, reason = Verdict.INCONCLUSIVE, "reported only: no margin was set"
        else:
            verdict, reason = _judge(interval, margin, after, control)
            if verdict is Verdict.PASSED and max(single, default=-math.inf) > margin:
                verdict, reason = Verdict.INCONCLUSIVE, f"a subject with one picture lost {max(single):.2f} dB there"
            if interval is not None and not reason:
                reason = (
                    f"largest mean drop {worst.mean():.2f} dB, over {len(worst)} pictures; largest upper bound of "
                    f"{len(subjects) - len(single)} subjects {interval.high:.2f} dB, allowed {margin:.2f} dB"
                )
        return CheckResult(
            name="retain-drift",
            set=WORST_SUBJECT,
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
    one, other = (peak_signal_noise_ratio(outputs).double().clamp(max=QUANTISED) for outputs in (before, after))
    return one - other


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
