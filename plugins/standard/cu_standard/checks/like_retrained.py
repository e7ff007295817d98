"""Like retrained: does the model draw the records to forget as well as one that never saw them?

The second goal, apart from that of looking like noise: a model is indistinguishable from one trained without the
records. Paired equivalence test (two one-sided t-tests, Schuirmann, 1987) of the PSNR in dB on generated pixels,
candidate minus reference, by picture; retained records of one subject are one cluster. Null hypothesis: the mean
difference is outside of ±margin. A model that makes noise of what it should forget misses this goal by design: it
draws worse than one that never knew better.
"""

from __future__ import annotations

import math

import torch
from cu_audit.records import FORGET, FORGET_HELD_OUT, RETAIN, CheckResult, Control, Interval, Question, Verdict

from compliance_unlearn.api import Check, CheckContext, Measurement, World
from cu_standard.params import LikeRetrainedParams
from cu_standard.statistics import cluster_means, finite_mean, mean_interval, peak_signal_noise_ratio

NOT_TRAINED = "no model was trained without the records to forget; run again with --with-reference"


class LikeRetrained(Check):
    """Mean difference of PSNR to the retrained reference on what was forgotten, never seen, and retained."""

    def __init__(self, params: LikeRetrainedParams) -> None:
        self._params = params

    def _run(self, context: CheckContext) -> Measurement:
        sets = [name for name in (FORGET, FORGET_HELD_OUT, RETAIN) if context.counts.get(name)]
        return Measurement(results=tuple(self._result(context, name) for name in sets))

    def _result(self, context: CheckContext, name: str) -> CheckResult:
        interval = value = None
        controls: tuple[Control, ...] = ()
        if World.RETRAINED not in context.worlds:
            verdict, reason = Verdict.SKIPPED, NOT_TRAINED
        else:
            difference = self._differences(context, World.CANDIDATE, name)
            value, interval = finite_mean(difference), mean_interval(difference)
            controls = (self._control(context, name),)
            verdict, reason = self._judged(interval, len(difference), controls)
            reason = f"{reason}: {self._figures(context, name)}"
        return CheckResult(
            name="like-retrained",
            trained_anew=World.RETRAINED in context.worlds,
            set=name,
            question=Question.NEVER_SEEN,
            claim="The model draws these pictures as well as one that was trained without the records to forget.",
            verdict=verdict,
            gates=name == FORGET,
            value=value,
            unit="dB",
            interval=interval,
            threshold=self._params.psnr_margin,
            sample_size=context.counts[name],
            p_value=None if interval is None else self._p_value(difference),
            controls=controls,
            reason=reason,
            not_tested="References trained from other seeds, and differences that leave the mean PSNR as it is.",
        )

    @staticmethod
    def _differences(context: CheckContext, world: World, name: str) -> torch.Tensor:
        """PSNR of a world minus that of the reference in dB: one value a retained subject, one a picture to forget."""
        reference, outputs = context.outputs(World.RETRAINED, name), context.outputs(world, name)
        difference = peak_signal_noise_ratio(outputs) - peak_signal_noise_ratio(reference)
        return cluster_means(difference, outputs.subjects) if name == RETAIN else difference

    def _judged(self, interval: Interval | None, count: int, controls: tuple[Control, ...]) -> tuple[Verdict, str]:
        margin = self._params.psnr_margin
        if interval is None:
            return Verdict.INCONCLUSIVE, f"{count} subjects or pictures with a finite PSNR; at least 2 are needed"
        if not all(control.behaved for control in controls):
            return Verdict.VOID, "even what the original makes of noise is as near to the reference"
        asked = f"mean difference {interval.low:.2f} to {interval.high:.2f} dB, allowed ±{margin:g} dB"
        if -margin <= interval.low and interval.high <= margin:
            return Verdict.PASSED, asked
        if interval.high < -margin or interval.low > margin:
            return Verdict.FAILED, asked
        return Verdict.INCONCLUSIVE, asked

    def _p_value(self, difference: torch.Tensor) -> float:
        """The larger of the two one-sided p-values."""
        from scipy.stats import ttest_1samp

        values, margin = difference.double().numpy(), self._params.psnr_margin
        low = ttest_1samp(values, -margin, alternative="greater").pvalue
        high = ttest_1samp(values, margin, alternative="less").pvalue
        larger = max(float(low), float(high))
        return larger if math.isfinite(larger) else float(abs(float(difference.double().mean())) > margin)

    def _control(self, context: CheckContext, name: str) -> Control:
        difference = finite_mean(self._differences(context, World.NOISE, name))
        return Control(
            name="original model on noise",
            expected=f"fails: further than {self._params.psnr_margin:g} dB from the reference",
            value=difference,
            behaved=difference is not None and abs(difference) > self._params.psnr_margin,
        )

    @staticmethod
    def _figures(context: CheckContext, name: str) -> str:
        worlds = {"candidate": World.CANDIDATE, "reference": World.RETRAINED, "original": World.ORIGINAL}
        means = {
            who: finite_mean(peak_signal_noise_ratio(context.outputs(world, name))) for who, world in worlds.items()
        }
        return ", ".join(f"{who} {'not finite' if mean is None else f'{mean:.2f} dB'}" for who, mean in means.items())
