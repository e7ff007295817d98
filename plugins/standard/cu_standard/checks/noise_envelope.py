"""Noise envelope: do forget outputs look like what the original model makes of noise?

The statistic is in `cu_standard.envelope`. The records to forget are all there are, so their share inside has no
sampling error; its interval comes from the border, which is an estimate. Never-seen pictures of the subject are a
sample, and so is what was measured of a very large set: theirs is a Clopper-Pearson interval, with the uncertainty of
the border added (union bound). To fail, the records to forget must miss the threshold as a sample, too: of outputs that
are exactly like noise 95 % are inside, and so of some sets less.
"""

from __future__ import annotations

import math

import torch
from cu_audit.records import (
    FORGET,
    FORGET_HELD_OUT,
    RETAIN,
    CheckResult,
    Control,
    Question,
    Verdict,
)

from compliance_unlearn.api import Check, CheckContext, Measurement, Outputs, World
from cu_standard.envelope import COVERAGE, FOLDS, Envelope, Inside, Scored, folds_of
from cu_standard.params import NoiseEnvelopeParams
from cu_standard.score_histogram import RETAINED, score_histogram
from cu_standard.statistics import at_least, generated_pixels, percent_down, percent_up

REAL_INSIDE_AT_MOST = 0.05
"""More real outputs of the original inside than this, and the statistic cannot tell noise from pictures."""

REAL_SETS = (RETAIN, FORGET, FORGET_HELD_OUT)
"""Sets whose pictures stand for what is not noise."""

REFERENCES_AT_MOST = 2048
"""Outputs on pictures that the classifiers learn from; the time grows with the square."""


class NoiseEnvelope(Check):
    """Share of forget outputs inside the region that holds 95 % of the original's outputs on noise."""

    def __init__(self, params: NoiseEnvelopeParams) -> None:
        self._params = params

    def _run(self, context: CheckContext) -> Measurement:
        envelope = self._envelope(context)
        fresh = _pixels(context.noise_outputs("envelope control", self._params.noise_images))
        noise = envelope.inside(fresh, torch.arange(len(fresh)) % FOLDS)
        centre = envelope.inside(fresh.mean(dim=0).expand(FOLDS, -1), torch.arange(FOLDS))
        retained = _inside(context, envelope, World.ORIGINAL, RETAIN)
        controls = _controls(retained, noise, centre)
        sets = [name for name in (FORGET, FORGET_HELD_OUT) if context.counts.get(name)]
        before, after = (
            {name: _inside(context, envelope, world, name) for name in sets}
            for world in (World.ORIGINAL, World.CANDIDATE)
        )
        drawn = {"noise": noise, RETAINED: retained}
        if FORGET in sets:
            drawn |= {"forget before": before[FORGET], "forget after": after[FORGET]}
        return Measurement(
            results=tuple(self._result(context, name, before[name], after[name], controls) for name in sets),
            plots=(score_histogram({name: scored.past_border for name, scored in drawn.items()}),),
        )

    def _envelope(self, context: CheckContext) -> Envelope:
        count = self._params.noise_images
        reference = context.noise_outputs("envelope reference", count)
        calibration = context.noise_outputs("envelope calibration", count)
        names = [name for name in REAL_SETS if context.counts.get(name)]
        real = [context.outputs(World.ORIGINAL, name) for name in names]
        pixels = torch.cat([_pixels(outputs) for outputs in real])
        folds = torch.cat([_folds(context, name, outputs) for name, outputs in zip(names, real, strict=True)])
        chosen = torch.randperm(len(pixels), generator=context.generator("envelope pictures"))[:REFERENCES_AT_MOST]
        envelope = Envelope.fitted(_pixels(reference), pixels[chosen], folds[chosen])
        return envelope.calibrated(_pixels(calibration))

    def _result(
        self, context: CheckContext, name: str, before: Inside, inside: Inside, shared: tuple[Control, ...]
    ) -> CheckResult:
        is_sample = name != FORGET or context.totals[name] > context.counts[name]
        interval = inside.interval(is_sample=is_sample)
        controls = (_at_most("original model", before.share), *shared)
        broken = [control.name for control in controls if not control.behaved]
        if broken:
            verdict, reason = Verdict.VOID, f"the envelope cannot tell noise from pictures: {', '.join(broken)}"
        else:
            limit, verdict = self._params.inside_at_least, at_least(interval, self._params.inside_at_least)
            reason = (
                f"{inside.estimate} of {inside.count} inside; {interval.method}: "
                f"{percent_down(interval.low)} to {percent_up(interval.high)}; {limit:.0%} are asked for"
            )
            if verdict is Verdict.FAILED and inside.interval(is_sample=True).high >= limit:
                verdict = Verdict.INCONCLUSIVE
                reason += f"; of a model that is inside in {limit:.0%} of all cases, chance might show so few"
        return CheckResult(
            name="noise-envelope",
            set=name,
            question=Question.FORGOTTEN,
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
            p_value=inside.p_value(self._params.inside_at_least, is_sample=is_sample),
            controls=controls,
            reason=reason,
            not_tested=(
                "Other masks of the same pictures, features inside of the model, and whether an output that is unlike "
                "noise outputs and unlike pictures would lie inside."
            ),
        )


def _controls(retained: Inside, noise: Inside, centre: Inside) -> tuple[Control, ...]:
    tolerance = 3.0 * math.sqrt(COVERAGE * (1.0 - COVERAGE) * 2.0 / noise.count)
    return (
        _at_most("original model on retained pictures", retained.share),
        Control(
            name="original model on fresh noise",
            expected=f"passes: {COVERAGE:.0%} inside, give or take {tolerance:.1%}",
            value=noise.share,
            behaved=abs(noise.share - COVERAGE) <= tolerance,
        ),
        Control(
            name="mean of the noise outputs",
            expected="passes: a model that collapsed to it would be recognised",
            value=centre.share,
            behaved=centre.share == 1.0,
        ),
    )


def _inside(context: CheckContext, envelope: Envelope, world: World, name: str) -> Scored:
    outputs = context.outputs(world, name)
    return envelope.inside(_pixels(outputs), _folds(context, name, outputs))


def _at_most(name: str, share: float) -> Control:
    return Control(
        name=name,
        expected=f"fails: at most {REAL_INSIDE_AT_MOST:.0%} inside",
        value=share,
        behaved=share <= REAL_INSIDE_AT_MOST,
    )


def _folds(context: CheckContext, name: str, outputs: Outputs) -> torch.Tensor:
    """Folds of the outputs on a set, whose pictures are numbered apart from those of the other sets."""
    keys = REAL_SETS.index(name) * max(context.counts.values()) + torch.arange(context.counts[name])
    return folds_of(outputs.subjects, keys)


def _pixels(outputs: Outputs) -> torch.Tensor:
    return generated_pixels(outputs.images, outputs.generated)
