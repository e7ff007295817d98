"""Probe: can the hidden content be read from the encoder's features, whatever the decoder makes of them?

A frozen decoder may hide what features keep. A linear probe (ridge regression, its penalty chosen by leave-one-out)
and a small neural one (one hidden layer on whitened principal components) learn to predict the hidden pixels of a
picture, as 16 principal components, from its features E(T(x)): all depths, at most 16,384 numbers of each, each value
standardised within its set (Alain and Bengio, 2016, on probes), hashed to 4,096 numbers where there are more
(Weinberger et al., 2009). Two attackers: one has some of the pictures to forget (cross-fitted in five folds), one has
retained pictures only.

Skill: the correlation between predicted and true hidden pixels over all pictures, each pixel less its mean over the
pictures that one probe was tested on; in [-1, 1]. It counts what tells one forgotten picture from another. Noise
images carry nothing about the pictures, so the true skill on features of O(n) is 0; it is measured as a control.
Null hypothesis: the skill of the strongest probe is above the margin. Its interval is Student's over jackknife
pseudo-values (Efron and Stein, 1981), records of one subject left out together, with twice the variance where probes
are cross-fitted; the upper bound is the largest of all probes (intersection-union test, Berger, 1982), the lower bound
is corrected for their number (Bonferroni).

Second statistic, reported: matching, the share of other pictures whose hidden content is less like the prediction
than the true one is (cosine), scaled so that 0 is chance and 1 perfect.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from cu_audit.records import FORGET, RETAIN, BeforeAfter, CheckResult, Control, Interval, Question, Verdict

from compliance_unlearn.api import Check, CheckContext, Measurement, World
from cu_standard.clusters import cluster_sums, clusters_of, detectable, needed, p_value_at_most
from cu_standard.feature_map import ROUNDING, feature_map, standardised
from cu_standard.params import ProbeParams
from cu_standard.statistics import BOUND_LEVEL, at_most, cluster_means, mean_interval

AT_LEAST = 30
"""Pictures without which no probe is fitted."""

FOLDS = 5
"""Probes of the attacker who has some of the pictures; each is tested on every fifth."""

COMPONENTS = 16
"""Principal components of the hidden content that are predicted."""

RETAINED_AT_MOST = 1000
"""Retained pictures that a probe learns from."""

KINDS = ("linear", "neural")
"""Of probes."""

MATCHING = "probe-matching"
"""Name of the second result."""

OWN, OTHERS = "some of the pictures", "other pictures"
"""What an attacker has."""


@dataclass(frozen=True)
class Pictures:
    """What a probe is fitted to or tested on.

    Attributes:
        features: standardised, ``[n, d]``.
        truth: the pixels that are hidden in any picture, ``[n, k]``.
        hidden: boolean ``[n, k]``, those that are hidden in each.
    """

    features: torch.Tensor
    truth: torch.Tensor
    hidden: torch.Tensor

    def __len__(self) -> int:
        return len(self.truth)

    def __getitem__(self, index: torch.Tensor) -> Pictures:
        return Pictures(self.features[index], self.truth[index], self.hidden[index])


@dataclass(frozen=True)
class Given:
    """What the probes of one world are given.

    Attributes:
        forget: the pictures to forget, which they are tested on.
        retained: those that the attacker has who has no picture to forget; None where there are too few.
    """

    forget: Pictures
    retained: Pictures | None

    @property
    def finite(self) -> bool:
        """Whether all features are."""
        parts = [self.forget.features, *([] if self.retained is None else [self.retained.features])]
        return all(bool(torch.isfinite(features).all()) for features in parts)


@dataclass(frozen=True)
class Skill:
    """How well a probe did.

    Attributes:
        correlation: of predicted with true hidden pixels.
        pseudo_values: of the correlation, one a cluster, ``[g]``.
        matching: of each picture, in [-1, 1], ``[n]``.
    """

    correlation: float
    pseudo_values: torch.Tensor
    matching: torch.Tensor

    @classmethod
    def of(cls, products: torch.Tensor, matching: torch.Tensor, clusters: torch.Tensor) -> Skill:
        """From the sums of each picture that `scores` gives."""
        parts = cluster_sums(products, clusters)
        whole, count = _correlation(parts.sum(dim=0)), len(parts)
        return cls(float(whole), count * whole - (count - 1) * _correlation(parts.sum(dim=0) - parts), matching)


class Probe(Check):
    """Skill of the strongest probe on the features of the records to forget."""

    def __init__(self, params: ProbeParams) -> None:
        self._params = params

    def _run(self, context: CheckContext) -> Measurement:
        return replace(self._measured(context), plots=feature_map(context))

    def _measured(self, context: CheckContext) -> Measurement:
        count = context.counts[FORGET]
        if count < AT_LEAST:
            reason = f"only {count} pictures: no probe can be fitted and tested on fewer than {AT_LEAST}"
            return Measurement((self._unmeasured(context, reason),))
        given = _given(context)
        broken = [world for world, pictures in given.items() if not pictures.finite]
        if broken:
            reason = f"the encoder gives features that are not numbers: {', '.join(broken)}"
            return Measurement((self._unmeasured(context, reason),))
        contents: Contents = {}
        skills = {world: _skills(context, pictures, contents) for world, pictures in given.items()}
        return Measurement((self._result(context, skills), self._matching(context, skills)), _figures(skills))

    def _result(self, context: CheckContext, skills: Mapping[World, Mapping[str, Skill]]) -> CheckResult:
        limit, found = self._params.skill_at_most, skills[World.CANDIDATE]
        interval, controls = strongest_interval(found), self._controls(skills)
        strongest = max(found, key=lambda name: found[name].correlation)
        told = ", ".join(f"{name} {skill.correlation:.2f}" for name, skill in found.items())
        verdict = at_most(interval, limit)
        reason = f"correlations: {told}; up to {interval.high:.2f} cannot be excluded, allowed {limit:g}"
        if not all(control.behaved for control in controls):
            verdict, reason = Verdict.VOID, "a control misbehaved: these probes cannot tell skill from none"
        elif verdict is Verdict.INCONCLUSIVE:
            reason += f"; about {_needed(found, limit)} pictures would settle it, if there is no skill"
        return self._blank(context).model_copy(
            update={
                "trained_anew": True,
                "verdict": verdict,
                "value": found[strongest].correlation,
                "interval": interval,
                "p_value": max(p_value_at_most(skill.pseudo_values, limit) for skill in found.values()),
                "detectable": max(detectable(bounds, limit) for bounds in _intervals(found)),
                "controls": controls,
                "reason": reason,
            }
        )

    def _controls(self, skills: Mapping[World, Mapping[str, Skill]]) -> tuple[Control, ...]:
        limit = self._params.skill_at_most
        caught, missed = (strongest_interval(skills[world]) for world in (World.ORIGINAL, World.NOISE))
        best = {world: max(skill.correlation for skill in found.values()) for world, found in skills.items()}
        return (
            Control(
                name="original model",
                expected=f"fails: skill above {limit:g}",
                value=best[World.ORIGINAL],
                behaved=at_most(caught, limit) is Verdict.FAILED,
            ),
            Control(
                name="original model on noise",
                expected=f"no skill above {limit:g} can be shown",
                value=best[World.NOISE],
                behaved=at_most(missed, limit) is not Verdict.FAILED,
            ),
        )

    def _matching(self, context: CheckContext, skills: Mapping[World, Mapping[str, Skill]]) -> CheckResult:
        """Reported: coarser than the correlation, but says what it means for a single picture."""
        subjects = context.outputs(World.ORIGINAL, FORGET).subjects
        clusters = clusters_of(subjects)
        found = skills[World.CANDIDATE]
        name = max(found, key=lambda each: float(found[each].matching.mean()))
        interval = mean_interval(cluster_means(found[name].matching, clusters))
        verdict = at_most(interval, self._params.skill_at_most) if interval else Verdict.INCONCLUSIVE
        share = (1.0 + float(found[name].matching.mean())) / 2.0
        return self._blank(context).model_copy(
            update={
                "name": MATCHING,
                "trained_anew": True,
                "claim": "The prediction of a probe is no more like the true hidden content than like another one.",
                "verdict": verdict,
                "gates": False,
                "value": float(found[name].matching.mean()),
                "unit": "matching",
                "interval": interval,
                "reason": f"{name}: the truth is nearer than {share:.0%} of the others, where chance is 50%",
            }
        )

    def _unmeasured(self, context: CheckContext, reason: str) -> CheckResult:
        return self._blank(context).model_copy(update={"reason": reason})

    def _blank(self, context: CheckContext) -> CheckResult:
        return CheckResult(
            name="probe",
            set=FORGET,
            question=Question.RECOVERABLE,
            claim=(
                "Neither a linear nor a small neural probe reads the hidden part of the pictures from the encoder's "
                "features, beyond the margin."
            ),
            verdict=Verdict.INCONCLUSIVE,
            gates=True,
            value=None,
            unit="correlation",
            interval=None,
            threshold=self._params.skill_at_most,
            sample_size=context.counts[FORGET],
            reason="",
            not_tested=(
                "What all forgotten pictures have in common, larger probes, and attackers who have more pictures. "
                "Skill includes what anybody could guess from the visible part."
            ),
        )


def scores(predicted: torch.Tensor, pictures: Pictures) -> tuple[torch.Tensor, torch.Tensor]:
    """How well the predictions of one probe fit.

    Args:
        predicted: hidden content, ``[n, k]``.
        pictures: those that it was tested on.

    Returns:
        ``[n, 3]``, for each picture the sums over its hidden pixels of predicted times true, of predicted squared and
        of true squared; and ``[n]``, the matching of each picture. Both after each pixel's mean is taken off.
    """
    hidden = pictures.hidden.double()
    one, other = (values.double() - values.double().mean(dim=0) for values in (predicted, pictures.truth))
    if one.square().mean() < ROUNDING**2 * other.square().mean():
        one = torch.zeros_like(one)
    seen = one * hidden
    products = torch.stack([(seen * other).sum(dim=1), (seen * one).sum(dim=1), (hidden * other * other).sum(dim=1)], 1)
    alike = (seen @ other.T) / (hidden @ other.square().T).clamp(min=1e-30).sqrt()
    order = torch.sign(alike.diagonal()[:, None] - alike)
    return products, order.sum(dim=1) / max(len(pictures) - 1, 1)


def strongest_interval(skills: Mapping[str, Skill]) -> Interval:
    """Of the largest skill: the largest upper bound, and the largest of the corrected lower bounds."""
    corrected = _intervals(skills, 1.0 - (1.0 - BOUND_LEVEL) / len(skills))
    return Interval(
        low=max(interval.low for interval in corrected),
        high=max(interval.high for interval in corrected),
        level=2 * BOUND_LEVEL - 1,
        method="jackknife over pictures or subjects, bounds of the strongest probe, each at 95 %",
    )


def _intervals(skills: Mapping[str, Skill], lower_level: float = BOUND_LEVEL) -> list[Interval]:
    found = [mean_interval(skill.pseudo_values, lower_level) for skill in skills.values()]
    return [interval for interval in found if interval is not None]


def _correlation(sums: torch.Tensor) -> torch.Tensor:
    """Of the sums of `scores`, ``[..., 3]``; 0 where nothing varies."""
    return sums[..., 0] / (sums[..., 1] * sums[..., 2]).clamp(min=1e-30).sqrt()


def _skills(context: CheckContext, given: Given, contents: Contents) -> dict[str, Skill]:
    """Of every probe of both attackers on a world's features of the records to forget."""
    forget, clusters = given.forget, clusters_of(context.outputs(World.ORIGINAL, FORGET).subjects)
    seed = int(torch.randint(2**31 - 1, (), generator=context.generator("probes")))
    order = torch.randperm(len(forget), generator=context.generator("folds of probes"))
    skills = {f"{kind} with {OWN}": _cross_fitted(forget, kind, order, clusters, seed, contents) for kind in KINDS}
    if given.retained is not None:
        content = _content(contents, OTHERS, given.retained, seed)
        for kind in KINDS:
            predicted = _fit(given.retained, content, forget, kind, seed)
            skills[f"{kind} with {OTHERS}"] = Skill.of(*scores(predicted, forget), clusters)
    return skills


