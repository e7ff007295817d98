"""Measuring a finished run again: do its figures repeat?"""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from cu_audit.bundle import Bundle
from cu_audit.records import CheckResult

from compliance_unlearn.api import WorkspaceError
from compliance_unlearn.engine.environment import environment
from compliance_unlearn.engine.measured import Measured, correct_by_holm
from compliance_unlearn.engine.measuring import ModelRun
from compliance_unlearn.engine.planning import ResolvedPlan
from compliance_unlearn.engine.reporting import Reporter
from compliance_unlearn.evidence.numbers import is_share

PROSE = ("reason", "caption")
"""Sentences that hold figures which are compared by themselves."""


ONE_OF_AT_LEAST = 200
"""Records that a share rests on, from which on one more or less is a rounding difference: a record near a border."""


@dataclass(frozen=True)
class Allowance:
    """What a figure may differ by elsewhere, beside the tolerance of its own size.

    Attributes:
        scale: size of the figures that it belongs with; a number near 0 differs little if it differs little by that.
        step: distance that is granted whatever the size: one record of a share.
    """

    scale: float = 0.0
    step: float = 0.0


@dataclass(frozen=True)
class Difference:
    """One figure or word that did not repeat.

    Attributes:
        where: path in the result, such as ``face-mae.metrics.psnr.forget.after``.
        recorded: what the bundle says.
        found: what was measured now.
        allowance: of this figure.
    """

    where: str
    recorded: Any
    found: Any
    allowance: Allowance = Allowance()

    @property
    def is_prose(self) -> bool:
        """Whether it is a sentence, which repeats figures in rounded form."""
        return self.where.rpartition(".")[2] in PROSE

    @property
    def distance(self) -> float:
        """Of two numbers; infinite where they are not both such.

        Whole numbers count something, and what is counted is the same or is not.
        """
        if isinstance(self.recorded, float) and isinstance(self.found, float):
            return abs(self.recorded - self.found)
        return math.inf

    @property
    def relative(self) -> float:
        """Distance by the largest of both numbers and the scale; infinite where they are not both numbers."""
        if math.isinf(self.distance):
            return math.inf
        size = max(abs(self.recorded), abs(self.found), self.allowance.scale)
        return self.distance / size if size else math.inf

    def granted(self, tolerance: float) -> bool:
        """Whether another machine may differ so."""
        # In binary the distance of two shares may be a little more than the record that they differ by.
        one_record = self.distance <= self.allowance.step * (1 + 1e-9)
        return self.relative <= tolerance or one_record or self.is_prose


@dataclass(frozen=True)
class Rerun:
    """What measuring again found.

    Attributes:
        compared: figures and words that were compared.
        differences: those that are not the same to the last bit.
        same_environment: whether machine, packages and plugins are those of the run.
        tolerance: relative difference that the bundle grants another machine.
        left_out: results that rest on models which are trained anew, as ``model: check on set``, those that decide
            first; they are compared in the environment of the run only.
    """

    compared: int
    differences: tuple[Difference, ...]
    same_environment: bool
    tolerance: float
    left_out: tuple[str, ...] = ()

    @property
    def beyond(self) -> tuple[Difference, ...]:
        """Differences that are not granted: any in the same environment, large ones elsewhere."""
        if self.same_environment:
            return self.differences
        return tuple(each for each in self.differences if not each.granted(self.tolerance))

    @property
    def repeats(self) -> bool:
        """Whether the figures repeat, as far as this environment can tell."""
        return self.compared > 0 and not self.beyond


def rerun(resolved: ResolvedPlan, bundle: Bundle, *, reporter: Reporter, device: torch.device) -> Rerun:
    """Measure original and candidate of each model again and compare with the bundle; changes nothing.

    Args:
        resolved: the plan of the bundle.
        bundle: verified.
        reporter: shows progress.
        device: to compute on.

    Raises:
        WorkspaceError: weights are gone or changed.
        DataError: a file is missing or changed.
    """
    recorded = bundle.result
    same = environment(resolved.registry, device) == recorded.environment
    with tempfile.TemporaryDirectory() as state:
        models = ModelRun(resolved, state=Path(state), name="rerun", reporter=reporter, device=device)
        by_name = {model.name: model for model in recorded.models}
        # Elsewhere other seeds and a reference would be other models: the steps of a loop add up what the last bits
        # differ by.
        measured = [
            models.measure_again(planned, by_name[planned.name], trained_anew=same) for planned in resolved.plan.models
        ]
    if not same:
        for model in measured:
            model.checked.results[:] = _with_recorded(
                model.checked.results, by_name[model.prepared.planned.name].checks
            )
    correct_by_holm(measured)
    pairs: list[Difference] = []
    for model in measured:
        name = model.prepared.planned.name
        there, here = by_name[name].model_dump(mode="json"), _found(model)
        compare = _everything if same else partial(_figures, without=model.checked.trained_anew)
        pairs += _pairs(name, compare(there), compare(here))
    return Rerun(
        compared=len(pairs),
        differences=tuple(pair for pair in pairs if pair.recorded != pair.found),
        same_environment=same,
        tolerance=recorded.tolerance,
        left_out=() if same else _left_out(measured),
    )


