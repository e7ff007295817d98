"""Records, their algebra, and the columns that a selector looks at."""

from __future__ import annotations

import itertools

import pytest

from compliance_unlearn.api import All, AnyOf, Compare, DataError, Ids, Not, Operator, Record, RecordSet, columns_of


def records(*ids: str) -> RecordSet:
    return RecordSet([Record(id=each, path=f"{each}.png") for each in ids])


def ids(found: RecordSet) -> list[str]:
    return [record.id for record in found]


def test_records_are_sorted_by_id_whatever_their_order() -> None:
    for order in itertools.permutations(["b", "a", "c10", "c9"]):
        assert ids(records(*order)) == ["a", "b", "c10", "c9"]


def test_records_with_and_without_values_can_be_sorted() -> None:
    found = RecordSet([Record("b", "1.png", subject=None), Record("a", "1.png", subject="s"), Record("c", "1.png")])
    assert ids(found) == ["a", "b", "c"]


@pytest.mark.parametrize(
    "twin", [Record("a", "a.png"), Record("a", "other.png"), Record("a", "a.png", subject="s1")], ids=str
)
def test_an_id_that_comes_twice_is_refused_without_being_named(twin: Record) -> None:
    with pytest.raises(DataError, match="3 records but 2 different ids"):
        RecordSet([Record("a", "a.png"), twin, Record("b", "b.png")])


def test_sets_of_records_obey_the_algebra_of_their_ids() -> None:
    everything = ["a", "b", "c", "d"]
    subsets = [set(each) for size in range(5) for each in itertools.combinations(everything, size)]
    for one, other in itertools.product(subsets, repeat=2):
        assert ids(records(*one) & records(*other)) == sorted(one & other)
        assert ids(records(*one) - records(*other)) == sorted(one - other)


def test_a_set_of_records_is_a_sequence() -> None:
    found = records("b", "a")
    assert (len(found), found[0].id, [record.id for record in found[1:]]) == (2, "a", ["b"])
    assert found.ids == {"a", "b"}
    assert not records()


def test_columns_of_a_selector_are_those_of_all_its_parts() -> None:
    age = Compare("age", Operator.LESS_THAN, (30,))
    label = Compare("label", Operator.IN, ("cat", "dog"))
    selector = All((Not(AnyOf((age, Ids(frozenset({"x"}))))), label, Compare("age", Operator.MISSING, (True,))))
    assert columns_of(selector) == {"age", "label", "id"}
    assert columns_of(All(())) == columns_of(Not(AnyOf(()))) == frozenset()
