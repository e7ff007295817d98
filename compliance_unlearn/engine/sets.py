"""Which records of a model's training data a request touches, and what is kept apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cu_audit.canonical import canonical, keyed
from cu_audit.records import FORGET, FORGET_HELD_OUT, RETAIN, RETAIN_HELD_OUT, Lineage

from compliance_unlearn.api import DataError, DataSource, DataTree, RecordSet, Selector


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
