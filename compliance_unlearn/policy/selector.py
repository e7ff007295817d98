"""Selectors: the YAML form that policies use, and the `Selector` that data sources understand.

```yaml
{subject: s17}                              # equals
{subject: s17, split: train}                # all of these
{age: {at_least: 3, less_than: 9}}          # comparisons: the operators of `compliance_unlearn.api.Operator`
{any: [{subject: s17}, {label: {in: [a, b]}}]}
{not: {camera: {missing: true}}}
{ids_file: erased/ids.txt}                  # one id a line, relative to the file that says so
```

Errors say in line and column where something is wrong, and what. They repeat no word of a selector, not even a key: who
writes ``{s17: subject}`` by mistake would read the subject in a log.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from cu_audit.canonical import canonical
from pydantic import AfterValidator, ValidationError, WithJsonSchema

from compliance_unlearn.api import All, AnyOf, Compare, Ids, Not, Operator, PolicyError, Scalar, Selector
from compliance_unlearn.policy.errors import details, did_you_mean, error_at, line
from compliance_unlearn.policy.yaml import Located, Location

MAX_IDS_BYTES = 64 * 1024 * 1024

IdsReader = Callable[[str, Location], frozenset[str]]


def parse_selector(raw: object, folder: Path) -> Selector:
    """Read the YAML form.

    Args:
        raw: what stands in the file.
        folder: folder of that file; ``ids_file`` may name files below it.

    Raises:
        PolicyError: says what is wrong.
    """
    try:
        return _read(raw, folder)
    except ValidationError as error:
        raise PolicyError("\n".join(each["msg"] for each in details(error))) from None


def selector_at(located: Located, location: Location, raw: object) -> Selector:
    """The selector that stands at ``location`` of a file.

    Raises:
        PolicyError: with file, line and column.
    """
    try:
        return _read(raw, located.path.parent)
    except ValidationError as error:
        lines = [line(located, located.within((*location, *each["loc"])), each["msg"]) for each in details(error)]
        raise PolicyError("\n".join(lines)) from None


def _read(raw: object, folder: Path) -> Selector:
    return _parse(raw, (), lambda name, location: _read_ids(folder, name, location))


def check_selector(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """Check the form without reading any file, and hand the selector back as it was written."""
    _parse(raw, (), lambda _name, _location: frozenset({""}))
    return raw


RawSelector = Annotated[dict[str, Any], AfterValidator(check_selector), WithJsonSchema({"title": "Selector"})]
"""A selector as it was written, of valid form; `selector_at` turns it into a `Selector`."""


def selector_data(selector: Selector) -> dict[str, Any]:
    """JSON data that are equal for selectors which differ only in order or shorthand."""
    match selector:
        case Compare():
            values = sorted(selector.values, key=canonical)
            return {"column": selector.column, "operator": selector.operator.value, "values": values}
        case Ids():
            return {"ids": sorted(selector.ids)}
        case All():
            return {"all": sorted((selector_data(part) for part in selector.parts), key=canonical)}
        case AnyOf():
            return {"any": sorted((selector_data(part) for part in selector.parts), key=canonical)}
        case Not():
            return {"not": selector_data(selector.part)}


def describe(selector: Selector) -> str:
    """The selector in words, without the values: they may name a subject, and words end up in logs."""
    match selector:
        case Compare(operator=Operator.MISSING):
            return f"`{selector.column}` is {'missing' if selector.values == (True,) else 'present'}"
        case Compare(operator=Operator.IN):
            return f"`{selector.column}` is one of {len(selector.values)} given values"
        case Compare():
            return f"`{selector.column}` {selector.operator.value.replace('_', ' ')} the given value"
        case Ids():
            return f"the id is one of {len(selector.ids)} given ids"
        case All():
            return " and ".join(_nested(part) for part in selector.parts)
        case AnyOf():
            return " or ".join(_nested(part) for part in selector.parts)
        case Not():
            return f"not ({describe(selector.part)})"


def _nested(selector: Selector) -> str:
    return f"({describe(selector)})" if isinstance(selector, All | AnyOf) else describe(selector)


def _parse(raw: object, at: Location, read_ids: IdsReader) -> Selector:
    if not isinstance(raw, Mapping):
        raise error_at(at, "must be a mapping, such as {subject: ...}")
    if not raw:
        raise error_at(at, "must not be empty: it would select everything")
    parts = tuple(_parse_entry(str(key), value, (*at, str(key)), read_ids) for key, value in raw.items())
    return parts[0] if len(parts) == 1 else All(parts)


def _parse_entry(key: str, value: object, at: Location, read_ids: IdsReader) -> Selector:
    if key == "not":
        return Not(_parse(value, at, read_ids))
    if key in ("all", "any"):
        if not isinstance(value, list) or not value:
            raise error_at(at, f"`{key}` must be a list of selectors that is not empty")
        parts = tuple(_parse(part, (*at, index), read_ids) for index, part in enumerate(value))
        return All(parts) if key == "all" else AnyOf(parts)
    if key == "ids_file":
        if not isinstance(value, str) or not value:
            raise error_at(at, "`ids_file` must be the path of a text file")
        return Ids(read_ids(value, at))
    return _parse_column(key, value, at)


def _parse_column(column: str, value: object, at: Location) -> Selector:
    if not isinstance(value, Mapping):
        return Compare(column, Operator.EQUALS, (_scalar(value, at),))
    if not value:
        raise error_at(at, "a column needs a value or a comparison")
    parts = tuple(_compare(column, str(key), operand, (*at, str(key))) for key, operand in value.items())
    return parts[0] if len(parts) == 1 else All(parts)


def _compare(column: str, name: str, operand: object, at: Location) -> Compare:
    if name not in list(Operator):
        raise error_at(at, f"unknown operator{did_you_mean(name, list(Operator))} (operators: {', '.join(Operator)})")
    operator = Operator(name)
    if operator is Operator.IN:
        if not isinstance(operand, list) or not operand:
            raise error_at(at, "`in` must be a list of values that is not empty")
        return Compare(column, operator, tuple(_scalar(each, (*at, index)) for index, each in enumerate(operand)))
    if operator is Operator.MISSING and not isinstance(operand, bool):
        raise error_at(at, "`missing` must be true or false")
    return Compare(column, operator, (_scalar(operand, at),))


def _scalar(value: object, at: Location) -> Scalar:
    if value is None:
        raise error_at(at, "a column has no value; to select records without one, write {missing: true}")
    if not isinstance(value, str | int | float | bool):
        raise error_at(at, "a value must be text, a number, true or false")
    return value


def _read_ids(folder: Path, name: str, at: Location) -> frozenset[str]:
    path = (folder / name).resolve()
    if Path(name).is_absolute() or not path.is_relative_to(folder.resolve()):
        raise error_at(at, "`ids_file` must be a relative path below the folder of this file")
    try:
        if path.stat().st_size > MAX_IDS_BYTES:
            raise error_at(at, f"the `ids_file` is larger than {MAX_IDS_BYTES // 2**20} MiB")
        lines = [each.strip() for each in path.read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise error_at(at, f"the `ids_file` cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise error_at(at, "the `ids_file` is not UTF-8 text") from None
    ids = frozenset(each for each in lines if each and not each.startswith("#"))
    if not ids:
        raise error_at(at, "the `ids_file` holds no id")
    return ids
