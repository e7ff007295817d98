"""Conformance of a data source.

Inherit `DataSourceConformance`, give the fixture ``source`` and a selector, and pytest runs every test below::

    class TestMySource(DataSourceConformance):
        selector = Compare("subject", Operator.EQUALS, ("s17",))

        @pytest.fixture
        def source(self, tmp_path):         # over a few real files; `FolderTree` makes a tree of a plain folder
            ...
            return MySource(MyParams(), FolderTree(tmp_path))
"""
# ruff: noqa: D102 - the name of a test is its sentence

from __future__ import annotations

import pytest

from compliance_unlearn.api import (
    All,
    AnyOf,
    Compare,
    DataError,
    DataSource,
    Ids,
    Not,
    Operator,
    Record,
    Selector,
    columns_of,
)


class DataSourceConformance:
    """What planning relies on in every data source.

    Attributes:
        selector: matches some records of the source and not all; if a column that it looks at has missing values, all
            the better.
    """

    selector: Selector

    @pytest.fixture
    def source(self) -> DataSource:
        """A source over at least three records, all of them images that can be read."""
        raise NotImplementedError

    def test_ids_are_unique_and_sorted(self, source: DataSource) -> None:
        ids = [record.id for record in source.resolve(None)]
        assert len(ids) >= 3
        assert ids == sorted(set(ids))

    def test_every_record_is_a_file_of_the_pinned_revision(self, source: DataSource) -> None:
        paths = [record.path for record in source.resolve(None)]
        assert len(set(paths)) == len(paths)
        assert set(paths) <= set(source.tree.files())

    def test_a_selector_takes_some_records(self, source: DataSource) -> None:
        assert 0 < len(source.resolve(self.selector)) < len(source.resolve(None))

    def test_a_negation_is_the_exact_complement(self, source: DataSource) -> None:
        chosen, others = source.resolve(self.selector), source.resolve(Not(self.selector))
        assert chosen.ids | others.ids == source.resolve(None).ids
        assert not chosen.ids & others.ids
        assert source.resolve(Not(Not(self.selector))).ids == chosen.ids

    def test_all_and_any_are_intersection_and_union(self, source: DataSource) -> None:
        everything = source.resolve(None)
        half = Ids(frozenset(sorted(everything.ids)[::2]))
        chosen = source.resolve(self.selector).ids
        assert source.resolve(half).ids == half.ids
        assert source.resolve(All((self.selector, half))).ids == chosen & half.ids
        assert source.resolve(AnyOf((self.selector, half))).ids == chosen | half.ids
        assert source.resolve(All(())).ids == everything.ids
        assert not source.resolve(AnyOf(()))

    def test_ids_that_do_not_exist_match_nothing(self, source: DataSource) -> None:
        assert not source.resolve(Ids(frozenset({"no such record"})))

    def test_records_without_a_value_are_counted(self, source: DataSource) -> None:
        missing: Selector = AnyOf(
            tuple(Compare(name, Operator.MISSING, (True,)) for name in sorted(columns_of(self.selector)))
        )
        assert source.missing_values(self.selector) == len(source.resolve(missing))

    def test_an_unknown_column_is_an_error_that_lists_the_known_ones_alone(self, source: DataSource) -> None:
        """Who mixes up column and value has written a subject for a column, so that word stays out of the message."""
        unknown = Compare("no_such_column", Operator.EQUALS, ("x",))
        for ask in (lambda: source.resolve(unknown), lambda: source.missing_values(Not(unknown))):
            with pytest.raises(DataError, match=r"column.* has: .*\bid\b") as caught:
                ask()
            assert "no_such_column" not in str(caught.value)

    def test_resolving_twice_gives_the_same_records(self, source: DataSource) -> None:
        assert list(source.resolve(self.selector)) == list(source.resolve(self.selector))

    def test_open_gives_a_decoded_image(self, source: DataSource) -> None:
        for record in source.resolve(None)[:3]:
            image = source.open(record)
            assert image.width > 0
            assert len(image.tobytes()) > 0

    def test_a_broken_file_is_an_error_that_does_not_name_it(self, source: DataSource) -> None:
        first, second, third = source.resolve(None)[:3]
        (source.tree.root / first.path).unlink()
        content = (source.tree.root / second.path).read_bytes()
        (source.tree.root / second.path).write_bytes(content[: len(content) // 2])
        (source.tree.root / third.path).write_bytes(b"this is text")
        for record in (first, second, third):
            require_nameless_error(source, record)


def require_nameless_error(source: DataSource, record: Record) -> None:
    """Opening must fail without telling whose file it was."""
    with pytest.raises(DataError) as caught:
        source.open(record)
    assert record.path.rpartition("/")[2] not in str(caught.value)
    assert record.id not in str(caught.value)
