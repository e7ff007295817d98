"""A policy says all that is wrong with it, each thing with its line, column and key."""

from datetime import date
from pathlib import Path

import pytest

from compliance_unlearn.api import Compare, Ids, Operator, PolicyError
from compliance_unlearn.policy import LoadedPolicy, Policy
from tests.unit.policy.examples import policy_file

WHERE = "where: {subject: s17}"


def test_a_short_policy_is_enough(tmp_path: Path) -> None:
    loaded = Policy.load(policy_file(tmp_path))
    assert loaded.policy.request.id == "gdpr-req-123"
    assert loaded.policy.models == "affected"
    assert loaded.policy.retain.use == "dataset"
    assert loaded.policy.strategy.use == "echo-alignment"
    assert loaded.forget_selector == Compare("subject", Operator.EQUALS, ("s17",))
    assert loaded.retain_selector is None


@pytest.mark.parametrize(
    ("received", "due"),
    [("2026-11-02", date(2026, 12, 2)), ("2026-01-31", date(2026, 2, 28)), ("2027-12-31", date(2028, 1, 31))],
)
def test_a_request_is_due_one_month_after_it_was_received(tmp_path: Path, received: str, due: date) -> None:
    loaded = LoadedPolicy.load(policy_file(tmp_path, ("2026-11-02", received)))
    assert loaded.policy.request.due == due


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("version: 1", "version: 2", "1:10: version: must be 1"),
        ("received: 2026-11-02", "received: 2026-02-30", "5:13: request.received: there is no such day"),
        ("received: 2026-11-02", "received: 0", "5:13: request.received: must be a date"),
        ("received: 2026-11-02", "received: soon", "5:13: request.received: must be a date"),
        ("  received:", "  recieved:", "5:3: request.recieved: unknown key; did you mean `received`?"),
        ("  received: 2026-11-02\n", "", "3:3: request.received: this key is missing"),
        ("gdpr-req-123", "../etc", "3:7: request.id: must be at most 64 letters"),
        ("gdpr-req-123", "[a]", "3:7: request.id: must be text"),
        ("dataset: faces", "dataset: [faces]", "7:12: forget.dataset: must be text"),
        (WHERE, "where: s17", "8:10: forget.where: must be a mapping"),
        (WHERE, "where: {}", "8:10: forget.where: must not be empty"),
        (WHERE, "where: {subject: {is: s17}}", "8:25: forget.where: unknown operator; known: at_least, "),
        (WHERE, "where: {ids_file: no.txt}", "8:21: forget.where: the `ids_file` cannot be read"),
        ("models: affected", "models: all", "9:9: models: must be `affected` or a list"),
        ("models: affected", "models: []", "9:9: models: must be `affected` or a list"),
        ("models: affected", "models: [a, 3]", "9:9: models: must be `affected` or a list"),
        ("models: affected", "models: [ok, Not Ok]", "9:14: models[1]: must be lower-case letters"),
        ("models: affected", "models: [a, a]", "9:9: models: a model is named twice"),
        ("models: affected", "modles: affected", "9:1: modles: unknown key; did you mean `models`?"),
        ("strategy: echo-alignment", "strategy: 3", "10:11: strategy: must be a mapping"),
        (
            "strategy: echo-alignment",
            "strategy: {use: echo-alignment, loop: {step: 3}}",
            "10:40: strategy.loop.step: unknown key; did you mean `steps`?",
        ),
        (
            "strategy: echo-alignment",
            "strategy: {use: echo-alignment, loop: {steps: many}}",
            "10:47: strategy.loop.steps: must be a valid integer",
        ),
        ("accept:\n  echo-drift: {at_most: 0.5}", "accept: {}", "11:9: accept: "),
        ("{at_most: 0.5}", "0.5", "12:15: accept.echo-drift: must be a mapping"),
        ("models: affected", "models: affected\nretain: {use: proxy}", "10:9: retain: `use: proxy` needs"),
        ("models: affected", "models: affected\nretain: {dataset: x}", "10:19: retain.dataset: only `use: proxy`"),
        ("models: affected", "models: affected\nretain: {use: no}", "10:15: retain.use: must be 'dataset', 'proxy'"),
    ],
)
def test_an_error_names_its_line_column_and_key(tmp_path: Path, old: str, new: str, line: str) -> None:
    with pytest.raises(PolicyError) as caught:
        LoadedPolicy.load(policy_file(tmp_path, (old, new)))
    assert f"request.yaml:{line}" in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new"),
    [("affected", "[ok, Not Ok]"), ("affected", "3"), ("{subject: s17}", "{}"), ("echo-alignment", "{use: 3}")],
)
def test_one_mistake_is_told_once(tmp_path: Path, old: str, new: str) -> None:
    with pytest.raises(PolicyError) as caught:
        LoadedPolicy.load(policy_file(tmp_path, (old, new)))
    assert len(str(caught.value).splitlines()) == 1


