"""Selectors mean what two-valued logic says, whatever is missing and whatever type a column has."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import date
from typing import Any

import pyarrow as pa
import pytest
from cu_standard.sources.expression import any_missing, expression

from compliance_unlearn.api import All, AnyOf, Compare, DataError, Not, Operator, Scalar, Selector, columns_of

Row = Mapping[str, Any]
ROWS: list[Row] = [
    {"id": str(index), "subject": subject, "age": age, "score": score, "born": born, "shown": shown}
    for index, (subject, age, score, born, shown) in enumerate(
        [
            ("s1", 10, 0.1, date(2000, 1, 1), True),
            ("s2", None, 0.5, date(2010, 5, 5), False),
            (None, 30, None, None, None),
            ("17", 17, float("nan"), date(2020, 1, 1), True),
            ("s1", 99, -1.0, None, False),
            ("", 0, 0.0, date(1990, 12, 31), None),
        ]
    )
]
SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "subject": pa.string(),
        "age": pa.int32(),
        "score": pa.float32(),
        "born": pa.date32(),
        "shown": pa.bool_(),
    }
)
TABLE = pa.Table.from_pylist(ROWS, SCHEMA)


def select(selector: Selector) -> set[str]:
    return set(TABLE.filter(expression(selector, SCHEMA))["id"].to_pylist())


def compare(column: str, operator: Operator, *values: Scalar) -> Compare:
    return Compare(column, operator, values)


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        (compare("subject", Operator.EQUALS, "s1"), "04"),
        (compare("subject", Operator.EQUALS, 17), "3"),
        (compare("subject", Operator.NOT_EQUALS, "s1"), "135"),
        (Not(compare("subject", Operator.EQUALS, "s1")), "1235"),
        (Not(compare("subject", Operator.NOT_EQUALS, "s1")), "024"),
        (compare("subject", Operator.IN, "s1", "s2", "nobody"), "014"),
        (Not(compare("subject", Operator.IN, "s1", "s2")), "235"),
        (compare("subject", Operator.MISSING, True), "2"),
        (compare("subject", Operator.MISSING, False), "01345"),
        (compare("score", Operator.MISSING, True), "23"),
        (compare("score", Operator.NOT_EQUALS, 0.5), "045"),
        (compare("score", Operator.EQUALS, 0.1), "0"),
        (compare("score", Operator.AT_MOST, 0), "45"),
        (compare("age", Operator.LESS_THAN, "17"), "05"),
        (compare("age", Operator.AT_LEAST, 17), "234"),
        (Not(compare("age", Operator.AT_LEAST, 17)), "015"),
        (compare("age", Operator.IN, 10, "99"), "04"),
        (compare("born", Operator.MORE_THAN, "2000-01-01"), "13"),
        (Not(compare("born", Operator.MORE_THAN, "2000-01-01")), "0245"),
        (compare("shown", Operator.EQUALS, True), "03"),
        (Not(compare("shown", Operator.EQUALS, True)), "1245"),
    ],
)
def test_a_comparison_selects(selector: Selector, expected: str) -> None:
    assert select(selector) == set(expected)


@pytest.mark.parametrize(
    "selector",
    [
        compare("age", Operator.EQUALS, "secret"),
        compare("age", Operator.EQUALS, 1.5),
        compare("age", Operator.EQUALS, 2**40),
        compare("age", Operator.EQUALS, True),
        compare("age", Operator.IN, 1, "secret"),
        compare("born", Operator.LESS_THAN, "secret"),
        compare("subject", Operator.LESS_THAN, 5),
        compare("subject", Operator.EQUALS, True),
        compare("shown", Operator.EQUALS, 1),
        compare("score", Operator.EQUALS, float("nan")),
    ],
)
def test_a_value_that_does_not_fit_its_column_is_an_error_that_keeps_the_value(selector: Compare) -> None:
    with pytest.raises(DataError, match=rf"column '{selector.column}' holds \w+") as caught:
        select(Not(selector))
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_an_unknown_column_is_an_error_that_lists_the_others_and_keeps_what_was_written() -> None:
    known = "a column that the data set does not have; it has: age, born, id, score, shown, subject"
    with pytest.raises(DataError, match=known) as caught:
        select(All((compare("subject", Operator.EQUALS, "s1"), Not(compare("secret", Operator.MISSING, True)))))
    assert "secret" not in str(caught.value)


def test_random_selectors_agree_with_plain_python() -> None:
    source = random.Random(0)
    for _ in range(300):
        selector = random_selector(source, depth=3)
        assert select(selector) == {row["id"] for row in ROWS if holds(selector, row)}
        assert select(Not(selector)) == {row["id"] for row in ROWS if not holds(selector, row)}
        lacking = {row["id"] for row in ROWS if any(missing(row[name]) for name in columns_of(selector))}
        assert set(TABLE.filter(any_missing(selector, SCHEMA))["id"].to_pylist()) == lacking


def random_selector(source: random.Random, depth: int) -> Selector:
    kind = source.choice(["compare", "all", "any", "not"]) if depth else "compare"
    if kind == "not":
        return Not(random_selector(source, depth - 1))
    if kind != "compare":
        parts = tuple(random_selector(source, depth - 1) for _ in range(source.randint(0, 3)))
        return All(parts) if kind == "all" else AnyOf(parts)
    operator = source.choice(list(Operator))
    if operator is Operator.MISSING:
        return compare(source.choice(SCHEMA.names), operator, source.random() < 0.5)
    values = tuple(source.sample([0, 10, 17, 30, 99, -5], 3 if operator is Operator.IN else 1))
    return Compare(source.choice(["age", "score"]), operator, values)


def missing(value: Any) -> bool:
    return value is None or value != value


def holds(selector: Selector, row: Row) -> Any:
    if isinstance(selector, Not):
        return not holds(selector.part, row)
    if isinstance(selector, All):
        return all(holds(part, row) for part in selector.parts)
    if isinstance(selector, AnyOf):
        return any(holds(part, row) for part in selector.parts)
    assert isinstance(selector, Compare)
    value, (first, *_) = row[selector.column], selector.values
    if selector.operator is Operator.MISSING:
        return missing(value) == first
    if missing(value):
        return False
    return {
        Operator.EQUALS: value == first,
        Operator.NOT_EQUALS: value != first,
        Operator.IN: value in selector.values,
        Operator.LESS_THAN: value < first,
        Operator.AT_MOST: value <= first,
        Operator.MORE_THAN: value > first,
        Operator.AT_LEAST: value >= first,
    }[selector.operator]
