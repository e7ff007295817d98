"""Selectors are data with one meaning; what has none is refused at its place."""

from pathlib import Path
from typing import Any

import pytest

from compliance_unlearn.api import All, AnyOf, Compare, Ids, Not, Operator, PolicyError, Selector
from compliance_unlearn.policy import describe, parse_selector, selector_data

EQUALS = Operator.EQUALS


@pytest.mark.parametrize(
    ("raw", "selector"),
    [
        ({"subject": "s17"}, Compare("subject", EQUALS, ("s17",))),
        ({"a": 1, "b": True}, All((Compare("a", EQUALS, (1,)), Compare("b", EQUALS, (True,))))),
        ({"a": {"in": ["x", "y"]}}, Compare("a", Operator.IN, ("x", "y"))),
        (
            {"age": {"at_least": 3, "less_than": 9}},
            All((Compare("age", Operator.AT_LEAST, (3,)), Compare("age", Operator.LESS_THAN, (9,)))),
        ),
        ({"a": {"missing": True}}, Compare("a", Operator.MISSING, (True,))),
        ({"not": {"a": 1}}, Not(Compare("a", EQUALS, (1,)))),
        ({"any": [{"a": 1}, {"b": 2}]}, AnyOf((Compare("a", EQUALS, (1,)), Compare("b", EQUALS, (2,))))),
        ({"all": [{"a": 1}]}, All((Compare("a", EQUALS, (1,)),))),
    ],
)
def test_the_yaml_form_means(tmp_path: Path, raw: dict[str, Any], selector: Selector) -> None:
    assert parse_selector(raw, tmp_path) == selector


@pytest.mark.parametrize("operator", list(Operator))
def test_every_operator_of_the_api_can_be_written(tmp_path: Path, operator: Operator) -> None:
    operand: Any = {Operator.IN: [1], Operator.MISSING: True}.get(operator, 1)
    selector = parse_selector({"column": {operator.value: operand}}, tmp_path)
    assert isinstance(selector, Compare)
    assert selector.operator is operator


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        ({}, "must not be empty: it would select everything"),
        ([], "must be a mapping"),
        ({"a": None}, "a column has no value; to select records without one, write {missing: true}"),
        ({"a": {"in": ["x", None]}}, "a column has no value"),
        ({"a": {"at_leats": 3}}, "unknown operator; did you mean `at_least`?.*equals, not_equals, in"),
        ({"a": {}}, "a column needs a value or a comparison"),
        ({"a": [1]}, "a value must be text, a number"),
        ({"a": {"in": []}}, "`in` must be a list of values"),
        ({"a": {"in": "x"}}, "`in` must be a list of values"),
        ({"a": {"missing": "yes"}}, "`missing` must be true or false"),
        ({"any": []}, "`any` must be a list"),
        ({"any": [{"a": 1}, {}]}, "must not be empty: it would select everything"),
        ({"not": {}}, "must not be empty"),
        ({"ids_file": 3}, "`ids_file` must be the path"),
    ],
)
def test_what_has_no_meaning_is_refused_at_its_place(tmp_path: Path, raw: object, problem: str) -> None:
    with pytest.raises(PolicyError, match=problem):
        parse_selector(raw, tmp_path)


def test_a_file_of_ids_holds_one_a_line(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("# erased in May\nr1\n\n  r2  \nr1\n")
    assert parse_selector({"ids_file": "ids.txt"}, tmp_path) == Ids(frozenset({"r1", "r2"}))


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("empty.txt", "holds no id"),
        ("absent.txt", "cannot be read: No such file"),
        ("../outside.txt", "below the folder"),
        ("/etc/passwd", "below the folder"),
        ("link.txt", "below the folder"),
        ("binary.txt", "not UTF-8"),
    ],
)
def test_a_file_of_ids_must_be_readable_below_the_policy(tmp_path: Path, name: str, problem: str) -> None:
    folder = tmp_path / "policies"
    folder.mkdir()
    (tmp_path / "outside.txt").write_text("r1\n")
    (folder / "empty.txt").write_text("# nobody\n\n")
    (folder / "link.txt").symlink_to(tmp_path / "outside.txt")
    (folder / "binary.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(PolicyError, match=f"`ids_file` .*{problem}"):
        parse_selector({"ids_file": name}, folder)


def test_order_and_shorthand_do_not_change_what_is_hashed(tmp_path: Path) -> None:
    one = parse_selector({"a": {"in": [2, 1]}, "b": "x"}, tmp_path)
    other = parse_selector({"b": {"equals": "x"}, "a": {"in": [1, 2]}}, tmp_path)
    assert selector_data(one) == selector_data(other)
    assert selector_data(one) != selector_data(parse_selector({"a": {"in": [2, 1]}, "b": "y"}, tmp_path))


def test_a_description_names_columns_and_never_values(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("secret-1\n")
    raw = {"any": [{"subject": "secret-2"}, {"not": {"age": {"in": ["secret-3"]}}}, {"ids_file": "ids.txt"}]}
    words = describe(parse_selector(raw, tmp_path))
    assert "`subject`" in words
    assert "`age`" in words
    assert "secret" not in words
