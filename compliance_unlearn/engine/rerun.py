"""Measuring a finished run again: do its figures repeat?"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Set
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from cu_audit.bundle import Bundle

from compliance_unlearn.api import WorkspaceError
from compliance_unlearn.engine.environment import environment
from compliance_unlearn.engine.measured import Measured, correct
from compliance_unlearn.engine.measuring import ModelRun
from compliance_unlearn.engine.planning import ResolvedPlan
from compliance_unlearn.engine.reporting import Reporter

PROSE = ("reason", "caption")
"""Sentences that hold figures which are compared by themselves."""


@dataclass(frozen=True)
class Difference:
    """One figure or word that did not repeat.

    Attributes:
        where: path in the result, such as ``face-mae.metrics.psnr.forget.after``.
        recorded: what the bundle says.
        found: what was measured now.
        scale: size of the figures that it belongs with; a number near 0 differs little if it differs little by that.
    """

    where: str
    recorded: Any
    found: Any
    scale: float = 0.0

    @property
    def is_prose(self) -> bool:
        """Whether it is a sentence, which repeats figures in rounded form."""
        return self.where.rpartition(".")[2] in PROSE

    @property
    def relative(self) -> float:
        """Distance of two numbers by the largest of them and the scale; infinite where they are not both numbers."""
        if not (_is_number(self.recorded) and _is_number(self.found)):
            return math.inf
        return float(abs(self.recorded - self.found) / max(abs(self.recorded), abs(self.found), self.scale))


@dataclass(frozen=True)
class Rerun:
    """What measuring again found.

    Attributes:
        compared: figures and words that were compared.
        differences: those that are not the same to the last bit.
        same_environment: whether machine, packages and plugins are those of the run.
        tolerance: relative difference that the bundle grants another machine.
        left_out: names of results and metrics that rest on models which are trained anew; they are compared in the
            environment of the run only.
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
        return tuple(each for each in self.differences if each.relative > self.tolerance and not each.is_prose)

    @property
    def repeats(self) -> bool:
        """Whether the figures repeat, as far as this environment can tell."""
        return not self.beyond


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
        # Elsewhere another unlearning is another model: the steps of a loop add up what the last bits differ by.
        measured = [
            models.measure_again(planned, by_name[planned.name], other_seeds=same) for planned in resolved.plan.models
        ]
    correct(measured)
    left_out = set() if same else {name for model in measured for name in model.checked.trained_anew}
    pairs: list[Difference] = []
    for model in measured:
        name = model.prepared.planned.name
        there, here = by_name[name].model_dump(mode="json"), _found(model)
        compare = _everything if same else partial(_figures, left_out=model.checked.trained_anew)
        pairs += _pairs(name, compare(there), compare(here))
    return Rerun(
        compared=len(pairs),
        differences=tuple(pair for pair in pairs if pair.recorded != pair.found),
        same_environment=same,
        tolerance=recorded.tolerance,
        left_out=tuple(sorted(left_out)),
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


def _figures(result: dict[str, Any], left_out: Set[str]) -> dict[str, Any]:
    """What repeats elsewhere, up to rounding.

    Not what rests on models that are trained anew: the steps of a loop add up what the last bits differ by, and make
    another model. Nor plots, in whose bins and rounded points a last bit can move a value by a whole step.
    """
    return {
        "checks": _by_name([check for check in result["checks"] if check["name"] not in left_out]),
        "metrics": {name: sets for name, sets in result["metrics"].items() if name not in left_out},
    }


def _by_name(checks: list[dict[str, Any]]) -> dict[str, Any]:
    return {f"{check['name']} on {check['set']}": check for check in checks}


def _pairs(where: str, one: Any, other: Any, scale: float = 0.0) -> Iterator[Difference]:
    """All leaves of two results side by side, equal or not; what only one of them has stands beside None."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in [*one, *(key for key in other if key not in one)]:
            size = 1.0 if key == "p_value" else max(scale, _scale(one))
            yield from _pairs(f"{where}.{key}", one.get(key), other.get(key), size)
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (mine, its) in enumerate(zip(one, other, strict=True)):
            yield from _pairs(f"{where}.{index}", mine, its, scale)
    else:
        yield Difference(where, one, other, scale)


def _scale(result: dict[str, Any]) -> float:
    """The largest of the figures of a check that have its unit; 0 for anything else."""
    interval = result.get("interval") or {}
    figures = [result.get("value"), result.get("threshold"), interval.get("low"), interval.get("high")]
    sizes = [abs(figure) for figure in figures if figure is not None]
    return max(sizes, default=0.0) if "verdict" in result else 0.0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


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
