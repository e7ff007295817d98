"""The source ``manifest``: records are rows of a Parquet or CSV file that is part of the data set."""

from __future__ import annotations

from typing import Any

from compliance_unlearn.api import DataError, DataTree
from cu_standard.sources.params import ManifestParams
from cu_standard.sources.table import TableSource


class ManifestSource(TableSource):
    """Reads the manifest as it was at the pinned revision, whatever the working copy holds."""

    def __init__(self, params: ManifestParams, tree: DataTree) -> None:
        super().__init__(tree)
        self._params = params

    def _read(self) -> Any:
        content = self.tree.read(self._params.manifest)
        table = _read_csv(content, self._params) if self._params.manifest.endswith(".csv") else _read_parquet(content)
        return _standard_columns(table, self._params)


def _read_csv(content: bytes, params: ManifestParams) -> Any:
    """CSV with a header. Names stay text (subject 007 is not 7), and only an empty field is a missing value."""
    import pyarrow as pa
    from pyarrow import csv

    options = csv.ConvertOptions(
        column_types=dict.fromkeys(params.columns().values(), pa.string()),
        null_values=[""],
        strings_can_be_null=True,
    )
    try:
        return csv.read_csv(pa.BufferReader(content), convert_options=options)
    except (pa.ArrowException, ValueError):
        # The cause would show a row.
        raise DataError(f"{params.manifest} is not CSV in UTF-8 with a header and rows of one length") from None


def _read_parquet(content: bytes) -> Any:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        return _plain(parquet.read_table(pa.BufferReader(content)))
    except (pa.ArrowException, OSError, ValueError):
        raise DataError("the manifest cannot be read: truncated, or not a Parquet file") from None


def _plain(table: Any) -> Any:
    """Decode dictionary columns (pandas' categories), which filters cannot compare with values."""
    import pyarrow as pa

    fields = [
        field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field
        for field in table.schema
    ]
    return table.cast(pa.schema(fields))


def _standard_columns(table: Any, params: ManifestParams) -> Any:
    """Add the columns that policies know, as text; the manifest's own columns stay.

    Raises:
        DataError: no path, a name twice, a column that cannot be text, or two columns that claim the same name.
    """
    import pyarrow as pa

    names = table.column_names
    if len(set(names)) != len(names):
        raise DataError(f"{params.manifest} has two columns of the same name")
    _require_column(params.path_column, names, params)
    columns = {name: table.column(name) for name in names}
    for name, own in params.columns().items():
        if own != name and name in names:
            raise DataError(f"{params.manifest} has a column {name!r}, but the workspace says that it is {own!r}")
        if own != name:
            _require_column(own, names, params)
        if own in names:
            columns[name] = _as_text(columns[own], own)
    columns.setdefault("id", columns["path"])
    return pa.table(columns)


def _require_column(name: str, names: list[str], params: ManifestParams) -> None:
    """Refuse a manifest without a column. What it has instead may be its first record, so that is not repeated."""
    if name not in names:
        raise DataError(
            f"{params.manifest} has no column {name!r} among its {len(names)}; the first line of a CSV file must be a "
            "header that names the columns"
        )


def _as_text(column: Any, name: str) -> Any:
    import pyarrow as pa

    try:
        return column.cast(pa.string())
    except pa.ArrowException:
        raise DataError(f"column {name!r} of the manifest holds {column.type}, which cannot become text") from None
