"""Picture quality: do outputs look like the true pictures to a network that knows pictures?

Generated regions of outputs and truths are embedded by a named feature network. Of each set, before and after:
Fréchet distance (Heusel et al., 2017), kernel distance KID (Bińkowski et al., 2018; unbiased, one subset of all
pairs), class score (the formula of the Inception score, Salimans et al., 2016), and mean cosine of output and truth. A
figure means something for its network, edge and number of pictures only: every name carries the network's, every
reason its weights and edge. "frechet_inception" is the figure that others call FID, of generated regions.

Null hypothesis: the Fréchet distance of retained outputs rises by at least the threshold, as a share of what it was.
The interval is that of the logarithm of after / before, Student's, over the influence of each picture (infinitesimal
jackknife, Efron, 1982); records of one subject are one cluster. A bootstrap draws pictures twice, which moves the
distance itself. It speaks of the distance at this number of pictures, which is above that of whole populations.

No LPIPS (Zhang et al., 2018): its backbone can only be had by a download.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from cu_audit.records import RETAIN, SETS, BeforeAfter, CheckResult, Control, Interval, Question, Verdict

from compliance_unlearn.api import Check, CheckContext, FeatureNet, Measurement, World, generated_region
from cu_standard.clusters import cluster_sums, clusters_of
from cu_standard.nets import named_net
from cu_standard.params import PictureQualityParams
from cu_standard.scores import class_score, frechet_distance, frechet_influence, paired_kernel_terms, similarity
from cu_standard.statistics import BOUND_LEVEL, at_most

AT_LEAST = 30
"""Pictures without which no rise is judged."""

KERNEL_SET = "retain-kernel-distance"


@dataclass(frozen=True)
class Change:
    """A figure that the pictures add up to, with its uncertainty.

    Attributes:
        value: the estimate.
        error: its standard error.
        quantile: of Student's distribution, for one bound.
        freedom: degrees of freedom of it.
    """

    value: float
    error: float
    quantile: float
    freedom: int

    @classmethod
    def of(cls, value: float, influence: torch.Tensor, subjects: torch.Tensor) -> Change | None:
        """From the influence of each picture, ``[n]``, mean 0; None without two independent ones or if not finite."""
        from scipy.stats import t

        sums = cluster_sums(influence, clusters_of(subjects))
        freedom = len(sums) - 1
        if freedom < 1 or not math.isfinite(value) or not torch.isfinite(sums).all():
            return None
        error = math.sqrt(float(sums.square().sum()) * len(sums) / freedom) / len(influence)
        return cls(value, error, float(t.ppf(BOUND_LEVEL, freedom)), freedom)

    @property
    def low(self) -> float:
        """Lower bound."""
        return self.value - self.quantile * self.error

    @property
    def high(self) -> float:
        """Upper bound."""
        return self.value + self.quantile * self.error

    def p_value(self, threshold: float) -> float:
        """Of the one-sided test against at least the threshold."""
        from scipy.stats import t

        below = self.value - threshold
        return float(t.cdf(below / self.error, self.freedom)) if self.error else float(below >= 0)


class Sample:
    """Embeddings of at most so many pictures of each set, computed once."""

    def __init__(self, context: CheckContext, net: FeatureNet, at_most: int) -> None:
        self.net = net
        self._context = context
        self._chosen = {
            name: torch.randperm(count, generator=context.generator(f"picture quality of {name}"))[:at_most]
            .sort()
            .values
            for name, count in context.counts.items()
        }
        self._embedded: dict[tuple[World, str], torch.Tensor] = {}

    def count(self, name: str) -> int:
        """Pictures of a set."""
        return len(self._chosen.get(name, ()))

    def subjects(self, name: str) -> torch.Tensor:
        """Of the pictures of a set, ``[n]``."""
        return self._context.outputs(World.ORIGINAL, name).subjects[self._chosen[name]]

    def pairs(self, world: World, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Embeddings of the outputs of a world and of the true pictures, both ``[n, d]``."""
        return self._embed(world, name), self._embed(World.TRUTH, name)

    @torch.no_grad()
    def _embed(self, world: World, name: str) -> torch.Tensor:
        key = (world, name)
        if key not in self._embedded:
            outputs, chosen = self._context.outputs(world, name), self._chosen[name]
            if len(chosen) == len(outputs):
                self._embedded[key] = self._context.embeddings(self.net, outputs).cpu()
            else:
                region = generated_region(outputs.images[chosen], outputs.generated[chosen])
                self._embedded[key] = self.net.embed(region).cpu()
        return self._embedded[key]


