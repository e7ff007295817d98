"""From results of seeds to what the page says."""

from __future__ import annotations

from typing import Any

import pytest
from cu_audit.records import FORGET, RETAIN

from benchmarks.table.report import SHOWN, cell, markdown
from benchmarks.table.run import Row
from benchmarks.table.summary import Mean, mean_of, order
from benchmarks.table.trials import BASELINES, ORIGINAL, PAPER, ROWS, ablations


def result(similarity: float, psnr: float, frechet: float) -> dict[str, Any]:
    def figures(**changed: float) -> dict[str, float]:
        return dict.fromkeys(SHOWN, 1.0) | changed

    return {FORGET: figures(similarity=similarity), RETAIN: figures(psnr=psnr, frechet=frechet)}


def rows(**baselines: dict[str, Any]) -> list[Row]:
    """The original, the paper's method (similarity 0.9 to 0.4, PSNR 20 dB, Fréchet 10), and baselines like that one."""
    given = {
        trial.label: baselines.get(trial.strategy.replace("-", "_"), result(0.4, 19.0, 12.0)) for trial in BASELINES
    }
    found = {ORIGINAL: result(0.9, 20.5, 9.0), PAPER.label: result(0.4, 20.0, 10.0), **given}
    return [Row(label, [each]) for label, each in found.items()]


def test_the_interval_is_students() -> None:
    mean = mean_of([1.0, 2.0, 3.0])
    assert mean.value == pytest.approx(2.0)
    assert mean.half == pytest.approx(2.919986 / 3**0.5)


def test_one_seed_has_no_interval_and_a_missing_figure_no_mean() -> None:
    assert mean_of([4.0]) == Mean(4.0, None)
    assert mean_of([4.0, None]) == Mean(None, None)


def test_the_order_holds_where_the_baseline_loses_more_on_retain() -> None:
    assert all("order holds" in line for line in order(rows()))


def test_a_baseline_that_barely_forgets_is_not_compared() -> None:
    line = order(rows(max_loss=result(0.85, 20.4, 9.1)))[0]
    assert line.startswith("Max Loss does not forget as well")


def test_a_baseline_that_keeps_retain_closer_is_told() -> None:
    assert "does not hold" in order(rows(noisy_label=result(0.3, 20.4, 9.1)))[1]
    assert "mixed" in order(rows(noisy_label=result(0.3, 20.4, 12.0)))[1]


def test_nothing_is_compared_where_the_papers_method_does_not_forget() -> None:
    barely = [Row(row.label, [result(0.88, 20.0, 10.0)]) if row.label == PAPER.label else row for row in rows()]
    assert order(barely) == ["Encoder Alignment itself hardly forgets: similarity on forget falls by 0.020"]


def test_cells_show_mean_interval_and_unit() -> None:
    assert cell(Mean(0.91234, 0.02), 100.0, 1, " %") == "91.2 ± 2.0 %"
    assert cell(Mean(3.0), 1.0, 0) == "3"
    assert cell(Mean(None), 1.0, 0) == "–"


def test_a_table_is_markdown() -> None:
    assert markdown(["", "a"], [["x", "1"]]).splitlines() == ["|  | a |", "| --- | --: |", "| x | 1 |"]


def test_the_table_has_every_row_of_the_issue() -> None:
    assert [trial.strategy for trial in ROWS] == [
        "max-loss",
        "noisy-label",
        "retain-label",
        "random-encoder",
        *["encoder-alignment"] * 3,
        "epsilon-constrained",
        "distribution-matching",
        "output-alignment",
    ]
    assert {trial.retain for trial in ROWS} == {"dataset", "proxy", "none"}


def test_ablations_vary_one_setting_each() -> None:
    found = {
        ablation.name: ablation.trials for ablation in ablations((0.2, 1.0), (1.0, 0.1), ("inpaint", "random-mask"))
    }
    assert list(found) == ["α", "share of retain data", "mask ratio", "task"]
    assert [trial.params for trial in found["α"]] == [{"alpha": 0.2}, {"alpha": 1.0}]
    assert [trial.share for trial in found["share of retain data"]] == [1.0, 0.1]
    assert [trial.label for trial in found["task"]] == ["inpaint", "random-mask"]


def test_ablations_of_tasks_need_a_family_that_learns_from_random_masks() -> None:
    found = ablations((0.2,), (1.0,), ("inpaint", "outpaint"))
    assert [ablation.name for ablation in found] == ["α", "share of retain data"]
