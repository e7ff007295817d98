"""Retain drift: did the model become worse for everybody else?

Paired equivalence test: the drop of PSNR (dB, generated pixels, before minus after) of each image; records of one
subject are one cluster. Null hypothesis: the mean drop is at least the margin. Passed when the one-sided upper 95 %
bound is within it.
"""

from __future__ import annotations

import torch
from cu_audit.records import RETAIN, RETAIN_HELD_OUT, CheckResult, Control, Verdict

from compliance_unlearn.api import Check, CheckContext, Measurement, World
from cu_standard.params import RetainDriftParams
from cu_standard.statistics import at_most, mean_interval, peak_signal_noise_ratio

WORST_SUBJECT = "worst-subject"


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
        before = context.outputs(World.ORIGINAL, name)
        drop = peak_signal_noise_ratio(before) - peak_signal_noise_ratio(context.outputs(World.CANDIDATE, name))
        clusters = before.subjects if (before.subjects >= 0).all() else None
        interval = mean_interval(drop, clusters)
        margin = self._params.psnr_drop_at_most
        controls = self._controls(context, name)
        if not all(control.behaved for control in controls):
            verdict, reason = Verdict.VOID, "a control misbehaved: this set cannot show a drop"
        elif not torch.isfinite(drop).all() or interval is None:
            verdict, reason = Verdict.INCONCLUSIVE, "too few independent records, or a figure that is not finite"
        else:
            verdict = at_most(interval, margin)
            reason = f"mean drop {drop.mean():.2f} dB, upper bound {interval.high:.2f} dB, allowed {margin:.2f} dB"
        return CheckResult(
            name="retain-drift",
            set=name,
            claim="For pictures that are not to be forgotten the model is as good as before, within the margin.",
            verdict=verdict,
            gates=True,
            value=_finite(drop),
            unit="dB",
            interval=interval,
            threshold=margin,
            sample_size=len(drop),
            controls=controls,
            reason=reason,
            not_tested="Tasks and masks other than the model's own.",
        )

    def _controls(self, context: CheckContext, name: str) -> tuple[Control, ...]:
        before = context.outputs(World.ORIGINAL, name)
        broken = context.outputs(World.NOISE, name)
        drop = peak_signal_noise_ratio(before) - peak_signal_noise_ratio(broken)
        interval = mean_interval(drop)
        failed = interval is not None and at_most(interval, self._params.psnr_drop_at_most) is Verdict.FAILED
        return (
            Control(
                name="model that answers everything with noise outputs",
                expected="fails: the drop is above the margin",
                value=_finite(drop),
                behaved=failed,
            ),
        )

    def _worst_subject(self, context: CheckContext) -> CheckResult | None:
        before, after = context.outputs(World.ORIGINAL, RETAIN), context.outputs(World.CANDIDATE, RETAIN)
        known = torch.unique(before.subjects[before.subjects >= 0])
        if not len(known):
            return None
        drop = peak_signal_noise_ratio(before) - peak_signal_noise_ratio(after)
        worst = max((drop[before.subjects == subject] for subject in known), key=lambda values: float(values.mean()))
        interval = mean_interval(worst)
        margin = self._params.worst_subject_drop_at_most
        if margin is None or interval is None or not torch.isfinite(worst).all():
            verdict, reason = Verdict.INCONCLUSIVE, "reported only: no margin was set, or the subject has one record"
        else:
            verdict = at_most(interval, margin)
            reason = f"mean drop {worst.mean():.2f} dB over {len(worst)} pictures, upper bound {interval.high:.2f} dB"
        return CheckResult(
            name="retain-drift",
            set=WORST_SUBJECT,
            claim="No single retained subject lost more than the margin.",
            verdict=verdict,
            gates=margin is not None,
            value=_finite(worst),
            unit="dB",
            interval=interval,
            threshold=margin,
            sample_size=len(worst),
            reason=reason,
            not_tested="The bound is that of the subject with the largest drop, not corrected for having been chosen.",
        )


def _finite(values: torch.Tensor) -> float | None:
    return float(values.double().mean()) if torch.isfinite(values).all() else None
