"""Fidelity: plain figures of every set, and none where one does not exist."""

from __future__ import annotations

import pytest
from cu_audit.records import FORGET, RETAIN, SETS
from cu_standard.checks.fidelity import Fidelity
from cu_standard.params import NoParams

from compliance_unlearn.api import Measurement
from tests.unit.standard.planted import Planted, keeps, not_numbers


def measured(world: Planted) -> Measurement:
    return Fidelity(NoParams()).run(world)


def test_every_set_has_figures_before_and_after() -> None:
    measurement = measured(Planted())
    assert not measurement.results
    figures = measurement.metrics["psnr"]
    assert set(figures) == set(SETS)
    assert figures[RETAIN].before == figures[RETAIN].after
    assert figures[RETAIN].before == pytest.approx(34.0, abs=1.0)  # errors of 0.02
    forget = figures[FORGET]
    assert forget.before is not None
    assert forget.after is not None
    assert forget.after < forget.before - 10


def test_a_set_that_is_not_there_has_no_figure() -> None:
    assert set(measured(Planted(held_out=0)).metrics["psnr"]) == {FORGET, RETAIN}


def test_ssim_does_not_exist_where_no_whole_window_was_generated() -> None:
    assert measured(Planted()).metrics["ssim"][RETAIN].before is None  # 8 hidden pixels, a window of 11


def test_figures_of_broken_outputs_do_not_exist() -> None:
    figures = measured(Planted(retain=not_numbers, forget=keeps)).metrics["psnr"]
    assert figures[RETAIN].after is None
    assert figures[FORGET].after is not None