def test_all_errors_are_told_at_once(tmp_path: Path) -> None:
    path = policy_file(
        tmp_path, ("2026-11-02", "2026-13-01"), ("models: affected", "models: 1"), ("version: 1", "v: 1")
    )
    with pytest.raises(PolicyError) as caught:
        LoadedPolicy.load(path)
    places = [line.split(":")[1] for line in str(caught.value).splitlines()]
    assert sorted(places) == ["1", "1", "5", "9"]


@pytest.mark.parametrize(
    ("selector", "place", "problem"),
    [
        ("{s17}", "8:14", "a column has no value"),
        ("{subject: {s17: true}}", "8:26", "unknown operator"),
        ("{subject: {s17: {equals: 1}}}", "8:26", "unknown operator"),
        ("{any: [{subject: x}, {s17: {}}]}", "8:37", "a column needs a value"),
        ("{not: {s17: [1]}}", "8:22", "a value must be text"),
        ("{subject: {equals: 1, in: [{s17: 1}]}}", "8:37", "a value must be text"),
        ("{ids_file: s17/ids.txt}", "8:21", "cannot be read"),
        ("{s17: 1, s17: 2}", "8:19", "a key inside this selector stands there twice"),
        ("{subject: {s17: 1, s17: 2}}", "8:29", "a key inside this selector stands there twice"),
    ],
)
@pytest.mark.parametrize("part", ["forget", "retain"])
def test_an_error_in_a_selector_names_its_place_and_no_word_of_it(
    tmp_path: Path, selector: str, place: str, problem: str, part: str
) -> None:
    before = "" if part == "forget" else "where: {subject: s01}\nretain:\n  "
    path = policy_file(tmp_path, (WHERE, f"{before}where: {selector}"))
    with pytest.raises(PolicyError) as caught:
        LoadedPolicy.load(path)
    [line] = str(caught.value).splitlines()
    assert f":{place if part == 'forget' else place.replace('8:', '10:')}: {part}.where: " in line
    assert problem in line
    assert "s17" not in line


@pytest.mark.parametrize("selector", ["{subject: !s17!x 1}", "{subject: *s17}", "{subject: &s17 1}", "{1: s17}"])
def test_yaml_that_is_refused_is_not_quoted(tmp_path: Path, selector: str) -> None:
    with pytest.raises(PolicyError, match=":8:") as caught:
        LoadedPolicy.load(policy_file(tmp_path, ("{subject: s17}", selector)))
    assert "s17" not in str(caught.value)


def test_an_error_never_quotes_the_subject(tmp_path: Path) -> None:
    path = policy_file(tmp_path, ("{subject: s17}", "{subject: {equals: [s17]}}"), ("version: 1", "version: s17"))
    with pytest.raises(PolicyError) as caught:
        LoadedPolicy.load(path)
    assert "s17" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_ids_come_from_a_file_next_to_the_policy(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("r1\n")
    loaded = LoadedPolicy.load(policy_file(tmp_path, ("{subject: s17}", "{ids_file: ids.txt}")))
    assert loaded.forget_selector == Ids(frozenset({"r1"}))
