"""Noise envelope: do forget outputs look like what the original model makes of noise?

Score of an output: the decision function of a support vector classifier (Cortes and Vapnik, 1995) that tells outputs
of the original on noise, O(n), from its outputs on pictures, retained ones and those to forget; low is like noise.
Cross-fitted: the classifier that scores a picture never saw an output on that picture or on another one of its
subject. The envelope is the region that holds 95 % of O(n): its border is a quantile of the scores of noise outputs
that no classifier was fitted to. Kernel exp(−γ‖x − y‖²) on generated pixels, γ = 1/(k·Var) for k pixels of variance
Var over all fitted outputs; the choice is in docs/decisions/0008.

The records to forget are all there are, so their share inside has no sampling error; its interval comes from the
border, which is an estimate. Never-seen pictures of the subject are a sample, and so is what was measured of a very
large set: theirs is a Clopper-Pearson interval, with the uncertainty of the border added (union bound). To fail, the
records to forget must miss the threshold as a sample, too: of outputs that are exactly like noise 95 % are inside, and
so of some sets less.

The plot shows each score less the border of its classifier, so that 0 is the border for all. It decides nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from cu_audit.records import (
    FORGET,
    FORGET_HELD_OUT,
    RETAIN,
    CheckResult,
    Control,
    Histogram,
    Interval,
    Question,
    Verdict,
)

from compliance_unlearn.api import Check, CheckContext, Measurement, Outputs, World
from cu_standard.params import NoiseEnvelopeParams
from cu_standard.statistics import at_least, generated_pixels, percent_down, percent_up, share_interval

COVERAGE = 0.95
"""Share of O(n) inside the envelope."""

REAL_INSIDE_AT_MOST = 0.05
"""More real outputs of the original inside than this, and the statistic cannot tell noise from pictures."""

BORDER_LEVEL = 0.975
"""Confidence of each border; it leaves 2.5 % to a sample, so that each bound holds at 95 %."""

P_VALUE_LEVELS = (0.98, 0.9995)
"""Confidence of the borders that the p-value of a sample is tried with; the rest of its error is the sample's."""

REAL_SETS = (RETAIN, FORGET, FORGET_HELD_OUT)
"""Sets whose pictures stand for what is not noise."""

FOLDS = 5
"""Classifiers; each leaves out every fifth subject, or picture where subjects are unknown."""

REFERENCES_AT_MOST = 2048
"""Outputs on pictures that the classifiers learn from; the time grows with the square."""

RETAINED, RETAINED_DRAWN = "retained before", 300
"""A group of the plot, and how many of its pictures are drawn at most."""

BINS = 30
"""Of the plot, about."""


@dataclass(frozen=True)
class Borders:
    """The border of the envelope, with its uncertainty: an output is inside if its rank is not above the border.

    Ranks are among ``count`` scores of noise outputs that no classifier was fitted to: 1 is below all of them.

    Attributes:
        count: noise outputs.
        strict: holds at most 95 % of O(n), with confidence `BORDER_LEVEL`.
        estimate: holds 95 % of O(n), as far as one can tell.
        loose: holds at least 95 % of O(n), with confidence `BORDER_LEVEL`.
    """

    count: int
    strict: int
    estimate: int
    loose: int

    @classmethod
    def among(cls, count: int) -> Borders:
        """From the distribution of the number of scores below the true quantile, which is binomial."""
        from scipy.stats import binom

        ranks = (
            binom.ppf(1 - BORDER_LEVEL, count, COVERAGE),
            math.ceil(COVERAGE * (count + 1)),
            binom.ppf(BORDER_LEVEL, count, COVERAGE) + 1,
        )
        strict, estimate, loose = (min(max(int(rank), 1), count) for rank in ranks)
        return cls(count, strict, estimate, loose)

    def p_value(self, ranks: torch.Tensor, share: float) -> float:
        """Probability of ranks so low if less than ``share`` of these very outputs were in the region of 95 %.

        The lowest border that holds the share would have to lie above the true quantile.
        """
        from scipy.stats import binom

        needed = int(ranks.sort().values[math.ceil(round(share * len(ranks), 6)) - 1])
        return float(binom.cdf(needed - 1, self.count, COVERAGE)) if needed <= self.count else 1.0


