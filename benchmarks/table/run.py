"""All trials of one case, each computed once."""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cu_audit.canonical import files_sha256, folder_files
from cu_audit.records import FORGET, RETAIN, Verdict

from benchmarks.table.cache import cached
from benchmarks.table.case import Case
from benchmarks.table.measure import Scorer
from benchmarks.table.models import trained, unlearned
from benchmarks.table.trials import ABLATION_TASK, ORIGINAL, RETRAINED, ROWS, Ablation, Trial, ablations
from benchmarks.table.worlds import Worlds
from compliance_unlearn.api import Check, CheckSpec, FeatureNet, Task, World
from compliance_unlearn.engine.reporting import Reporter
from compliance_unlearn.engine.worlds import MeasuredWorlds

ENVELOPE = "noise-envelope"
INSIDE_AT_LEAST = 0.95

Result = dict[str, Any]
"""Figures of one model: ``forget`` and ``retain`` (see `benchmarks.table.measure.FIGURES`), ``inside`` and ``verdict``;
for one that was unlearned also ``seconds``, ``machine`` and ``code``."""


@dataclass(frozen=True)
class Row:
    """Results of one row, one a seed; models that are made once have one."""

    label: str
    results: list[Result] = field(default_factory=list)


@dataclass(frozen=True)
class Varied:
    """Results of one ablation: for each value, the model before and after."""

    ablation: Ablation
    pairs: list[tuple[Row, Row]]


@dataclass
class CaseRun:
    """Computes rows and ablations of a case, or reads what was computed before."""

    case: Case
    net: FeatureNet
    reporter: Reporter

    def __post_init__(self) -> None:
        self._open: dict[tuple[Path, Task], tuple[Worlds, Scorer]] = {}
        registry = self.case.registry
        registered = registry.find(CheckSpec, ENVELOPE)
        params = {"inside_at_least": INSIDE_AT_LEAST, "noise_images": self.case.scale.noise_images}
        check = registry.make(registered, registry.params(registered, params))
        assert isinstance(check, Check)
        self._envelope = check

    def table(self) -> list[Row]:
        """The rows of the table, in its order; without the proxy's where an example has no proxy."""
        case, task = self.case, self.case.entry.task
        original = self.original(task)
        never = trained(case, task, self.reporter, without_forget=True)
        rows = [Row(ORIGINAL, [self._score(original, original, task)])]
        rows += [
            self._row(trial, original, case.scale.seeds) for trial in ROWS if trial.retain != "proxy" or case.proxy
        ]
        return [*rows, Row(RETRAINED, [self._score(original, never, task)])]

    def ablations(self) -> list[Varied]:
        """What each ablation of the family found."""
        found = []
        for ablation in ablations(self.case.scale.alphas, self.case.scale.shares, self.case.tasks):
            pairs = []
            for trial in ablation.trials:
                task = trial.task or self.case.entry.task
                original = self.original(ABLATION_TASK if trial.task else task)
                before = Row(ORIGINAL, [self._score(original, original, task)])
                pairs.append((before, self._row(trial, original, self.case.scale.ablation_seeds)))
            found.append(Varied(ablation, pairs))
        return found

    def original(self, task: Task) -> Path:
        """Folder of the model that is unlearned."""
        return trained(self.case, task, self.reporter)

    def worlds(self, original: Path, task: Task) -> Worlds:
        """The worlds of an original model."""
        return self._opened(original, task)[0]

    def _row(self, trial: Trial, original: Path, seeds: Sequence[int]) -> Row:
        task, results = trial.task or self.case.entry.task, []
        for seed in seeds:
            self.reporter.note(f"{self.case.name}: {trial.label}, seed {seed}")
            candidate, making = unlearned(self.case, trial, seed, original, self.reporter)
            results.append(self._score(original, candidate, task) | making)
        return Row(trial.label, results)

    def _score(self, original: Path, candidate: Path, task: Task) -> Result:
        scale = self.case.scale
        settings = {
            "case": self.case.description(),
            "original": files_sha256(folder_files(original)),
            "candidate": files_sha256(folder_files(candidate)),
            "task": task.model_dump(mode="json"),
            "pictures": scale.pictures,
            "known": scale.known,
            "noise_images": scale.noise_images,
            "net": [self.net.name, self.net.sha256, self.net.edge],
            "envelope": _code_sha256(self._envelope),
        }

        def compute() -> Result:
            opened, scorer = self._opened(original, task)
            worlds = opened.of(candidate)
            figures = {name: scorer.score(worlds.outputs(World.CANDIDATE, name), name) for name in (FORGET, RETAIN)}
            return figures | self._inside(opened.for_envelope(worlds))

        return cached(self.case.state / "results", settings, compute)

    def _inside(self, worlds: MeasuredWorlds) -> Result:
        """Share of forget outputs inside the noise envelope; None where the check found that it has no power."""
        (found,) = [result for result in self._envelope.run(worlds).results if result.set == FORGET]
        return {"inside": None if found.verdict is Verdict.VOID else found.value, "verdict": found.verdict.value}

    def _opened(self, original: Path, task: Task) -> tuple[Worlds, Scorer]:
        if (original, task) not in self._open:
            self._open[original, task] = Worlds(self.case, original, task), Scorer(self.net, self.case.device)
        return self._open[original, task]


def _code_sha256(check: Check) -> str:
    """Of the file that defines a check: its figures are computed anew when it changes."""
    return hashlib.sha256(inspect.getsource(sys.modules[type(check).__module__]).encode()).hexdigest()
