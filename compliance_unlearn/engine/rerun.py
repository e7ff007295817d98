"""Measuring a finished run again: do its figures repeat?"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
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

REPEATED = ("checks", "metrics", "plots", "repeats")
"""Parts of a model's result that are measured again; losses and seconds belong to the unlearning itself."""

PROSE = ("reason", "caption")
"""Sentences that hold figures which are compared by themselves."""


@dataclass(frozen=True)
class Difference:
    """One figure or word that did not repeat.

    Attributes:
        where: path in the result, such as ``face-mae.metrics.psnr.forget.after``.
        recorded: what the bundle says.
        found: what was measured now.
    """

    where: str
    recorded: Any
    found: Any

    @property
    def is_prose(self) -> bool:
        """Whether it is a sentence, which repeats figures in rounded form."""
        return self.where.rpartition(".")[2] in PROSE

    @property
    def relative(self) -> float:
        """Distance of two numbers by the larger of them; infinite where they are not both numbers."""
        numbers = [value for value in (self.recorded, self.found) if _is_number(value)]
        if len(numbers) < 2:
            return math.inf
        return float(abs(numbers[0] - numbers[1]) / max(abs(numbers[0]), abs(numbers[1])))


@dataclass(frozen=True)
class Rerun:
    """What measuring again found.

    Attributes:
        compared: figures and words that were compared.
        differences: those that are not the same to the last bit.
        same_environment: whether machine, packages and plugins are those of the run.
        tolerance: relative difference that the bundle grants another machine.
    """

    compared: int
    differences: tuple[Difference, ...]
    same_environment: bool
    tolerance: float

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
    pairs: list[tuple[str, Any, Any]] = []
    for model in measured:
        name = model.prepared.planned.name
        repeated = REPEATED if same else tuple(part for part in REPEATED if part != "repeats")
        pairs += _pairs(name, _part(by_name[name].model_dump(mode="json"), repeated), _part(_found(model), repeated))
    return Rerun(
        compared=len(pairs),
        differences=tuple(Difference(where, one, other) for where, one, other in pairs if one != other),
        same_environment=same,
        tolerance=recorded.tolerance,
    )


def _part(result: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: result[key] for key in keys}


def _found(measured: Measured) -> dict[str, Any]:
    return {
        "checks": [check.model_dump(mode="json") for check in measured.checked.results],
        "metrics": {
            name: {key: figures.model_dump(mode="json") for key, figures in sets.items()}
            for name, sets in measured.checked.metrics.items()
        },
        "plots": [plot.model_dump(mode="json") for plot in measured.checked.plots],
        "repeats": [repeat.model_dump(mode="json") for repeat in measured.other_seeds],
    }


def _pairs(where: str, one: Any, other: Any) -> Iterator[tuple[str, Any, Any]]:
    """All leaves of two results side by side; what only one of them has stands beside None."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in [*one, *(key for key in other if key not in one)]:
            yield from _pairs(f"{where}.{key}", one.get(key), other.get(key))
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (mine, its) in enumerate(zip(one, other, strict=True)):
            yield from _pairs(f"{where}.{index}", mine, its)
    else:
        yield where, one, other


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
