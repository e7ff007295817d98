"""Selectors as pyarrow expressions, in two-valued logic.

SQL and Arrow answer a comparison with a missing value by "unknown", which a filter drops, also under a negation:
records would silently escape erasure. Here every comparison is made true or false before it is combined.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from operator import and_, or_
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from compliance_unlearn.api import All, AnyOf, Compare, DataError, Ids, Not, Operator, Scalar, Selector, columns_of

_ORDER = {
    Operator.LESS_THAN: pc.less,
    Operator.AT_MOST: pc.less_equal,
    Operator.MORE_THAN: pc.greater,
    Operator.AT_LEAST: pc.greater_equal,
}


def expression(selector: Selector, schema: Any) -> Any:
    """The filter that keeps what the selector matches.

    Args:
        selector: of a policy.
        schema: `pyarrow.Schema` of the table that will be filtered.

    Returns:
        A `pyarrow.compute.Expression` that is true or false for each row, never null.

    Raises:
        DataError: a column does not exist, or a value cannot be compared with it.
    """
    require_columns(selector, schema)
    return _expression(selector, schema)


def any_missing(selector: Selector, schema: Any) -> Any:
    """The filter that keeps rows without a value in at least one column that the selector looks at."""
    require_columns(selector, schema)
    return reduce(or_, (_missing(column) for column in sorted(columns_of(selector))), pc.scalar(False))


def require_columns(selector: Selector, schema: Any) -> None:
    """Raise a `DataError` that lists what exists, if the selector looks at a column that does not.

    What the selector says instead is left out: a person who mixes up column and value writes a subject there.
    """
    if not columns_of(selector) <= set(schema.names):
        raise DataError(
            "the selector names a column that the data set does not have; it has: " + ", ".join(sorted(schema.names))
        )


def _expression(selector: Selector, schema: Any) -> Any:
    if isinstance(selector, Compare):
        return _comparison(selector, schema.field(selector.column).type)
    if isinstance(selector, Ids):
        return pc.is_in(pc.field("id"), pa.array(sorted(selector.ids), pa.string()))
    if isinstance(selector, Not):
        return ~_expression(selector.part, schema)
    assert isinstance(selector, All | AnyOf)
    parts = [_expression(part, schema) for part in selector.parts]
    if isinstance(selector, All):
        return reduce(and_, parts, pc.scalar(True))
    return reduce(or_, parts, pc.scalar(False))


def _comparison(compare: Compare, column_type: Any) -> Any:
    missing = _missing(compare.column)
    if compare.operator is Operator.MISSING:
        return missing if compare.values[0] else ~missing
    column, values = pc.field(compare.column), _cast(compare, column_type)
    if compare.operator is Operator.IN:
        holds = pc.is_in(column, values)
    elif compare.operator is Operator.EQUALS:
        holds = pc.equal(column, values[0])
    elif compare.operator is Operator.NOT_EQUALS:
        holds = pc.not_equal(column, values[0])
    else:
        holds = _ORDER[compare.operator](column, values[0])
    return ~missing & pc.coalesce(holds, pc.scalar(False))


def _missing(column: str) -> Any:
    return pc.is_null(pc.field(column), nan_is_null=True)


def _cast(compare: Compare, column_type: Any) -> Any:
    """The values as an array of the column's type, so that ``17`` finds "17" and "2026-01-01" finds a date."""
    if pa.types.is_null(column_type):
        column_type = pa.string()
    try:
        _require_sense(compare.values, compare.operator, column_type)
        return pa.concat_arrays([pa.array([value]).cast(column_type) for value in compare.values])
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        # The cause would show the value, which may name a subject.
        raise DataError(
            f"column {compare.column!r} holds {column_type}; a value that the selector compares with it does not fit"
        ) from None


def _require_sense(values: Sequence[Scalar], operator: Operator, column_type: Any) -> None:
    """Refuse casts that Arrow allows and nobody means."""
    text = pa.types.is_string(column_type) or pa.types.is_large_string(column_type)
    for value in values:
        if isinstance(value, bool) != pa.types.is_boolean(column_type) and not isinstance(value, str):
            raise ValueError("a truth value is compared with truth values only")
        if text and operator in _ORDER and not isinstance(value, str):
            raise ValueError("text is ordered by letters, not by numbers")
        if isinstance(value, float) and math.isnan(value):
            raise ValueError("not a number")
