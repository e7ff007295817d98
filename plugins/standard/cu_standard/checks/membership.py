"""Membership: does the model betray which pictures of the subject it was trained on?

For the retrain goal: a model that never saw the records treats them like pictures of the same subject that it truly
never saw (H, the held-out ones). The other goal, outputs like those for noise, is tested elsewhere.

Loss attack (Yeom et al., 2018): the mean squared error over generated pixels is smaller for what was trained on.
LiRA-lite (after Carlini et al., 2022), where a retrained reference R exists: the logarithm of R's loss less that of
the candidate's, so that pictures which are easy for every model do not count; one reference in place of many.
Statistic of both: AUC, the probability that a forgotten picture looks more like a member than a held-out one, ties
by half; 0.5 is chance. Below 0.5 betrays too: forgotten pictures are then conspicuously bad. Null hypothesis: the AUC
differs from 0.5 by the margin or more. Passed when the 95 % bounds on both sides are nearer (two one-sided tests,
Schuirmann, 1987), failed when both bounds lie beyond the same side. Interval of DeLong et al. (1988), with records of
one subject as one cluster (Obuchowski, 1997) and Student's quantiles.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from cu_audit.records import (
    FORGET,
    FORGET_HELD_OUT,
    RETAIN,
    RETAIN_HELD_OUT,
    CheckResult,
    Control,
    Interval,
    Question,
    Verdict,
)

from compliance_unlearn.api import Check, CheckContext, Measurement, World
from cu_standard.clusters import cluster_sums, clusters_of
from cu_standard.params import MembershipParams
from cu_standard.statistics import BOUND_LEVEL, generated_pixels

AT_LEAST = 10
"""Pictures on each side; with fewer, perfect separation by chance is too likely to bound anything."""

LOSS, CALIBRATED = "membership", "membership-calibrated"


@dataclass(frozen=True)
class Attack:
    """An AUC with its uncertainty.

    Attributes:
        area: AUC in [0, 1].
        error: its standard error.
        freedom: clusters less one.
    """

    area: float
    error: float
    freedom: int

    @classmethod
    def of(cls, members: torch.Tensor, others: torch.Tensor, subjects: torch.Tensor) -> Attack:
        """From scores that are high for what looks like a member; infinite ones count as the highest or lowest.

        Args:
            members: scores of trained pictures, ``[m]``.
            others: scores of held-out ones, ``[n]``.
            subjects: integer ``[m + n]``, -1 where unknown.
        """
        order = (members[:, None] > others).double() + 0.5 * (members[:, None] == others).double()
        area = float(order.mean())
        influence = torch.cat([_influence(order.mean(dim=1) - area), _influence(order.mean(dim=0) - area)])
        sums = cluster_sums(influence, clusters_of(subjects))
        # Perfect separation and ties have no spread, and yet are known no better than to one picture.
        error = max(float(sums.square().sum().sqrt()), 1.0 / min(len(members), len(others)))
        return cls(area, error, len(sums) - 1)

    @property
    def interval(self) -> Interval:
        """Each bound one-sided at 95 %, not beyond 0 and 1."""
        reach = self._quantile(BOUND_LEVEL) * self.error
        return Interval(
            low=max(0.0, self.area - reach),
            high=min(1.0, self.area + reach),
            level=2 * BOUND_LEVEL - 1,
            method="DeLong with subjects as clusters, each bound at 95 %",
        )

    def p_value(self, margin: float) -> float:
        """Of the two one-sided tests, the larger: probability under an AUC that differs by the margin."""
        from scipy.stats import t

        inside = margin - abs(self.area - 0.5)
        return float(t.sf(inside / self.error, self.freedom))

    def detectable(self) -> float:
        """Smallest AUC above 0.5 whose lower bound would lie above 0.5 with probability 0.95."""
        return min(1.0, 0.5 + 2 * self._quantile(BOUND_LEVEL) * self.error)

    def judged(self, margin: float) -> Verdict:
        """Whether the AUC is within the margin of chance."""
        low, high = self.interval.low, self.interval.high
        if 0.5 - margin <= low and high <= 0.5 + margin:
            return Verdict.PASSED
        return Verdict.FAILED if low > 0.5 + margin or high < 0.5 - margin else Verdict.INCONCLUSIVE

    def needed(self, count: int, margin: float) -> int:
        """Of ``count`` pictures, how many it would take to pass with probability 0.95 if the AUC is 0.5."""
        from scipy.stats import norm

        # An AUC of exactly 0.5 must escape on neither side: 2.5 % each.
        distance = float(norm.ppf(BOUND_LEVEL) + norm.ppf(0.975)) * self.error
        return math.ceil(count * (distance / margin) ** 2)

    def _quantile(self, level: float) -> float:
        from scipy.stats import t

        return float(t.ppf(level, self.freedom))


class Membership(Check):
    """AUC of the loss attack, forgotten against held-out pictures of the same subject, and of the calibrated one."""

    def __init__(self, params: MembershipParams) -> None:
        self._params = params

    def _run(self, context: CheckContext) -> Measurement:
        if not context.counts.get(FORGET_HELD_OUT):
            reason = (
                "no picture of the subject was held out of training; list some in the data set outside of the "
                "training split"
            )
            return Measurement(tuple(self._skipped(context, name, reason) for name in (LOSS, CALIBRATED)))
        results = [self._result(context, LOSS)]
        if World.RETRAINED in context.worlds:
            results.append(self._result(context, CALIBRATED))
        else:
            results.append(self._skipped(context, CALIBRATED, "there is no retrained model; run with --with-reference"))
        return Measurement(tuple(results))

    def _result(self, context: CheckContext, name: str) -> CheckResult:
        margin, counts = self._params.margin, (context.counts[FORGET], context.counts[FORGET_HELD_OUT])
        if min(counts) < AT_LEAST:
            reason = f"{counts[0]} forgotten and {counts[1]} held-out pictures; at least {AT_LEAST} of each are needed"
            return self._blank(context, name).model_copy(update={"reason": reason})
        found, controls = _attack(context, World.CANDIDATE, name), self._controls(context, name)
        verdict = found.judged(margin)
        reason = (
            f"AUC {found.area:.2f}, between {found.interval.low:.2f} and {found.interval.high:.2f}; "
            f"allowed {0.5 - margin:g} to {0.5 + margin:g}"
        )
        broken = sum(_not_finite(context, set_name) for set_name in (FORGET, FORGET_HELD_OUT))
        if not all(control.behaved for control in controls):
            verdict = Verdict.VOID
            reason = "forgotten and held-out pictures differ in kind: outputs for noise already tell them apart"
        elif broken:
            verdict = Verdict.FAILED if verdict is Verdict.FAILED else Verdict.INCONCLUSIVE
            reason = f"{broken} outputs are not numbers and count as the largest errors; {reason}"
        elif verdict is Verdict.INCONCLUSIVE:
            reason += f"; about {found.needed(sum(counts), margin)} pictures would settle it, if the AUC is 0.5"
        if verdict is Verdict.PASSED and _attack(context, World.ORIGINAL, LOSS).interval.low <= 0.5:
            reason += ". True, but weak: the attack finds nothing on the original model either"
        return self._blank(context, name).model_copy(
            update={
                "verdict": verdict,
                "value": found.area,
                "interval": found.interval,
                "p_value": found.p_value(margin),
                "detectable": found.detectable(),
                "controls": controls,
                "reason": reason,
            }
        )

    def _controls(self, context: CheckContext, name: str) -> tuple[Control, ...]:
        """O(n) must not tell the sets apart; how well the attack does on the original is told, whatever it is."""
        noise = _attack(context, World.NOISE, name)
        controls = [
            Control(
                name="original model on noise",
                expected=f"passes: not shown to differ from 0.5 by more than {self._params.margin:g}",
                value=noise.area,
                behaved=noise.judged(self._params.margin) is not Verdict.FAILED,
            ),
            Control(
                name="original model",
                expected="any AUC: 0.5 if the attack finds nothing on the original either",
                value=_attack(context, World.ORIGINAL, LOSS).area,
                behaved=True,
            ),
        ]
        if context.counts.get(RETAIN) and context.counts.get(RETAIN_HELD_OUT):
            controls.append(
                Control(
                    name="original model, retained against held-out retained pictures",
                    expected="any AUC: how well the attack works at all",
                    value=_attack(context, World.ORIGINAL, LOSS, RETAIN, RETAIN_HELD_OUT).area,
                    behaved=True,
                )
            )
        return tuple(controls)

    def _skipped(self, context: CheckContext, name: str, reason: str) -> CheckResult:
        gates = name == LOSS
        return self._blank(context, name).model_copy(
            update={"verdict": Verdict.SKIPPED, "gates": gates, "reason": reason}
        )

    def _blank(self, context: CheckContext, name: str) -> CheckResult:
        errors = "reconstruction errors" if name == LOSS else "reconstruction errors, relative to a retrained model's,"
        return CheckResult(
            name=name,
            trained_anew=name == CALIBRATED and World.RETRAINED in context.worlds,
            set=FORGET,
            question=Question.NEVER_SEEN,
            claim=f"The {errors} do not tell which pictures of the subject the model was trained on.",
            verdict=Verdict.INCONCLUSIVE,
            gates=True,
            value=None,
            unit="AUC",
            interval=None,
            threshold=0.5 + self._params.margin,
            sample_size=context.counts[FORGET] + context.counts.get(FORGET_HELD_OUT, 0),
            reason="",
            not_tested=(
                "Attacks with many shadow models, and a comparison with pictures of other people: those differ in more "
                "than membership."
            ),
        )


def _influence(placements: torch.Tensor) -> torch.Tensor:
    """Share of each record in the error of the AUC: the sum of squares is their variance divided by their number."""
    count = len(placements)
    return placements / math.sqrt(count * max(count - 1, 1))


def _attack(
    context: CheckContext, world: World, name: str, members: str = FORGET, others: str = FORGET_HELD_OUT
) -> Attack:
    """On what a world makes of two sets."""
    scores = [_scores(context, world, set_name, calibrated=name == CALIBRATED) for set_name in (members, others)]
    subjects = torch.cat([context.outputs(world, set_name).subjects for set_name in (members, others)])
    return Attack.of(scores[0], scores[1], subjects)


def _scores(context: CheckContext, world: World, name: str, *, calibrated: bool) -> torch.Tensor:
    """High for what looks like a member, ``[n]``; lowest where the output is not a number."""
    scores = -_log_loss(context, world, name)
    if calibrated:
        scores = scores + _log_loss(context, World.RETRAINED, name)
    return scores.nan_to_num(nan=-math.inf, posinf=math.inf, neginf=-math.inf)


def _log_loss(context: CheckContext, world: World, name: str) -> torch.Tensor:
    """Logarithm of the mean squared error over the generated pixels of each picture, ``[n]``."""
    outputs = context.outputs(world, name)
    made, truth = (generated_pixels(images, outputs.generated).double() for images in (outputs.images, outputs.truth))
    return (made - truth).square().mean(dim=1).clamp(min=1e-12).log()


def _not_finite(context: CheckContext, name: str) -> int:
    """Outputs of the candidate with a pixel that is not a number."""
    return int((~torch.isfinite(context.outputs(World.CANDIDATE, name).images).flatten(1).all(dim=1)).sum())