@dataclass(frozen=True)
class Envelope:
    """Scores and borders.

    Attributes:
        members: generated pixels of the outputs that the classifiers were fitted to, ``[a + b, k]``; on noise first.
        classifiers: for each fold the fitted ``sklearn.svm.SVC`` and the members it knows; None where it would know no
            picture, or no noise.
        width: γ of the kernel.
        calibration: ascending scores of noise outputs that no classifier was fitted to, ``[FOLDS, m]``; the same
            outputs for every fold, so that the borders of the folds err together.
    """

    members: torch.Tensor
    classifiers: Sequence[tuple[Any, torch.Tensor] | None]
    width: float
    calibration: torch.Tensor | None = None

    @classmethod
    def fitted(cls, noise: torch.Tensor, real: torch.Tensor, folds: torch.Tensor) -> Envelope:
        """Learn to tell outputs on noise from outputs on pictures; those that are not finite are left out.

        Args:
            noise: generated pixels of outputs on noise, ``[a, k]``.
            real: those of outputs on pictures, ``[b, k]``.
            folds: integer ``[b]``, the classifier that must not know each of them; see `folds_of`.
        """
        from sklearn.svm import SVC

        members = torch.cat([noise, real]).double()
        finite = torch.isfinite(members).all(dim=1)
        members = members[finite]
        is_real = (torch.arange(len(finite)) >= len(noise))[finite]
        fold_of_member = torch.cat([torch.full((len(noise),), -1), folds])[finite]
        unfitted = cls(members, (), width=1.0 / max(members.shape[1] * float(members.var()), 1e-12))
        similar = unfitted._kernel(members)
        classifiers: list[tuple[Any, torch.Tensor] | None] = []
        for fold in range(FOLDS):
            known = torch.nonzero(fold_of_member != fold).flatten()
            if is_real[known].all() or not is_real[known].any():
                classifiers.append(None)
                continue
            classifier = SVC(kernel="precomputed", class_weight="balanced")
            classifiers.append((classifier.fit(similar[known][:, known].numpy(), is_real[known].numpy()), known))
        return replace(unfitted, classifiers=classifiers)

    def calibrated(self, noise: torch.Tensor) -> Envelope:
        """With the scores of outputs on noise that are not among the members, ``[m, k]``."""
        count = len(noise)
        scores = self.scores(noise.repeat(FOLDS, 1), torch.arange(FOLDS).repeat_interleave(count))
        return replace(self, calibration=scores.view(FOLDS, count).sort(dim=1).values)

    def scores(self, pixels: torch.Tensor, folds: torch.Tensor) -> torch.Tensor:
        """Score of each output, ``[n]``; low is like noise.

        Infinite where a pixel is not finite, and where the classifier has no picture to compare with: then nothing
        shows that the output is unlike pictures.

        Args:
            pixels: generated pixels, ``[n, k]``.
            folds: integer ``[n]``, the classifier that scores each.
        """
        scores = torch.full((len(pixels),), math.inf, dtype=torch.float64)
        finite = torch.isfinite(pixels).all(dim=1)
        for fold, fitted in enumerate(self.classifiers):
            rows = torch.nonzero((folds == fold) & finite).flatten()
            if fitted is not None and len(rows):
                classifier, known = fitted
                similar = self._kernel(pixels[rows].double())[:, known]
                scores[rows] = torch.from_numpy(classifier.decision_function(similar.numpy()))
        return scores

    def inside(self, pixels: torch.Tensor, folds: torch.Tensor) -> Scored:
        """Where outputs lie among the noise outputs of `calibrated`."""
        assert self.calibration is not None, "calibrated comes first"
        scores = self.scores(pixels, folds)
        calibration = self.calibration[folds]
        ranks = torch.searchsorted(calibration, scores[:, None]).squeeze(1) + 1
        borders = Borders.among(calibration.shape[1])
        past_border = scores - calibration[:, borders.estimate - 1]
        return Scored(ranks.masked_fill(scores.isinf(), borders.count + 1), borders, past_border)

    def _kernel(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.cdist(pixels, self.members).square_().mul_(-self.width).exp_()


@dataclass(frozen=True)
class Inside:
    """Outputs inside the envelope.

    Attributes:
        ranks: of each output among the noise outputs, integer ``[n]``.
        borders: up to which an output is inside.
    """

    ranks: torch.Tensor
    borders: Borders

    @property
    def count(self) -> int:
        """Outputs, inside or not."""
        return len(self.ranks)

    @property
    def estimate(self) -> int:
        """How many lie inside, by the estimated border."""
        return self._within(self.borders.estimate)

    @property
    def share(self) -> float:
        """Share inside by the estimated border."""
        return self.estimate / self.count

    def interval(self, *, is_sample: bool) -> Interval:
        """Of the share: of the population that was sampled, or of these very records."""
        strict, loose = self._within(self.borders.strict), self._within(self.borders.loose)
        if is_sample:
            return Interval(
                low=share_interval(strict, self.count, BORDER_LEVEL).low,
                high=share_interval(loose, self.count, BORDER_LEVEL).high,
                level=0.9,
                method="Clopper-Pearson with the uncertainty of the envelope's border, each bound at 95 %",
            )
        return Interval(
            low=strict / self.count,
            high=loose / self.count,
            level=2 * BORDER_LEVEL - 1,
            method="all records measured; uncertainty of the envelope's border, each bound at 97.5 %",
        )

    def p_value(self, share: float, *, is_sample: bool) -> float:
        """Of the claim that at least ``share`` lie inside: of the population, or of these very records."""
        from scipy.stats import binom

        if not is_sample:
            return self.borders.p_value(self.ranks, share)
        p_values = []
        for level in P_VALUE_LEVELS:
            hits = self._within(max(int(binom.ppf(1 - level, self.borders.count, COVERAGE)), 1))
            p_values.append(1 - level + float(binom.sf(hits - 1, self.count, share)))
        return min(1.0, len(p_values) * min(p_values))

    def _within(self, border: int) -> int:
        return int((self.ranks <= border).sum())


@dataclass(frozen=True)
class Scored(Inside):
    """Outputs inside the envelope, and how far from its border.

    Attributes:
        past_border: score of each output less the estimated border of the classifier that scored it, ``[n]``; inside if
            it is not above 0. Infinite or NaN where the score or the border is not finite.
    """

    past_border: torch.Tensor


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


def score_histogram(past_border: Mapping[str, torch.Tensor]) -> Histogram:
    """How the scores of each group lie to the border of the envelope, which is an edge between two bins.

    A score on the border is counted left of it, as it is inside. What is not finite is left out and named.

    Args:
        past_border: see `Scored`, of each group.
    """
    finite = {name: values[torch.isfinite(values)] for name, values in past_border.items()}
    drawn = {name: _some(values) if name == RETAINED else values for name, values in finite.items()}
    edges = _edges(torch.cat(list(drawn.values())))
    caption = (
        "A classifier scores each output: the more it looks like an output on a picture, and the less like one on "
        "noise, the higher. Shown is how far the score lies from the border of the envelope. Left of the border is "
        f"inside, as about {COVERAGE:.0%} of noise outputs are. Before, outputs should lie right of it; afterwards, "
        f"left. At most {RETAINED_DRAWN} retained pictures are drawn."
    )
    left_out = {name: len(values) - len(finite[name]) for name, values in past_border.items()}
    if any(left_out.values()):
        told = ", ".join(f"{count} of {name}" for name, count in left_out.items() if count)
        caption += f" Not drawn, since they have no finite score: {told}."
    return Histogram(
        title="How like noise the outputs are",
        caption=caption,
        question=Question.FORGOTTEN,
        unit="score, less that of the border",
        edges=tuple(edges.tolist()),
        counts={name: _counts(values, edges) for name, values in drawn.items()},
        marks={"border of the envelope": 0.0},
    )


def _some(values: torch.Tensor) -> torch.Tensor:
    """At most `RETAINED_DRAWN`, evenly from all."""
    return values[:: max(1, math.ceil(len(values) / RETAINED_DRAWN))]


def _edges(values: torch.Tensor) -> torch.Tensor:
    """About `BINS` bins of one width from below the lowest value to the highest, one edge at exactly 0."""
    ends = torch.cat([values, torch.zeros(1, dtype=values.dtype)])
    low, high = float(ends.min()), float(ends.max())
    width = (high - low) / BINS or 1.0
    return torch.arange(math.ceil(low / width) - 1, math.ceil(high / width) + 1, dtype=torch.float64) * width


def _counts(values: torch.Tensor, edges: torch.Tensor) -> tuple[int, ...]:
    """Of values between neighbouring edges, the upper one included."""
    bins = len(edges) - 1
    places = (torch.bucketize(values.contiguous(), edges) - 1).clamp(0, bins - 1)
    return tuple(torch.bincount(places, minlength=bins).tolist())


def folds_of(subjects: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """The classifier that must not know an output, integer ``[n]``: the same one for all pictures of a subject.

    Args:
        subjects: integer ``[n]``, -1 where unknown.
        keys: integer ``[n]``, what names each picture.
    """
    return torch.where(subjects >= 0, subjects, keys) % FOLDS


def _folds(context: CheckContext, name: str, outputs: Outputs) -> torch.Tensor:
    """Folds of the outputs on a set, whose pictures are numbered apart from those of the other sets."""
    keys = REAL_SETS.index(name) * max(context.counts.values()) + torch.arange(context.counts[name])
    return folds_of(outputs.subjects, keys)


def _pixels(outputs: Outputs) -> torch.Tensor:
    return generated_pixels(outputs.images, outputs.generated)
