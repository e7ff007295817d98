"""Validation errors of pydantic as lines that a person can act upon: ``file:line:column: key: what is wrong``."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from compliance_unlearn.api.errors import PolicyError
from compliance_unlearn.policy.patterns import IN_WORDS
from compliance_unlearn.policy.yaml import Located, Location, display_path, dotted, speakable

M = TypeVar("M", bound=BaseModel)


class FieldsOf:
    """Marks a field of raw data whose keys are those of ``model``: validated like it, but kept as written."""

    def __init__(self, model: type[BaseModel]) -> None:
        self.model = model

    def __call__(self, value: Mapping[str, Any]) -> Mapping[str, Any]:
        """Check ``value`` against the model and hand it back unchanged."""
        self.model.model_validate(value)
        return value


def error_at(location: Location, message: str) -> ValidationError:
    """A validation error at ``location`` below the value that is being validated; raise it in a validator."""
    kind = PydanticCustomError("value", "{message}", {"message": message})
    return ValidationError.from_exception_data("value", [InitErrorDetails(type=kind, loc=location, input=None)])


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean `x`?` when something is near, else what there is."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f"; did you mean `{near[0]}`?"
    return f"; known: {', '.join(names)}" if names else "; none are known here"


def line(located: Located, location: Location, message: str, *, of_key: bool = False) -> str:
    """One line of an error message: the position is exact, the key stops where a selector begins."""
    row, column = located.position(location, of_key=of_key)
    key = dotted(speakable(location))
    return f"{display_path(located.path)}:{row}:{column}: {key + ': ' if key else ''}{message}"


def validate(model: type[M], located: Located, prefix: Location = (), data: Any = None) -> M:
    """Validate data of a file.

    Args:
        model: what it must be.
        located: the file, for positions.
        prefix: where the data stand in the file.
        data: the data; by default what the file holds at ``prefix``.

    Raises:
        PolicyError: one line for each thing that is wrong.
    """
    if data is None:
        data = located.data
        for part in prefix:
            data = data[part]
    try:
        return model.model_validate(data)
    except ValidationError as error:
        # from None: the cause would quote values
        raise PolicyError("\n".join(error_lines(details(error), located, prefix, model))) from None


def details(error: ValidationError) -> list[ErrorDetails]:
    """What is wrong, without the values: they may name a subject."""
    return error.errors(include_url=False, include_input=False)


def error_lines(
    found: Iterable[ErrorDetails], located: Located, prefix: Location, model: type[BaseModel]
) -> Iterator[str]:
    """A line for each error in data that stand at ``prefix`` and must be a ``model``."""
    for detail in found:
        location = (*prefix, *detail["loc"])
        shown = located.within(location)
        if detail["type"] == "missing":
            shown = (*shown, detail["loc"][-1])
        of_key = detail["type"] == "extra_forbidden" or detail["loc"][-1:] == ("[key]",)
        yield line(located, shown, _words(detail, model), of_key=of_key)


_WORDS = {
    "missing": "this key is missing",
    "string_type": "must be text; put quotes around it",
    "dict_type": "must be a mapping of keys and values",
    "model_type": "must be a mapping of keys and values",
    "model_attributes_type": "must be a mapping of keys and values",
    "tuple_type": "must be a list",
    "union_tag_not_found": "needs the key `kind`",
}


def _words(detail: ErrorDetails, model: type[BaseModel]) -> str:
    """What is wrong, without the value: it may name a subject."""
    if detail["type"] == "extra_forbidden":
        parents = detail["loc"][:-1]
        return "unknown key" + did_you_mean(str(detail["loc"][-1]), _fields_at(model, parents))
    if detail["type"] == "union_tag_invalid":
        return f"`kind` must be one of {detail['ctx']['expected_tags']}"
    if detail["type"] == "string_pattern_mismatch" and detail["ctx"]["pattern"] in IN_WORDS:
        return IN_WORDS[detail["ctx"]["pattern"]]
    text = _WORDS.get(detail["type"], detail["msg"])
    text = text.removeprefix("Value error, ").replace("Input should be", "must be")
    return text[:1].lower() + text[1:] if text.startswith("String") else text


def _fields_at(model: type[BaseModel], location: Location) -> set[str]:
    """Names of the fields that a mapping at ``location`` below ``model`` may have."""
    models = {model}
    for part in location:
        following: set[type[BaseModel]] = set()
        for candidate in models:
            if part in candidate.model_fields:
                info = candidate.model_fields[str(part)]
                following |= set(_models_in(info.annotation))
                functions = [getattr(mark, "func", None) for mark in info.metadata]
                following |= {function.model for function in functions if isinstance(function, FieldsOf)}
        tagged = {each for each in models if any(field.default == part for field in each.model_fields.values())}
        models = following or tagged or models
    return set().union(*(candidate.model_fields for candidate in models))


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
