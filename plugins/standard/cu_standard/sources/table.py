"""What all sources share: the records as a table that selectors filter."""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from itertools import repeat
from typing import TYPE_CHECKING, Any, Final

from compliance_unlearn.api import DataError, DataSource, Record, RecordSet, Selector
from cu_standard.sources.images import decode_image

if TYPE_CHECKING:
    from PIL.Image import Image

COLUMNS: Final = ("id", "path", "subject", "label", "split")
"""The columns that make a `Record`, in the order of its fields."""


class TableSource(DataSource):
    """A data source whose records are rows of a `pyarrow.Table`, read once."""

    @abstractmethod
    def _read(self) -> Any:
        """The table; those of `COLUMNS` that it has are strings, and it always has an id and a path."""

    @cached_property
    def _table(self) -> Any:
        table = self._read()
        _check_paths(table, self.tree.files().keys())
        return table

    def _resolve(self, selector: Selector | None) -> RecordSet:
        table = self._table
        if selector is not None:
            from cu_standard.sources.expression import expression

            table = table.filter(expression(selector, table.schema))
        # Sorted here, the sort of RecordSet is a single pass.
        table = table.select([name for name in COLUMNS if name in table.column_names]).sort_by("id")
        columns = [table[name].to_pylist() if name in table.column_names else repeat(None) for name in COLUMNS]
        return RecordSet([Record(*row) for row in zip(*columns)])  # noqa: B905 - absent columns repeat for ever

    def _missing_values(self, selector: Selector) -> int:
        from cu_standard.sources.expression import any_missing

        table = self._table
        return int(table.filter(any_missing(selector, table.schema)).num_rows)

    def _open(self, record: Record) -> Image:
        return decode_image(self.tree.root / record.path)


def _check_paths(table: Any, files: Any) -> None:
    """Every record must be a file of the pinned revision, and no file two records.

    Raises:
        DataError: says how many are not, and names none.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    for name in ("id", "path"):
        missing = table.column(name).null_count
        if missing:
            raise DataError(f"{missing} of {table.num_rows} records have no {name}")
    paths = table.column("path")
    known = pc.is_in(paths, pa.array(list(files), pa.string()))
    strangers = table.num_rows - (pc.sum(known).as_py() or 0)
    if strangers:
        raise DataError(
            f"{strangers} of {table.num_rows} records have a path that is not a file of the data set's revision; "
            "paths are relative to its folder, with forward slashes"
        )
    different = pc.count_distinct(paths).as_py()
    if different != table.num_rows:
        raise DataError(f"{table.num_rows} records share {different} files; a file may belong to one record only")
