"""Noise envelope: do forget outputs look like what the original model makes of noise?

Score of an output o: log d₃(o, A) − log d₃(o, B), where d₃ is the mean Euclidean distance of generated pixels to the
three nearest members, A are outputs of the original on noise, O(n), and B its outputs on pictures, retained ones and
those to forget, but never on the scored picture or another one of its subject. It is low where noise outputs are
dense and real ones are not, and needs no shape of either cloud (compare Loftsgaarden and Quesenberry, 1965). The
envelope is the region that holds 95 % of O(n): its border is a quantile of the scores of noise outputs that are not
in A.

The records to forget are all there are, so their share inside has no sampling error; its interval comes from the
border, which is an estimate. Never-seen pictures of the subject are a sample, and so is what was measured of a very
large set: theirs is a Clopper-Pearson interval, with the uncertainty of the border added (union bound).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from cu_audit.records import FORGET, FORGET_HELD_OUT, RETAIN, CheckResult, Control, Interval, Verdict

from compliance_unlearn.api import Check, CheckContext, Measurement, Outputs, World
from cu_standard.params import NoiseEnvelopeParams
from cu_standard.statistics import at_least, generated_pixels, percent_down, percent_up, share_interval

COVERAGE = 0.95
"""Share of O(n) inside the envelope."""

REAL_INSIDE_AT_MOST = 0.05
"""More real outputs of the original inside than this, and the statistic cannot tell noise from pictures."""

BORDER_LEVEL = 0.975
"""Confidence of each border; it leaves 2.5 % to a sample, so that each bound holds at 95 %."""

REAL_SETS = (RETAIN, FORGET, FORGET_HELD_OUT)
"""Sets whose pictures stand for what is not noise."""

NEIGHBOURS = 3
REFERENCES_AT_MOST = 2048
"""Pictures in B. With few of them, an output may lie nearer to some noise output than to the next picture."""


@dataclass(frozen=True)
class Envelope:
    """Score and border, with the uncertainty of the border.

    Attributes:
        noise: A, ``[a, k]`` generated pixels.
        real: B, ``[b, k]``.
        real_subjects: integer ``[b]``; an output is never compared with outputs of its own subject,
        real_keys: integer ``[b]``; nor with the output on its own picture.
        strict: border that holds at most 95 % of O(n), with confidence `BORDER_LEVEL`.
        border: estimate of the border.
        loose: border that holds at least 95 % of O(n), with confidence `BORDER_LEVEL`.
    """

    noise: torch.Tensor
    real: torch.Tensor
    real_subjects: torch.Tensor
    real_keys: torch.Tensor
    strict: float = math.nan
    border: float = math.nan
    loose: float = math.nan

    def scores(self, outputs: Outputs, keys: torch.Tensor) -> torch.Tensor:
        """Score of each output, ``[n]``; low is like noise.

        Args:
            outputs: of any world.
            keys: integer ``[n]``, what names each picture; -1 for noise.
        """
        pixels, subjects = generated_pixels(outputs.images, outputs.generated), outputs.subjects
        to_real = torch.cdist(pixels, self.real)
        same_subject = (subjects[:, None] == self.real_subjects[None, :]) & (subjects[:, None] >= 0)
        same_picture = (keys[:, None] == self.real_keys[None, :]) & (keys[:, None] >= 0)
        to_real = to_real.masked_fill(same_subject | same_picture, math.inf)
        near_real = _nearest(to_real)
        scores = _nearest(torch.cdist(pixels, self.noise)).log() - near_real.log()
        # Without three pictures of other subjects beside it, an output cannot be shown to be unlike pictures.
        return scores.masked_fill(near_real.isinf(), math.inf)

    def calibrated(self, scores: torch.Tensor) -> Envelope:
        """With borders from the scores of noise outputs that are not in A, ``[m]``."""
        from scipy.stats import binom

        ordered, count = scores.sort().values, len(scores)

        def at(rank: float) -> float:
            return float(ordered[min(max(int(rank), 1), count) - 1])

        return Envelope(
            self.noise,
            self.real,
            self.real_subjects,
            self.real_keys,
            strict=at(binom.ppf(1 - BORDER_LEVEL, count, COVERAGE)),
            border=at(math.ceil(COVERAGE * (count + 1))),
            loose=at(binom.ppf(BORDER_LEVEL, count, COVERAGE) + 1),
        )

    def inside(self, outputs: Outputs, keys: torch.Tensor | None = None) -> Inside:
        """How many outputs lie inside, for each border; without keys they are outputs on noise."""
        scores = self.scores(outputs, torch.full((len(outputs),), -1) if keys is None else keys)
        counts = [int((scores <= border).sum()) for border in (self.strict, self.border, self.loose)]
        return Inside(counts[0], counts[1], counts[2], len(outputs))


@dataclass(frozen=True)
class Inside:
    """Outputs inside the envelope, by its strict, estimated and loose border."""

    strict: int
    estimate: int
    loose: int
    count: int

    @property
    def share(self) -> float:
        """Share inside by the estimated border."""
        return self.estimate / self.count

    def interval(self, *, is_sample: bool) -> Interval:
        """Of the share: of the population that was sampled, or of these very records."""
        if is_sample:
            return Interval(
                low=share_interval(self.strict, self.count, BORDER_LEVEL).low,
                high=share_interval(self.loose, self.count, BORDER_LEVEL).high,
                level=0.9,
                method="Clopper-Pearson with the uncertainty of the envelope's border, each bound at 95 %",
            )
        return Interval(
            low=self.strict / self.count,
            high=self.loose / self.count,
            level=2 * BORDER_LEVEL - 1,
            method="all records measured; uncertainty of the envelope's border, each bound at 97.5 %",
        )


class NoiseEnvelope(Check):
    """Share of forget outputs inside the region that holds 95 % of the original's outputs on noise."""

    def __init__(self, params: NoiseEnvelopeParams) -> None:
        self._params = params

    def _run(self, context: CheckContext) -> Measurement:
        envelope = self._envelope(context)
        controls = self._controls(context, envelope)
        sets = [name for name in (FORGET, FORGET_HELD_OUT) if context.counts.get(name)]
        return Measurement(results=tuple(self._result(context, name, envelope, controls) for name in sets))

    def _envelope(self, context: CheckContext) -> Envelope:
        count = self._params.noise_images
        reference = context.noise_outputs("envelope reference", count)
        calibration = context.noise_outputs("envelope calibration", count)
        names = [name for name in REAL_SETS if context.counts.get(name)]
        real = [context.outputs(World.ORIGINAL, name) for name in names]
        pixels = torch.cat([generated_pixels(outputs.images, outputs.generated) for outputs in real])
        chosen = torch.randperm(len(pixels), generator=context.generator("envelope pictures"))[:REFERENCES_AT_MOST]
        envelope = Envelope(
            noise=generated_pixels(reference.images, reference.generated),
            real=pixels[chosen],
            real_subjects=torch.cat([outputs.subjects for outputs in real])[chosen],
            real_keys=torch.cat([_keys(context, name) for name in names])[chosen],
        )
        return envelope.calibrated(envelope.scores(calibration, torch.full((count,), -1)))

    def _result(self, context: CheckContext, name: str, envelope: Envelope, shared: tuple[Control, ...]) -> CheckResult:
        keys = _keys(context, name)
        inside = envelope.inside(context.outputs(World.CANDIDATE, name), keys)
        interval = inside.interval(is_sample=name != FORGET or context.totals[name] > context.counts[name])
        original = envelope.inside(context.outputs(World.ORIGINAL, name), keys)
        controls = (_at_most("original model", original.share), *shared)
        broken = [control.name for control in controls if not control.behaved]
        if broken:
            verdict, reason = Verdict.VOID, f"the envelope cannot tell noise from pictures: {', '.join(broken)}"
        else:
            verdict = at_least(interval, self._params.inside_at_least)
            reason = (
                f"{inside.estimate} of {inside.count} inside; {interval.method}: "
                f"{percent_down(interval.low)} to {percent_up(interval.high)}; "
                f"{self._params.inside_at_least:.0%} are asked for"
            )
        return CheckResult(
            name="noise-envelope",
            set=name,
            claim=(
                "What the model makes of the records to forget looks like what the original makes of noise."
                if name == FORGET
                else "The same holds for pictures of the subject that the model was never trained on."
            ),
            verdict=verdict,
            gates=name == FORGET,
            value=inside.share,
            unit="share",
            interval=interval,
            threshold=self._params.inside_at_least,
            sample_size=inside.count,
            controls=controls,
            reason=reason,
            not_tested="Other masks of the same pictures, and features inside of the model.",
        )

    def _controls(self, context: CheckContext, envelope: Envelope) -> tuple[Control, ...]:
        count = self._params.noise_images
        fresh = context.noise_outputs("envelope control", count)
        share = envelope.inside(fresh).share
        tolerance = 3.0 * math.sqrt(COVERAGE * (1.0 - COVERAGE) * 2.0 / count)
        centre = Outputs(
            fresh.truth[:1],
            fresh.images.mean(dim=0, keepdim=True),
            fresh.generated[:1],
            fresh.subjects[:1],
        )
        retained = envelope.inside(context.outputs(World.ORIGINAL, RETAIN), _keys(context, RETAIN))
        return (
            _at_most("original model on retained pictures", retained.share),
            Control(
                name="original model on fresh noise",
                expected=f"passes: {COVERAGE:.0%} inside, give or take {tolerance:.1%}",
                value=share,
                behaved=abs(share - COVERAGE) <= tolerance,
            ),
            Control(
                name="mean of the noise outputs",
                expected="passes: a model that collapsed to it would be recognised",
                value=envelope.inside(centre).share,
                behaved=envelope.inside(centre).estimate == 1,
            ),
        )


def _at_most(name: str, share: float) -> Control:
    return Control(
        name=name,
        expected=f"fails: at most {REAL_INSIDE_AT_MOST:.0%} inside",
        value=share,
        behaved=share <= REAL_INSIDE_AT_MOST,
    )


def _keys(context: CheckContext, name: str) -> torch.Tensor:
    """A number for each picture of a set, different from those of the other sets: integer ``[n]``."""
    count, largest = context.counts[name], max(context.counts.values())
    return REAL_SETS.index(name) * largest + torch.arange(count)


def _nearest(distances: torch.Tensor) -> torch.Tensor:
    """Mean of the smallest distances of each row, never below a billionth, so that its logarithm exists."""
    nearest = distances.topk(min(NEIGHBOURS, distances.shape[1]), dim=1, largest=False).values
    return nearest.mean(dim=1).clamp_min(1e-9)
