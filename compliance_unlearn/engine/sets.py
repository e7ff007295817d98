"""Which records of a model's training data a request touches, and what is kept apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cu_audit.canonical import canonical, keyed
from cu_audit.records import FORGET, FORGET_HELD_OUT, RETAIN, RETAIN_HELD_OUT, Lineage

from compliance_unlearn.api import (
    All,
    AnyOf,
    Compare,
    DataError,
    DataSource,
    DataTree,
    Ids,
    Not,
    Operator,
    Record,
    RecordSet,
    Selector,
)

NAMING = ("id", "path", "subject", "label")
"""Columns whose values name records; one that a selector names and no record has is probably a mistake."""


@dataclass(frozen=True)
class OpenDataset:
    """A data set at one revision."""

    tree: DataTree
    source: DataSource

    @property
    def lineage(self) -> Lineage:
        """Its pin as evidence."""
        pin = self.tree.pin
        return Lineage(dataset=pin.dataset, revision=pin.revision, digest=pin.digest)


@dataclass(frozen=True)
class ModelSets:
    """The four disjoint sets of one model, and the records that the optimiser may use as retain data.

    Attributes:
        dataset: what the model was trained on.
        sets: records of each set.
        retain_dataset: where retain data for the optimiser come from, None without retain data.
        retain: those records.
        forgotten_earlier: records that earlier requests made the model forget; they are in no set.
    """

    dataset: OpenDataset
    sets: Mapping[str, RecordSet]
    retain_dataset: OpenDataset | None
    retain: RecordSet
    forgotten_earlier: RecordSet

    @property
    def everything(self) -> list[Record]:
        """All records of the data set."""
        return [record for part in (*self.sets.values(), self.forgotten_earlier) for record in part]

    def look(self) -> None:
        """Verify the files, and decode one picture of each label: a class may have been pinned in a damaged state.

        Raises:
            DataError: says how many are missing or changed, or how many labels cannot be read.
        """
        self.verify_files()
        first = {record.label: record for records in self.sets.values() for record in reversed(records)}
        broken = [error for record in first.values() if (error := _unreadable(self.dataset.source, record))]
        if broken:
            raise DataError(f"the pictures that were opened of {len(broken)} of {len(first)} labels: {broken[0]}")

    def verify_files(self) -> None:
        """Hash every file that will be used and compare with the pin, before anything is changed.

        Raises:
            DataError: some are missing or changed.
        """
        own = {record.path for records in self.sets.values() for record in records}
        retain = {record.path for record in self.retain}
        if self.retain_dataset is self.dataset:
            own |= retain
        elif self.retain_dataset is not None:
            self.retain_dataset.tree.verify(sorted(retain))
        self.dataset.tree.verify(sorted(own))


def split_sets(dataset: OpenDataset, forget: Selector, trained_on: Selector) -> dict[str, RecordSet]:
    """Divide a data set by two questions: is it to be forgotten, and was the model trained on it.

    Raises:
        DataError: the selector matches every record that the model was trained on, so that nothing would be retained.
    """
    everything = dataset.source.resolve(None)
    selected = dataset.source.resolve(forget)
    trained = dataset.source.resolve(trained_on)
    held_out = everything - trained
    sets = {
        FORGET: selected & trained,
        FORGET_HELD_OUT: selected & held_out,
        RETAIN: trained - selected,
        RETAIN_HELD_OUT: held_out - selected,
    }
    if sets[FORGET] and not sets[RETAIN]:
        raise DataError(
            "the policy selects every record that the model was trained on: nothing would be retained. "
            "Withdraw the model instead, or narrow forget.where"
        )
    return sets


def unknown_names(selector: Selector, records: Iterable[Record]) -> dict[str, tuple[int, int]]:
    """How much of what a selector names, also under a negation, is nowhere in a data set.

    Returns:
        Column -> how many of the different values that are named no record has, and how many are named.
    """
    named, records = set(_named(selector)), list(records)
    found = {}
    for column in NAMING:
        asked = {value for name, value in named if name == column}
        unknown = asked - {getattr(record, column) for record in records} if asked else set()
        if unknown:
            found[column] = (len(unknown), len(asked))
    return found


def files_left_out(dataset: OpenDataset, records: Iterable[Record]) -> int:
    """How many files lie in the folders of records and are none; hidden files do not count."""
    paths = {record.path for record in records}
    folders = {path.rpartition("/")[0] for path in paths}
    others = [path.rpartition("/") for path in dataset.tree.files() if path not in paths]
    return sum(folder in folders and not name.startswith(".") for folder, _, name in others)


def without_copies(proxy: OpenDataset, records: RecordSet, dataset: OpenDataset, forget: RecordSet) -> RecordSet:
    """Records of a proxy data set without those whose file is, byte for byte, one that must be forgotten."""
    forgotten = {dataset.tree.files().get(record.path) for record in forget}
    files = proxy.tree.files()
    return RecordSet([record for record in records if files.get(record.path) not in forgotten])


def keyed_digests(dataset: OpenDataset, sets: Mapping[str, RecordSet], key: bytes) -> dict[str, str]:
    """Keyed digest of each set over its sorted ids and pinned file digests."""
    files = dataset.tree.files()
    return {
        name: keyed(key, canonical([[record.id, files.get(record.path, "")] for record in records]))
        for name, records in sets.items()
    }


def _named(selector: Selector) -> Iterable[tuple[str, str]]:
    """Column and value, as text, of everything that a selector names."""
    match selector:
        case Ids():
            yield from (("id", each) for each in selector.ids)
        case Compare(operator=Operator.EQUALS | Operator.NOT_EQUALS | Operator.IN):
            yield from ((selector.column, str(value)) for value in selector.values)
        case Not():
            yield from _named(selector.part)
        case All() | AnyOf():
            for part in selector.parts:
                yield from _named(part)
        case _:
            pass


def _unreadable(source: DataSource, record: Record) -> str:
    """Why a picture cannot be decoded, empty if it can."""
    try:
        source.open(record)
    except DataError as error:
        return str(error)
    return ""
