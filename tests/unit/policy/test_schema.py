"""The committed JSON Schemas are those of the code."""

from pathlib import Path
from typing import Any

import pytest

from compliance_unlearn.api import Operator
from compliance_unlearn.cli.policy import schema_text
from compliance_unlearn.policy import policy_schema
from compliance_unlearn.workspace import workspace_schema

FOLDER = Path(__file__).parents[3] / "policies" / "schema"


@pytest.mark.parametrize(("name", "schema"), [("policy", policy_schema()), ("workspace", workspace_schema())])
def test_the_committed_schema_is_true(name: str, schema: dict[str, Any]) -> None:
    committed = (FOLDER / f"{name}.schema.json").read_text(encoding="utf-8")
    assert committed == schema_text(schema), f"run: cu policy schema > policies/schema/{name}.schema.json"


@pytest.mark.parametrize("schema", [policy_schema(), workspace_schema()])
def test_every_object_refuses_unknown_keys_or_says_what_they_are(schema: dict[str, Any]) -> None:
    for definition in [schema, *schema["$defs"].values()]:
        assert definition["additionalProperties"] is not True


def test_selectors_are_spelt_out() -> None:
    schema = policy_schema()
    assert schema["$defs"]["Forget"]["properties"]["where"] == {"$ref": "#/$defs/Selector"}
    assert set(schema["$defs"]["Comparison"]["properties"]) == {operator.value for operator in Operator}
