"""What models make of the scored pictures; what the original makes of them is computed once for all candidates."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from cu_audit.records import FORGET, FORGET_HELD_OUT, RETAIN

from benchmarks.table.case import Case
from compliance_unlearn.api import Outputs, Task, World
from compliance_unlearn.engine.images import RecordImages
from compliance_unlearn.engine.worlds import MeasuredWorlds

SCORED = (FORGET, FORGET_HELD_OUT, RETAIN)


class Worlds:
    """The worlds of one original model and of any number of candidates, all under the same view of each picture."""

    def __init__(self, case: Case, original: Path, task: Task) -> None:
        self._case, self._task = case, task
        model = case.load(original, task)
        shared = {
            "original_model": model,
            "noise": case.noise(model),
            "original": original,
            "seed": 0,
            "load": case.load,
        }
        scored = {name: case.images(case.scored(name)) for name in SCORED if name in case.sets}
        self._parts = {**shared, **_sets(scored)}
        self._more = {**shared, **_sets(scored | {RETAIN: case.images(case.chosen(RETAIN, case.scale.known))})}
        self.base = MeasuredWorlds(**self._parts)
        self._known = MeasuredWorlds(**self._more)

    def of(self, candidate: Path) -> MeasuredWorlds:
        """The worlds with the candidate of that folder, for scores."""
        worlds = _Beside(self.base, self._parts)
        worlds.add(World.CANDIDATE, self._case.load(candidate, self._task), candidate)
        return worlds

    def for_envelope(self, scored: MeasuredWorlds) -> MeasuredWorlds:
        """The same candidate, beside what the original makes of more retain pictures."""
        return _Beside(self._known, self._more, candidates=scored)


class _Beside(MeasuredWorlds):
    """Worlds that take everything but the candidate's from others, and the candidate's, too, if they are told where."""

    def __init__(
        self, base: MeasuredWorlds, parts: Mapping[str, Any], candidates: MeasuredWorlds | None = None
    ) -> None:
        super().__init__(**parts)
        self._base, self._candidates = base, candidates

    def outputs(self, world: World, set_name: str) -> Outputs:
        if world is not World.CANDIDATE:
            return self._base.outputs(world, set_name)
        return self._candidates.outputs(world, set_name) if self._candidates else super().outputs(world, set_name)

    def noise_outputs(self, part: str, count: int) -> Outputs:
        return self._base.noise_outputs(part, count)


def _sets(images: Mapping[str, RecordImages]) -> dict[str, Any]:
    return {"sets": images, "subjects": _subjects(images)}


def _subjects(images: Mapping[str, RecordImages]) -> dict[str, torch.Tensor]:
    """A number for each person, the same in all sets; -1 where a record has none."""
    names = sorted({record.subject for part in images.values() for record in part.records if record.subject})
    numbers = {name: number for number, name in enumerate(names)}
    return {
        name: torch.tensor([numbers.get(record.subject or "", -1) for record in part.records])
        for name, part in images.items()
    }