def _cross_fitted(
    pictures: Pictures, kind: str, order: torch.Tensor, clusters: torch.Tensor, seed: int, contents: Contents
) -> Skill:
    products, matching = torch.empty(len(pictures), 3, dtype=torch.float64), torch.empty(len(pictures)).double()
    for fold, tested in enumerate(order.chunk(FOLDS)):
        known = pictures[order[~torch.isin(order, tested)]]
        content = _content(contents, f"fold {fold}", known, seed)
        predicted = _fit(known, content, pictures[tested], kind, seed)
        products[tested], matching[tested] = scores(predicted, pictures[tested])
    # Each picture also taught the probes that were tested on others, so that the errors of folds go together: with a
    # symmetrical kernel, as that of ridge regression, the variance is twice what one fold shows.
    found = Skill.of(products, matching, clusters)
    mean = found.pseudo_values.mean()
    return replace(found, pseudo_values=mean + math.sqrt(2.0) * (found.pseudo_values - mean))


@dataclass(frozen=True)
class Content:
    """The hidden content that a probe learns to predict.

    Attributes:
        components: a fitted ``sklearn.decomposition.PCA``.
        targets: coordinates of the pictures that it was fitted to, ``[n, c]``.
        scale: deviation of all of them.
    """

    components: Any
    targets: Any
    scale: float