class PictureQuality(Check):
    """All figures are reported; the rise of the Fréchet distance on retained pictures may decide."""

    def __init__(self, params: PictureQualityParams) -> None:
        self._params = params

    def _require(self) -> None:
        named_net(self._params)

    def _run(self, context: CheckContext) -> Measurement:
        sample = Sample(context, named_net(self._params), self._params.pictures)
        sets = [name for name in SETS if sample.count(name) > 1]
        before, after = (
            {name: _figures(sample.net, *sample.pairs(world, name)) for name in sets}
            for world in (World.ORIGINAL, World.CANDIDATE)
        )
        metrics = {
            f"{figure}_{sample.net.name}": {
                name: BeforeAfter(before=before[name][figure], after=after[name][figure]) for name in sets
            }
            for figure in next(iter(before.values()), {})
        }
        results = (self._rise(sample), _kernel_change(sample)) if RETAIN in sets else ()
        return Measurement(results=results, metrics=metrics)

    def _rise(self, sample: Sample) -> CheckResult:
        threshold, rise = self._params.frechet_rise_at_most, _log_ratio(sample, World.CANDIDATE)
        controls = () if threshold is None else (_control(sample, threshold),)
        verdict, reason = self._judged(sample, rise, controls)
        return CheckResult(
            name="picture-quality",
            set=RETAIN,
            question=Question.RETAINED,
            claim=f"To {sample.net.name}, outputs of retained pictures are about as near to the true ones as before.",
            verdict=verdict,
            gates=threshold is not None,
            value=None if rise is None else math.expm1(rise.value),
            unit="share",
            interval=None if rise is None else _interval(math.expm1(rise.low), math.expm1(rise.high)),
            threshold=threshold,
            sample_size=sample.count(RETAIN),
            p_value=None if rise is None or threshold is None else rise.p_value(math.log1p(threshold)),
            detectable=None
            if rise is None
            else math.expm1(math.log1p(threshold or 0.0) + 2.0 * rise.quantile * rise.error),
            controls=controls,
            reason=f"{reason}; {sample.net.label}",
            not_tested="Distances in other networks, at other numbers of pictures, and of single pictures.",
        )

    def _judged(self, sample: Sample, rise: Change | None, controls: tuple[Control, ...]) -> tuple[Verdict, str]:
        threshold, count = self._params.frechet_rise_at_most, sample.count(RETAIN)
        made, _ = sample.pairs(World.CANDIDATE, RETAIN)
        broken = int((~torch.isfinite(made).all(dim=1)).sum())
        if broken:
            return Verdict.FAILED, f"{broken} of {count} pictures of the unlearned model are not numbers"
        if rise is None:
            return (
                Verdict.INCONCLUSIVE,
                "no share exists: too few independent pictures, or a distance of 0, or none",
            )
        found = f"the Fréchet distance rose by {math.expm1(rise.value):.1%}, upper bound {math.expm1(rise.high):.1%}"
        if threshold is None:
            return Verdict.INCONCLUSIVE, f"reported only, no threshold was set: {found}"
        if not all(control.behaved for control in controls):
            return Verdict.VOID, "a control misbehaved: noise outputs are as near to these pictures"
        found = f"{found}, allowed {threshold:.1%}"
        if count < AT_LEAST:
            return Verdict.INCONCLUSIVE, f"{found}, but from {count} pictures; at least {AT_LEAST} are needed"
        verdict = at_most(_interval(rise.low, rise.high), math.log1p(threshold))
        if verdict is Verdict.INCONCLUSIVE:
            needed = math.ceil(count * (2.0 * rise.quantile * rise.error / math.log1p(threshold)) ** 2)
            found = f"{found}; {needed} pictures would show a rise of none"
        return verdict, found


def _control(sample: Sample, threshold: float) -> Control:
    rise = _log_ratio(sample, World.NOISE)
    return Control(
        name="model that answers everything with noise outputs",
        expected=f"fails: the distance rises by more than {threshold:.1%}",
        value=None if rise is None else math.expm1(rise.value),
        behaved=rise is not None and rise.low > math.log1p(threshold),
    )


def _kernel_change(sample: Sample) -> CheckResult:
    """The kernel distance after minus before, reported: it has no natural margin."""
    before, after = (paired_kernel_terms(*sample.pairs(world, RETAIN)) for world in (World.ORIGINAL, World.CANDIDATE))
    difference = after - before
    value = float(difference.mean())
    change = Change.of(value, 2.0 * (difference - value), sample.subjects(RETAIN))
    said = "not finite, or too few independent pictures"
    if change is not None:
        said = f"the kernel distance changed by {change.value:.4g}, between {change.low:.4g} and {change.high:.4g}"
    return CheckResult(
        name="picture-quality",
        set=KERNEL_SET,
        question=Question.RETAINED,
        claim=f"To {sample.net.name}, outputs of retained pictures are spread like the true ones as much as before.",
        verdict=Verdict.INCONCLUSIVE,
        gates=False,
        value=None if change is None else change.value,
        unit="",
        interval=None if change is None else _interval(change.low, change.high),
        threshold=None,
        sample_size=sample.count(RETAIN),
        detectable=None if change is None else 2.0 * change.quantile * change.error,
        reason=f"reported only: {said}; {sample.net.label}",
    )


def _figures(net: FeatureNet, made: torch.Tensor, truth: torch.Tensor) -> dict[str, float | None]:
    """Figures of one model on one set; None for all if one of its pictures is not finite."""
    names = ("frechet", "kid", "similarity", *(("class_score",) if net.classifies else ()))
    if not torch.isfinite(made).all():
        return dict.fromkeys(names)
    values = [
        frechet_distance(made, truth),
        float(paired_kernel_terms(made, truth).mean()),
        similarity(made, truth),
    ]
    if net.classifies:
        values.append(class_score(net.class_probabilities(made)))
    return dict(zip(names, values, strict=True))


def _log_ratio(sample: Sample, world: World) -> Change | None:
    """Logarithm of the Fréchet distance of a world over that of the original, on retained pictures."""
    value, influence = 0.0, torch.zeros(sample.count(RETAIN), dtype=torch.float64)
    for each, sign in ((world, 1.0), (World.ORIGINAL, -1.0)):
        made, truth = sample.pairs(each, RETAIN)
        distance = frechet_distance(made, truth) if torch.isfinite(made).all() else math.nan
        if not distance > 1e-9 * float(truth.double().var(dim=0).sum()):
            return None
        value += sign * math.log(distance)
        influence += sign * frechet_influence(made, truth) / distance
    return Change.of(value, influence, sample.subjects(RETAIN))


def _interval(low: float, high: float) -> Interval:
    return Interval(
        low=low, high=high, level=2 * BOUND_LEVEL - 1, method="infinitesimal jackknife, Student t, each bound at 95 %"
    )
