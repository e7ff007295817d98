"""A folder of pictures whose names say everything."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

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
from cu_echo.params import NoParams

if TYPE_CHECKING:
    from PIL.Image import Image


class EchoSource(DataSource):
    """Reads ``<split>/<subject>-<number>.png``; the id is the path without its ending."""

    def __init__(self, params: NoParams, tree: DataTree) -> None:
        super().__init__(tree)
        self.params = params

    def _resolve(self, selector: Selector | None) -> RecordSet:
        records = [_record(PurePosixPath(path)) for path in self.tree.files()]
        return RecordSet([each for each in records if selector is None or _matches(selector, each)])

    def _missing_values(self, selector: Selector) -> int:
        return 0

    def _open(self, record: Record) -> Image:
        from PIL import Image, UnidentifiedImageError

        try:
            with Image.open(self.tree.root / record.path) as picture:
                return picture.convert("L")
        except (OSError, UnidentifiedImageError) as error:
            raise DataError("a file of the data set is missing or not an image") from error


def _record(path: PurePosixPath) -> Record:
    subject = path.stem.rpartition("-")[0]
    return Record(id=str(path.with_suffix("")), path=str(path), subject=subject, label=subject, split=path.parts[0])


def _matches(selector: Selector, record: Record) -> bool:
    match selector:
        case Ids():
            return record.id in selector.ids
        case All():
            return all(_matches(part, record) for part in selector.parts)
        case AnyOf():
            return any(_matches(part, record) for part in selector.parts)
        case Not():
            return not _matches(selector.part, record)
        case Compare(operator=Operator.EQUALS | Operator.IN):
            return _column(record, selector.column) in selector.values
        case Compare():
            raise DataError(f"the echo source cannot compare with {selector.operator.value}")


def _column(record: Record, column: str) -> str | None:
    if column not in ("id", "subject", "label", "split"):
        raise DataError(
            "the selector names a column that the data set does not have; it has: id, subject, label, split"
        )
    value: str | None = getattr(record, column)
    return value
