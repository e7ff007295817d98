"""Same as noise: can outputs on the records to forget be told from what the original model makes of noise, O(n)?

Two two-sample tests of the null hypothesis that both are drawn from one distribution, with as many noise outputs as
there are records; each record and each noise image is one observation.

- Classifier two-sample test (Lopez-Paz and Oquab, 2017): share of outputs that a classifier which did not see them puts
  into the right sample; 0.5 is guessing. Logistic regression on standardised principal components and their squares.
  Clopper-Pearson interval by image.
- Energy distance (Székely and Rizzo, 2013) as energy coefficient, 0 for equal distributions and at most 1, with the
  p-value of a permutation test.

This is more than forgetting asks for. Encoder alignment drives every forget output to the mean of the noise outputs: it
then says nothing about a person, and yet differs from noise outputs, which vary. Such outputs are conspicuous: whoever
sees them can tell that something was removed. A difference therefore decides only where the policy gives a threshold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from cu_audit.records import FORGET, CheckResult, Control, Interval, Question, Verdict

from compliance_unlearn.api import Check, CheckContext, Measurement, Outputs, World
from cu_standard.params import SameAsNoiseParams
from cu_standard.samples import generated_rows, sampled, unfinished
from cu_standard.statistics import BOUND_LEVEL, at_most, percent_down, percent_up, share_interval
from cu_standard.two_sample import cross_fitted_probabilities, energy_distance

RECORDS_AT_MOST = 1000
RECORDS_AT_LEAST = 10

GUESSING = 0.5

LEVEL = 0.05
"""Of a difference that is called one."""

CONTROL_LEVEL = 0.001
"""Of a difference between noise and noise that is called a broken control: it must be rare by chance."""

CONSPICUOUS = (
    "forget outputs are conspicuous: they can be told from noise outputs, as where they all collapse to the mean of "
    "noise; that by itself says nothing about their content, but shows that something was removed"
)
BROKEN = "a control misbehaved: this comparison cannot tell pictures from noise outputs"
UNDECIDED = "no difference was found, which does not show that there is none"


@dataclass(frozen=True)
class Comparison:
    """One sample of outputs against one of noise outputs.

    Attributes:
        right: outputs of both samples that the classifier put into the right one.
        count: outputs of both samples.
        distance: energy coefficient.
        p_value: of the permutation test.
    """

    right: int
    count: int
    distance: float
    p_value: float

    @property
    def accuracy(self) -> float:
        """Share put into the right sample."""
        return self.right / self.count

    @property
    def interval(self) -> Interval:
        """Of the accuracy."""
        return share_interval(self.right, self.count)

    def low(self, level: float) -> float:
        """Lower bound of the accuracy that is wrong with probability ``level``."""
        return share_interval(self.right, self.count, 1.0 - level).low

    def chance_of_so_few(self, threshold: float) -> float:
        """Probability of so low an accuracy, or a lower one, if the true one were the threshold."""
        from scipy.stats import binom

        return float(binom.cdf(self.right, self.count, threshold))


class SameAsNoise(Check):
    """A classifier and a distance of distributions, on the forget set; reported unless the policy gives a threshold."""

    def __init__(self, params: SameAsNoiseParams) -> None:
        self._params = params

    def _run(self, context: CheckContext) -> Measurement:
        if not context.counts.get(FORGET):
            return Measurement()
        after = _sample(context, World.CANDIDATE)
        found = self._compare(context, after)
        if found is None:
            return Measurement(results=tuple(_unmeasured(result, after) for result in self._claims(len(after))))
        original, noise = (self._compare(context, _sample(context, world)) for world in (World.ORIGINAL, World.NOISE))
        classifier, distance = self._claims(len(after))
        return Measurement(
            results=(
                self._by_classifier(classifier, found, original, noise),
                _by_distance(distance, found, original, noise),
            )
        )

    def _claims(self, count: int) -> tuple[CheckResult, CheckResult]:
        """Both results, before anything was measured."""
        threshold = self._params.accuracy_at_most
        least = CheckResult(
            name="same-as-noise",
            set=FORGET,
            question=Question.FORGOTTEN,
            claim="Forget outputs cannot be told from what the original model makes of noise.",
            verdict=Verdict.INCONCLUSIVE,
            gates=False,
            value=None,
            interval=None,
            threshold=None,
            sample_size=count,
            reason="",
            not_tested="Whether a difference, or none, tells anything about the hidden content.",
        )
        classifier = {"gates": threshold is not None, "threshold": threshold, "unit": "share put into the right sample"}
        if threshold is not None:
            classifier["claim"] = (
                f"A classifier tells forget outputs from noise outputs at most {threshold:.0%} of the time; "
                "guessing gives 50%."
            )
        distance = {"name": "same-as-noise-energy", "unit": "energy coefficient"}
        return least.model_copy(update=classifier), least.model_copy(update=distance)

    def _compare(self, context: CheckContext, outputs: Outputs) -> Comparison | None:
        noise = context.noise_outputs("same as noise", len(outputs))
        if len(outputs) < RECORDS_AT_LEAST or unfinished(outputs) or unfinished(noise):
            return None
        rows = generated_rows([outputs, noise])
        one, other = rows[: len(outputs)], rows[len(outputs) :]
        probabilities = cross_fitted_probabilities(one, other, context.generator("same as noise classifier"))
        distance, p_value = energy_distance(
            one, other, self._params.permutations, context.generator("same as noise permutations")
        )
        # What the classifier cannot place counts as half right.
        right = ((probabilities > 0.5).sum() + (probabilities >= 0.5).sum()) // 2
        return Comparison(int(right), len(rows), distance, p_value)

    def _by_classifier(
        self, claim: CheckResult, found: Comparison, original: Comparison | None, noise: Comparison | None
    ) -> CheckResult:
        threshold = self._params.accuracy_at_most
        limit = threshold or GUESSING
        interval = found.interval
        controls = (
            Control(
                name="original model",
                expected=f"fails: told apart more than {limit:.0%} of the time",
                value=original.accuracy if original else None,
                behaved=original is not None and original.interval.low > limit,
            ),
            Control(
                name="original model on noise",
                expected=f"passes: not shown to be told apart more than {limit:.0%} of the time",
                value=noise.accuracy if noise else None,
                behaved=noise is not None and noise.low(CONTROL_LEVEL) <= limit,
            ),
        )
        said = (
            f"{found.right} of {found.count} put into the right sample, "
            f"{percent_down(interval.low)} to {percent_up(interval.high)}"
        )
        if not all(control.behaved for control in controls):
            verdict, reason = Verdict.VOID, BROKEN
        elif threshold is not None:
            verdict, needed = at_most(interval, threshold), records_needed(threshold)
            reason = f"{said}; allowed {threshold:.0%}"
            if verdict is not Verdict.FAILED and claim.sample_size < needed:
                verdict = Verdict.INCONCLUSIVE
                reason += f"; {claim.sample_size} images are too few, whatever they show: {needed} are needed"
        else:
            verdict = Verdict.FAILED if interval.low > GUESSING else Verdict.INCONCLUSIVE
            reason = said
        if interval.low > GUESSING and verdict is not Verdict.VOID:
            reason = f"{reason}; {CONSPICUOUS}"
        elif threshold is None and verdict is not Verdict.VOID:
            reason = f"{reason}; {UNDECIDED}"
        return claim.model_copy(
            update={
                "verdict": verdict,
                "value": found.accuracy,
                "interval": interval,
                "p_value": found.chance_of_so_few(threshold) if threshold is not None else None,
                "controls": controls,
                "reason": reason,
            }
        )


def records_needed(threshold: float) -> int:
    """Records with which outputs that nobody can tell apart would pass with probability 0.95.

    With fewer only luck passes, and a classifier that has seen a few pictures is no measure of what could be learnt.
    The mean of 2n guesses has the standard error 1 / (2·sqrt(2n)), and must lie two one-sided bounds below.
    """
    from scipy.stats import norm

    return math.ceil(0.5 * (float(norm.ppf(BOUND_LEVEL)) / (threshold - GUESSING)) ** 2)


def _by_distance(
    claim: CheckResult, found: Comparison, original: Comparison | None, noise: Comparison | None
) -> CheckResult:
    """A difference is shown or not; none is never proved, so that this cannot pass."""
    controls = (
        Control(
            name="original model",
            expected=f"fails: differs, p at most {LEVEL:g}",
            value=original.p_value if original else None,
            behaved=original is not None and original.p_value <= LEVEL,
        ),
        Control(
            name="original model on noise",
            expected=f"passes: p above {CONTROL_LEVEL:g}",
            value=noise.p_value if noise else None,
            behaved=noise is not None and noise.p_value > CONTROL_LEVEL,
        ),
    )
    if not all(control.behaved for control in controls):
        verdict, reason = Verdict.VOID, BROKEN
    elif found.p_value <= LEVEL:
        verdict, reason = Verdict.FAILED, f"they differ (permutation test, p = {found.p_value:.3g}); {CONSPICUOUS}"
    else:
        verdict, reason = Verdict.INCONCLUSIVE, f"permutation test, p = {found.p_value:.3g}: {UNDECIDED}"
    return claim.model_copy(
        update={"verdict": verdict, "value": found.distance, "controls": controls, "reason": reason}
    )


def _unmeasured(claim: CheckResult, after: Outputs) -> CheckResult:
    broken = unfinished(after)
    reason = (
        f"{broken} of {len(after)} outputs are not finite numbers"
        if broken
        else f"too few: at least {RECORDS_AT_LEAST} images, and noise outputs that are finite, are needed"
    )
    return claim.model_copy(update={"reason": reason})


def _sample(context: CheckContext, world: World) -> Outputs:
    return sampled(context.outputs(world, FORGET), RECORDS_AT_MOST, context.generator("same as noise records"))
