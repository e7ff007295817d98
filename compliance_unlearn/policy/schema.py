"""JSON Schema of policy files, for editors and for other tools."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from compliance_unlearn.api import Operator
from compliance_unlearn.policy.model import Policy

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_SELECTOR = {"$ref": "#/$defs/Selector"}
_SCALAR = {"type": ["string", "number", "boolean"]}


def policy_schema() -> dict[str, Any]:
    """The schema of a policy file."""
    return file_schema(Policy, "Policy of one erasure request")


def file_schema(model: type[BaseModel], title: str) -> dict[str, Any]:
    """The schema of a file that ``model`` describes, with the form of selectors spelt out."""
    schema: dict[str, Any] = _point_to_selector(model.model_json_schema(mode="validation"))
    schema["$defs"] |= {"Selector": _selector(), "Comparison": _comparison()}
    return {"$schema": DIALECT, **schema, "title": title}


def _point_to_selector(node: Any) -> Any:
    if isinstance(node, dict):
        if node.get("title") == "Selector":
            return _SELECTOR | {key: node[key] for key in ("default", "description") if key in node}
        return {key: _point_to_selector(value) for key, value in node.items()}
    return [_point_to_selector(each) for each in node] if isinstance(node, list) else node


def _selector() -> dict[str, Any]:
    several = {"type": "array", "minItems": 1, "items": _SELECTOR}
    return {
        "title": "Selector",
        "description": "Which records; several keys hold together. Other keys are columns: a value or comparisons.",
        "type": "object",
        "minProperties": 1,
        "properties": {
            "all": several | {"description": "every part holds"},
            "any": several | {"description": "at least one part holds"},
            "not": _SELECTOR | {"description": "the part does not hold; records without a value are selected"},
            "ids_file": {
                "type": "string",
                "minLength": 1,
                "description": "text file with one record id a line, relative to this file",
            },
        },
        "additionalProperties": {"anyOf": [_SCALAR, {"$ref": "#/$defs/Comparison"}]},
    }


def _comparison() -> dict[str, Any]:
    operators: dict[str, Any] = {operator.value: _SCALAR for operator in Operator}
    operators[Operator.IN] = {"type": "array", "minItems": 1, "items": _SCALAR}
    operators[Operator.MISSING] = {"type": "boolean"}
    return {
        "title": "Comparison",
        "type": "object",
        "minProperties": 1,
        "additionalProperties": False,
        "properties": operators,
    }
