"""Writes all that a benchmark run is for into one folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from cu_audit.records import FORGET, RETAIN

from benchmarks.table.data import PROXIES
from benchmarks.table.figures import draw_ablations, draw_embeddings, draw_pictures
from benchmarks.table.measure import Scorer
from benchmarks.table.models import surroundings, unlearned
from benchmarks.table.report import About, ablation_page, table_page
from benchmarks.table.run import CaseRun
from benchmarks.table.trials import PAPER
from compliance_unlearn.api import RandomMask, World, shown_pixels
from compliance_unlearn.workspace import write_atomic

WHITE = 1.0
"""What stands where pixels are hidden."""


@dataclass(frozen=True)
class Output:
    """The folder, the command that fills it, and the families whose settings are varied."""

    folder: Path
    command: str
    varied: Sequence[str]

    def write(self, runs: Sequence[CaseRun]) -> str:
        """Compute what is not computed yet, write everything, and return the table."""
        self.folder.mkdir(parents=True, exist_ok=True)
        tables = {run.case.name: run.table() for run in runs}
        page = table_page(self._about(runs[0], runs[0].case.scale.seeds), tables)
        self._write("table.md", page)
        for run in runs:
            self._draw(run)
        varied = {run.case.name: run.ablations() for run in runs if run.case.family in self.varied}
        if varied:
            self._write("ablations.md", ablation_page(self._about(runs[0], runs[0].case.scale.ablation_seeds), varied))
        for name, found in varied.items():
            draw_ablations(found, self.folder / f"ablations-{name}.png")
        return page

    def _write(self, name: str, text: str) -> None:
        write_atomic(self.folder / name, text.encode())

    def _about(self, run: CaseRun, seeds: Sequence[int]) -> About:
        case = run.case
        return About(
            command=self.command,
            example=case.example,
            net=run.net,
            counts={name: len(case.scored(name)) for name in (FORGET, RETAIN)},
            seeds=seeds,
            proxy=PROXIES[case.example][0] if case.proxy else "none for these pictures",
            code=surroundings(case)["code"],
        )

    def _draw(self, run: CaseRun) -> None:
        case, task = run.case, run.case.entry.task
        original = run.original(task)
        candidate, _ = unlearned(case, PAPER, case.scale.seeds[0], original, run.reporter)
        worlds = run.worlds(original, task).of(candidate)
        draw_embeddings(worlds, Scorer(run.net, case.device), self.folder / f"tsne-{case.name}.png")
        records = [record for name in (FORGET, RETAIN) for record in worlds.records(name)]
        if isinstance(task, RandomMask) or any(record.subject for record in records):
            # Pictures of people are not shown, and masks that are drawn anew would be others than those measured.
            return
        model = case.load(original)
        inputs = {}
        for name in (FORGET, RETAIN):
            truth = worlds.outputs(World.ORIGINAL, name).truth
            hidden = model.views(len(truth), torch.Generator()).hidden
            inputs[name] = shown_pixels(task, truth, hidden, torch.full((truth.shape[1],), WHITE))
        draw_pictures(worlds, inputs, self.folder / f"pictures-{case.name}.png")
