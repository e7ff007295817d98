"""Records, selectors, data sources and data trees: which items there are, and how one is read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, final

from compliance_unlearn.api.boundary import plugin_boundary
from compliance_unlearn.api.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

DECODING_NOTES = "compliance-unlearn"
"""Where a data source says, in an image's ``info``, what it lost or changed when it decoded it."""


@dataclass(frozen=True, slots=True, order=True)
class Record:
    """One item of a data set. ``path`` is relative to the data set's folder, with forward slashes."""

    id: str
    path: str
    subject: str | None = None
    label: str | None = None
    split: str | None = None


class RecordSet(Sequence[Record]):
    """Records sorted by id, each id once."""

    def __init__(self, records: Sequence[Record]) -> None:
        """Sort and check.

        Raises:
            DataError: two records share an id.
        """
        self._records = tuple(sorted(records, key=lambda record: record.id))
        self.ids = frozenset(record.id for record in self._records)
        if len(self.ids) != len(self._records):
            raise DataError(
                f"the data set has {len(self._records)} records but {len(self.ids)} different ids; ids must be unique"
            )

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self._records)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]  # Sequence overloads int and slice
        return self._records[index]

    def __and__(self, other: RecordSet) -> RecordSet:
        return RecordSet([record for record in self if record.id in other.ids])

    def __sub__(self, other: RecordSet) -> RecordSet:
        return RecordSet([record for record in self if record.id not in other.ids])


class Operator(StrEnum):
    """Comparisons that a selector may use."""

    EQUALS = "equals"
    NOT_EQUALS = "not_equals"
    IN = "in"
    LESS_THAN = "less_than"
    AT_MOST = "at_most"
    MORE_THAN = "more_than"
    AT_LEAST = "at_least"
    MISSING = "missing"


Scalar = str | int | float | bool


@dataclass(frozen=True)
class Compare:
    """A column compared with a value; a missing value compares false with everything, also under NOT_EQUALS.

    ``values`` holds one value, several for ``IN``, and one boolean for ``MISSING``.
    """

    column: str
    operator: Operator
    values: tuple[Scalar, ...]


@dataclass(frozen=True)
class Ids:
    """The record's id is one of these."""

    ids: frozenset[str]


@dataclass(frozen=True)
class All:
    """Every part holds."""

    parts: tuple[Selector, ...]


@dataclass(frozen=True)
class AnyOf:
    """At least one part holds."""

    parts: tuple[Selector, ...]


@dataclass(frozen=True)
class Not:
    """The part does not hold. Two-valued: a record whose value is missing is selected, never dropped."""

    part: Selector


Selector = Compare | Ids | All | AnyOf | Not
"""What a policy selects: data, never code. Logic is two-valued, so ``Not(x)`` is the exact complement of ``x``."""


def columns_of(selector: Selector) -> frozenset[str]:
    """Names of all columns that the selector looks at."""
    if isinstance(selector, Compare):
        return frozenset({selector.column})
    if isinstance(selector, Ids):
        return frozenset({"id"})
    parts = (selector.part,) if isinstance(selector, Not) else selector.parts
    return frozenset().union(*(columns_of(part) for part in parts))


def texts_of(selector: Selector) -> frozenset[str]:
    """All texts that the selector compares with: they may name a subject."""
    if isinstance(selector, Compare):
        return frozenset(value for value in selector.values if isinstance(value, str))
    if isinstance(selector, Ids):
        return selector.ids
    parts = (selector.part,) if isinstance(selector, Not) else selector.parts
    return frozenset().union(*(texts_of(part) for part in parts))


@dataclass(frozen=True)
class Pin:
    """The exact state of a data set: full git revision, and the digest of its folder (DVC's ``<md5>.dir``)."""

    dataset: str
    revision: str
    digest: str


class DataTree(ABC):
    """The files of one data set as they were at one revision, and where they should lie now."""

    def __init__(self, pin: Pin, root: Path) -> None:
        self.pin = pin
        self.root = root

    @abstractmethod
    def files(self) -> Mapping[str, str]:
        """Relative path -> digest of every file at the pinned revision."""

    @abstractmethod
    def read(self, path: str) -> bytes:
        """Bytes of a file at the pinned revision, whatever the working copy holds.

        Raises:
            DataError: the file is not part of the revision or cannot be fetched.
        """

    @abstractmethod
    def verify(self, paths: Sequence[str], progress: Callable[[int], None] | None = None) -> None:
        """Hash the working copy of ``paths`` and compare with the pinned digests.

        Args:
            paths: relative to the root.
            progress: called with the number of files done since the last call.

        Raises:
            DataError: says how many are missing or changed, and names none.
        """


class DataSource(ABC):
    """Reads the records of one data set. Made for one ``DataTree``, by a factory ``(params, tree) -> DataSource``."""

    def __init__(self, tree: DataTree) -> None:
        self.tree = tree

    @final
    def resolve(self, selector: Selector | None) -> RecordSet:
        """The records that the selector matches, all for ``None``.

        Raises:
            DataError: a column does not exist, values do not fit its type, or the manifest cannot be read.
        """
        with plugin_boundary(type(self).__name__, "resolve", DataError):
            return self._resolve(selector)

    @final
    def missing_values(self, selector: Selector) -> int:
        """How many records lack a value in a column that the selector looks at; they deserve a warning."""
        with plugin_boundary(type(self).__name__, "missing_values", DataError):
            return self._missing_values(selector)

    @final
    def open(self, record: Record) -> Image:
        """Decode one image from the working copy.

        Returns:
            The image. Its ``info[DECODING_NOTES]``, if there is one, is a list of texts on what was lost or changed,
            such as "turned upright"; evidence counts them.

        Raises:
            DataError: the file is missing, truncated or not an image; the message does not name it.
        """
        with plugin_boundary(type(self).__name__, "open", DataError):
            return self._open(record)

    @abstractmethod
    def _resolve(self, selector: Selector | None) -> RecordSet: ...

    @abstractmethod
    def _missing_values(self, selector: Selector) -> int: ...

    @abstractmethod
    def _open(self, record: Record) -> Image: ...
