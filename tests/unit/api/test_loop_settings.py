"""Settings that cannot be meant are refused when they are read."""

from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from compliance_unlearn.api import Inpaint, LoopSettings


@pytest.mark.parametrize("field", ["seconds", "learning_rate", "weight_decay", "clip"])
@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_numbers_are_finite(field: str, number: float) -> None:
    with pytest.raises(ValidationError):
        LoopSettings.model_validate({field: number})


@pytest.mark.parametrize(
    "wrong",
    [{"steps": -1}, {"batch": 0}, {"learning_rate": 0.0}, {"precision": "fp8"}, {"lr": 1e-3}, {"seed": -1}],
    ids=str,
)
def test_settings_without_meaning_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        LoopSettings.model_validate(wrong)


@pytest.mark.parametrize("area", [0.0, 1.0, math.nan])
def test_a_task_hides_something_and_shows_something(area: float) -> None:
    with pytest.raises(ValidationError):
        Inpaint(area=area)