Contents = dict[str, Content]
"""By what the probe learns from; the pictures, and so their content, are the same in every world."""


def _content(contents: Contents, name: str, known: Pictures, seed: int) -> Content:
    from sklearn.decomposition import PCA

    if name not in contents:
        components = PCA(min(COMPONENTS, *known.truth.shape), svd_solver="randomized", random_state=seed)
        targets = components.fit_transform(known.truth.double().numpy())
        contents[name] = Content(components, targets, max(float(targets.std()), 1e-12))
    return contents[name]


def _fit(known: Pictures, content: Content, tested: Pictures, kind: str, seed: int) -> torch.Tensor:
    """The hidden content of pictures as a probe that learned from others predicts it, ``[n, k]``."""
    from sklearn.exceptions import ConvergenceWarning

    varies = known.features.square().sum(dim=0) > 0
    if not varies.any():
        return torch.zeros_like(tested.truth)
    probe = _linear(int(varies.sum())) if kind == "linear" else _neural(len(known), int(varies.sum()), seed)
    features = [pictures.features[:, varies].double().numpy() for pictures in (known, tested)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        probe.fit(features[0], content.targets / content.scale)
    return torch.from_numpy(content.components.inverse_transform(probe.predict(features[1]) * content.scale))


def _linear(width: int) -> Any:
    from sklearn.linear_model import RidgeCV

    return RidgeCV(alphas=[width * 10.0**power for power in range(-3, 4)])


def _neural(count: int, width: int, seed: int) -> Any:
    from sklearn.decomposition import PCA
    from sklearn.neural_network import MLPRegressor
    from sklearn.pipeline import make_pipeline

    return make_pipeline(
        PCA(min(64, count - 1, width), whiten=True, svd_solver="randomized", random_state=seed),
        MLPRegressor(
            hidden_layer_sizes=(64,), learning_rate_init=3e-3, early_stopping=True, max_iter=100, random_state=seed
        ),
    )


def _given(context: CheckContext) -> dict[World, Given]:
    """Of the original, the candidate, and the original on noise."""
    worlds, count = (World.ORIGINAL, World.CANDIDATE), context.counts.get(RETAIN, 0)
    chosen = torch.randperm(count, generator=context.generator("pictures of probes"))[:RETAINED_AT_MOST]
    retained = {world: _pictures(context, world, RETAIN, chosen) for world in worlds if count >= AT_LEAST}
    # Noise in place of the records to forget is all that tells O(n) from the original.
    learned_from = {**{world: retained.get(world) for world in worlds}, World.NOISE: retained.get(World.ORIGINAL)}
    return {world: Given(_pictures(context, world, FORGET), others) for world, others in learned_from.items()}


def _pictures(context: CheckContext, world: World, name: str, rows: torch.Tensor | None = None) -> Pictures:
    outputs, chosen = context.outputs(world, name), slice(None) if rows is None else rows
    return Pictures(
        features=standardised(context.features(world, name, rows), context.generator("hashing of features")),
        truth=_anywhere(context, outputs.truth[chosen]),
        hidden=_anywhere(context, outputs.generated.expand_as(outputs.truth)[chosen]),
    )


def _anywhere(context: CheckContext, values: torch.Tensor) -> torch.Tensor:
    """Those pixels that are hidden in any picture to forget, ``[n, k]``."""
    anywhere = context.outputs(World.ORIGINAL, FORGET).generated.any(dim=0).expand(values.shape[1:])
    return values[:, anywhere]


def _needed(skills: Mapping[str, Skill], limit: float) -> int:
    return max(
        needed(len(skill.matching), interval, limit)
        for skill, interval in zip(skills.values(), _intervals(skills), strict=True)
    )


def _figures(skills: Mapping[World, Mapping[str, Skill]]) -> dict[str, dict[str, BeforeAfter]]:
    return {
        "probe_" + name.replace(" ", "_"): {
            FORGET: BeforeAfter(
                before=skills[World.ORIGINAL][name].correlation, after=skills[World.CANDIDATE][name].correlation
            )
        }
        for name in skills[World.CANDIDATE]
    }
