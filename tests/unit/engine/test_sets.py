"""The four sets: disjoint, complete, and never without something to retain."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cu_audit.records import FORGET, FORGET_HELD_OUT, RETAIN, RETAIN_HELD_OUT, SETS

from compliance_unlearn.api import All, AnyOf, Compare, DataError, Ids, Not, Operator, Selector
from compliance_unlearn.engine.sets import OpenDataset, keyed_digests, split_sets
from tests.unit.engine.small import folder_of_pictures, write_picture

KEY = b"k" * 32
EVERYTHING: Selector = All(())
TRAINED = Compare("split", Operator.EQUALS, ("train",))
S1 = Compare("subject", Operator.EQUALS, ("s1",))


@pytest.fixture
def dataset(tmp_path: Path) -> OpenDataset:
    source = folder_of_pictures(tmp_path, {"train/s1": 3, "test/s1": 2, "train/s2": 4, "test/s2": 1})
    return OpenDataset(source.tree, source)


@pytest.mark.parametrize(
    "forget",
    [S1, Ids(frozenset({"train/s1-0000", "test/s2-0000"})), Not(S1), AnyOf((S1, Ids(frozenset({"train/s2-0001"}))))],
    ids=["subject", "ids", "negation", "either"],
)
def test_the_sets_share_nothing_and_leave_nothing_out(dataset: OpenDataset, forget: Selector) -> None:
    sets = split_sets(dataset, forget, TRAINED)
    assert tuple(sets) == SETS
    ids = [record.id for records in sets.values() for record in records]
    assert sorted(ids) == [record.id for record in dataset.source.resolve(None)]
    assert all(record.split == "train" for name in (FORGET, RETAIN) for record in sets[name])
    assert all(record.split == "test" for name in (FORGET_HELD_OUT, RETAIN_HELD_OUT) for record in sets[name])


def test_each_set_holds_what_its_name_says(dataset: OpenDataset) -> None:
    sizes = {name: len(records) for name, records in split_sets(dataset, S1, TRAINED).items()}
    assert sizes == {FORGET: 3, FORGET_HELD_OUT: 2, RETAIN: 4, RETAIN_HELD_OUT: 1}


@pytest.mark.parametrize("forget", [EVERYTHING, TRAINED], ids=["everything", "all that was trained on"])
def test_a_policy_that_leaves_nothing_to_retain_is_refused(dataset: OpenDataset, forget: Selector) -> None:
    with pytest.raises(DataError, match="nothing would be retained"):
        split_sets(dataset, forget, TRAINED)


def test_a_model_that_was_never_trained_on_the_subject_has_nothing_to_forget(dataset: OpenDataset) -> None:
    sets = split_sets(dataset, S1, Ids(frozenset({"train/s2-0000"})))
    assert len(sets[FORGET]) == 0
    assert len(sets[FORGET_HELD_OUT]) == 5


def test_keyed_digests_change_with_the_records_the_files_and_the_key(dataset: OpenDataset, tmp_path: Path) -> None:
    sets = split_sets(dataset, S1, TRAINED)
    before = keyed_digests(dataset, sets, KEY)
    assert before == keyed_digests(dataset, sets, KEY)
    assert len(set(before.values())) == 4
    assert keyed_digests(dataset, {FORGET: sets[RETAIN]}, KEY)[FORGET] == before[RETAIN]
    assert keyed_digests(dataset, sets, b"other")[FORGET] != before[FORGET]
    picture = tmp_path / "train" / "s1-0000.png"
    write_picture(picture, np.zeros((8, 8), dtype=np.uint8))
    after = keyed_digests(dataset, sets, KEY)
    assert {name for name in SETS if after[name] != before[name]} == {FORGET}


def test_keyed_digests_name_no_record(dataset: OpenDataset) -> None:
    digests = keyed_digests(dataset, split_sets(dataset, S1, TRAINED), KEY)
    assert all(value.startswith("hmac-sha256:") and len(value) == 12 + 64 for value in digests.values())
