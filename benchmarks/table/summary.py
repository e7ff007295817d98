"""From results to what the table says: means with intervals over seeds, and whether the paper's order holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from cu_audit.records import FORGET, RETAIN
from cu_standard.statistics import mean_interval

from benchmarks.table.run import Result, Row
from benchmarks.table.trials import BASELINES, ORIGINAL, PAPER

AS_WELL = 0.9
"""A baseline forgets as well if its similarity on forget falls by at least so much of what the paper's method does."""

WORTH_COMPARING = 0.1
"""The paper's method must take so much of the similarity on forget, or there is nothing to compare."""


@dataclass(frozen=True)
class Mean:
    """A mean over seeds.

    Attributes:
        value: the mean; None if a result has no such figure.
        half: half of the width of its Student interval at 90 %, None with a single seed.
    """

    value: float | None
    half: float | None = None


def mean_of(values: Sequence[float | None]) -> Mean:
    """Mean and interval of one figure over seeds."""
    known = [value for value in values if value is not None]
    if len(known) < len(values) or not known:
        return Mean(None)
    found = torch.tensor(known, dtype=torch.float64)
    interval = mean_interval(found)
    return Mean(float(found.mean()), None if interval is None else (interval.high - interval.low) / 2)


def figure(results: Sequence[Result], set_name: str, name: str) -> Mean:
    """A figure of one row on one set."""
    return mean_of([result[set_name][name] for result in results])


def order(rows: Sequence[Row]) -> list[str]:
    """For each baseline, whether it forgets as well as the paper's method, and which keeps retain closer, in words."""
    found = {row.label: row.results for row in rows}
    original, paper = found[ORIGINAL], found[PAPER.label]
    start = _value(original, FORGET, "similarity")
    least = start - _value(paper, FORGET, "similarity")
    if not least >= WORTH_COMPARING * start:
        return [f"Encoder Alignment itself hardly forgets: similarity on forget falls by {least:.3f}"]
    lines = []
    for trial in BASELINES:
        results = found[trial.label]
        fall = start - _value(results, FORGET, "similarity")
        if fall < AS_WELL * least:
            lines.append(f"{trial.label} does not forget as well: similarity on forget falls by {fall:.3f}")
            continue
        closer = [name for name, sign in (("psnr", 1), ("frechet", -1)) if sign * _advantage(paper, results, name) > 0]
        kept = {2: "holds: Encoder Alignment keeps retain closer by PSNR and by Fréchet distance", 0: "does not hold"}
        said = kept.get(len(closer), f"is mixed: Encoder Alignment is ahead in {' '.join(closer)} only")
        lines.append(f"{trial.label} forgets as well, and the paper's order {said}")
    return lines


def _advantage(one: Sequence[Result], other: Sequence[Result], name: str) -> float:
    return _value(one, RETAIN, name) - _value(other, RETAIN, name)


def _value(results: Sequence[Result], set_name: str, name: str) -> float:
    value = figure(results, set_name, name).value
    return float("nan") if value is None else value