def _with_recorded(found: Sequence[CheckResult], recorded: Sequence[CheckResult]) -> list[CheckResult]:
    """What was found, but for results that rest on models which are trained anew: those as they are recorded.

    So the others are corrected for the same number of tests as they were. A record is not believed about a result that
    was measured now without training.
    """
    measured = {(result.name, result.set) for result in found if result.value is not None and not result.trained_anew}
    trained = [result for result in recorded if result.trained_anew and (result.name, result.set) not in measured]
    keys = {(result.name, result.set) for result in trained}
    return [*trained, *(result for result in found if (result.name, result.set) not in keys)]


def _left_out(models: Sequence[Measured]) -> tuple[str, ...]:
    results = [
        (model.prepared.planned.name, check)
        for model in models
        for check in model.checked.results
        if check.trained_anew
    ]
    results.sort(key=lambda each: not each[1].gates)
    return tuple(
        f"{name}: {check.name} on {check.set}{', which decides' if check.gates else ''}" for name, check in results
    )


def _found(measured: Measured) -> dict[str, Any]:
    checked = measured.checked
    return {
        "checks": [check.model_dump(mode="json") for check in checked.results],
        "metrics": {
            name: {key: figures.model_dump(mode="json") for key, figures in sets.items()}
            for name, sets in checked.metrics.items()
        },
        "plots": [plot.model_dump(mode="json") for plot in checked.plots],
        "repeats": [repeat.model_dump(mode="json") for repeat in measured.other_seeds],
    }


def _everything(result: dict[str, Any]) -> dict[str, Any]:
    """What repeats to the last bit in the environment of a run; losses and seconds belong to the unlearning itself."""
    return {"checks": _by_name(result["checks"]), **{key: result[key] for key in ("metrics", "plots", "repeats")}}


def _figures(result: dict[str, Any], without: Set[str]) -> dict[str, Any]:
    """What repeats elsewhere, up to rounding.

    Not what rests on models that are trained anew. Nor plots, in whose bins and rounded points a last bit can move a
    value by a whole step.
    """
    return {
        "checks": _by_name([check for check in result["checks"] if not check["trained_anew"]]),
        "metrics": {name: sets for name, sets in result["metrics"].items() if name not in without},
    }


def _by_name(checks: list[dict[str, Any]]) -> dict[str, Any]:
    """Results by what a reader knows them by; a second one of the same name and set is numbered."""
    seen: Counter[str] = Counter()
    named = {}
    for check in checks:
        name = f"{check['name']} on {check['set']}"
        seen[name] += 1
        named[name if seen[name] == 1 else f"{name} ({seen[name]})"] = check
    return named


def _pairs(where: str, one: Any, other: Any, allowance: Allowance = Allowance()) -> Iterator[Difference]:
    """All leaves of two results side by side, equal or not; what only one of them has stands beside None."""
    if isinstance(one, dict) and isinstance(other, dict):
        own = _allowances(one)
        for key in [*one, *(key for key in other if key not in one)]:
            yield from _pairs(f"{where}.{key}", one.get(key), other.get(key), own.get(key, allowance))
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (mine, its) in enumerate(zip(one, other, strict=True)):
            yield from _pairs(f"{where}.{index}", mine, its, allowance)
    else:
        yield Difference(where, one, other, allowance)


def _allowances(result: dict[str, Any]) -> dict[str, Allowance]:
    """Of the figures of a metric or a check by their names; what is not named has that of what it is part of.

    Figures of one unit that stand together are judged by the largest of them; a p-value by 1.
    """
    if result.keys() == {"before", "after"}:
        return dict.fromkeys(result, Allowance(_largest(result.values())))
    if "verdict" not in result:
        return {"level": Allowance()} if "level" in result else {}
    interval, count = result.get("interval"), result.get("sample_size")
    ends = [interval.get("low"), interval.get("high")] if isinstance(interval, dict) else []
    scale = _largest([result.get("value"), result.get("threshold"), *ends])
    of_many = isinstance(count, int) and count >= ONE_OF_AT_LEAST and is_share(str(result.get("unit", "")))
    own = Allowance(scale, step=1.0 / cast(int, count) if of_many else 0.0)
    figures = ("value", "threshold", "interval", "detectable", "controls")
    return {"p_value": Allowance(scale=1.0), **dict.fromkeys(figures, own)}


def _largest(figures: Iterable[Any]) -> float:
    return max((abs(figure) for figure in figures if isinstance(figure, int | float)), default=0.0)


def require_bundle_of(resolved: ResolvedPlan, bundle: Bundle) -> None:
    """Check that a plan is the one of a bundle.

    Raises:
        WorkspaceError: policy, data, models or plugins are not those of the run.
    """
    if resolved.digest != bundle.result.plan_digest:
        raise WorkspaceError(
            "the plan of this bundle cannot be made again: the policy, the data, a model or a default of a plugin is "
            "not what it was"
        )
