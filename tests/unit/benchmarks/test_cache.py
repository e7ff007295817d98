"""What was computed once is read the next time, and never for other settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.table.cache import cached, key_of


def test_equal_settings_are_computed_once(tmp_path: Path) -> None:
    calls: list[int] = []

    def compute() -> dict[str, int]:
        calls.append(1)
        return {"value": 7}

    for _ in range(2):
        assert cached(tmp_path, {"alpha": 0.2, "seed": 1}, compute) == {"value": 7}
    assert len(calls) == 1


def test_other_settings_are_another_result(tmp_path: Path) -> None:
    cached(tmp_path, {"seed": 1}, lambda: {"value": 1})
    assert cached(tmp_path, {"seed": 2}, lambda: {"value": 2}) == {"value": 2}


def test_the_key_does_not_depend_on_the_order_of_settings() -> None:
    assert key_of({"a": 1, "b": {"c": 2.5}}) == key_of({"b": {"c": 2.5}, "a": 1})
    assert key_of({"a": 1}) != key_of({"a": 2})


def test_a_result_that_is_no_number_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        cached(tmp_path, {"seed": 1}, lambda: {"value": float("nan")})
    assert not list(tmp_path.glob("*.json"))
