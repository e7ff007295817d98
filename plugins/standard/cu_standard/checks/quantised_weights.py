"""Quantised weights: does rounding the weights bring forgotten pictures back?

Unlearning that moves the weights only a little is undone when they are stored with fewer bits, since rounding puts them
back where they were (Zhang et al., 2024, "Catastrophic failure of LLM unlearning via quantization"). Every tensor of
weights is rounded to a symmetric grid of 2^b − 1 levels whose ends are its largest absolute value, for b of 8 and of 4.

Statistic: PSNR (dB, generated pixels) of each forget picture with rounded weights minus that with the weights as they
are. Null hypothesis: the mean gain is at least the margin. Passed when the one-sided upper 95 % bound (Student's t, by
picture) is within it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from cu_audit.records import FORGET, CheckResult, Control, Question, Verdict

from compliance_unlearn.api import Check, CheckContext, Measurement, ModelAdapter, World
from cu_standard.attacks import Gain, Pictures, quality
from cu_standard.params import QuantisedWeightsParams
from cu_standard.statistics import at_most

BITS = (8, 4)

PICTURES_AT_MOST = 256
"""Forget pictures that are looked at; a quarter for families whose reconstructions take many passes."""


@dataclass(frozen=True)
class Unrounded:
    """What the weights as they are make of the pictures: PSNR in dB, each ``[n]``.

    Attributes:
        pictures: to forget.
        noise: images in their place.
        candidate: of the unlearned model.
        of_noise: of the original where it is shown ``noise``.
    """

    pictures: Pictures
    noise: torch.Tensor
    candidate: torch.Tensor
    of_noise: torch.Tensor


class QuantisedWeights(Check):
    """Gain of PSNR by rounding to 8 and to 4 bits."""

    def __init__(self, params: QuantisedWeightsParams) -> None:
        self._margin = params.gain_at_most

    def _run(self, context: CheckContext) -> Measurement:
        original, candidate = context.model(World.ORIGINAL), context.model(World.CANDIDATE)
        order = torch.randperm(context.counts[FORGET], generator=context.generator("forget pictures of rounded models"))
        pictures = Pictures.of(context, FORGET, order[: PICTURES_AT_MOST // (4 if original.samples else 1)])
        noise = context.noise(len(pictures), "rounded models")
        before = Unrounded(pictures, noise, quality(candidate, pictures), quality(original, pictures, noise))
        return Measurement(tuple(self._result(context, bits, before) for bits in BITS))

    def _result(self, context: CheckContext, bits: int, before: Unrounded) -> CheckResult:
        pictures = before.pictures
        rounded = quality(quantised(context.model(World.CANDIDATE), bits), pictures)
        gain = Gain.of(rounded - before.candidate, self._margin)
        controls = self._controls(quantised(context.model(World.ORIGINAL), bits), before)
        verdict, reason = self._judge(gain, before, controls)
        return CheckResult(
            name="quantised-weights",
            set=f"{bits}-bit",
            question=Question.RECOVERABLE,
            claim=f"Rounding the weights to {bits} bits does not bring the forgotten pictures back, within the margin.",
            verdict=verdict,
            gates=True,
            value=gain.mean,
            unit="dB",
            interval=gain.interval,
            threshold=self._margin,
            sample_size=len(pictures),
            p_value=gain.p_value,
            detectable=gain.detectable,
            controls=controls,
            reason=reason,
            not_tested="Other ways to round: a scale for each channel, calibrated rounding, rounded activations.",
        )

    def _controls(self, original: ModelAdapter, before: Unrounded) -> tuple[Control, ...]:
        """``original`` is rounded."""
        known = Gain.of(quality(original, before.pictures) - before.candidate, self._margin)
        of_noise = Gain.of(quality(original, before.pictures, before.noise) - before.of_noise, self._margin)
        return (
            Control(
                name="rounded original model",
                expected="fails: a model that still knows the pictures is better than the unlearned one by the margin",
                value=known.mean,
                behaved=known.interval is not None and at_most(known.interval, self._margin) is Verdict.FAILED,
            ),
            Control(
                name="original model on noise",
                expected="passes: rounding alone gains no more than the margin in dB",
                value=of_noise.mean,
                behaved=of_noise.mean is not None and of_noise.mean <= self._margin,
            ),
        )

    def _judge(self, gain: Gain, before: Unrounded, controls: tuple[Control, ...]) -> tuple[Verdict, str]:
        if len(before.pictures) < 2:
            return Verdict.INCONCLUSIVE, "at least 2 pictures to forget are needed for a bound"
        if gain.mean is None or gain.interval is None:
            whose = "unlearned" if not torch.isfinite(before.candidate).all() else "rounded"
            return Verdict.INCONCLUSIVE, f"the {whose} model gives outputs that are not numbers"
        broken = [control.name for control in controls if not control.behaved]
        if broken:
            return Verdict.VOID, f"PSNR cannot show whether pictures come back: {', '.join(broken)}"
        unrounded = float(before.candidate.mean())
        return at_most(gain.interval, self._margin), (
            f"PSNR {unrounded:.2f} dB before and {unrounded + gain.mean:.2f} dB after rounding; "
            f"upper bound of the gain {gain.interval.high:.2f} dB, allowed {self._margin:.2f} dB"
        )


@torch.no_grad()
def quantised(model: ModelAdapter, bits: int) -> ModelAdapter:
    """Round the weights of a model in place, each tensor to multiples of its largest absolute value / (2^(b−1) − 1)."""
    levels = 2 ** (bits - 1) - 1
    for parameter in model.module.parameters():
        scale = parameter.abs().max().clamp(min=torch.finfo(parameter.dtype).tiny) / levels
        parameter.copy_((parameter / scale).round() * scale)
    return model
