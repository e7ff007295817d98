"""A name leads to an object, or to an error that says what there is and whose fault it is."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from compliance_unlearn.api import (
    PROFILES,
    CheckSpec,
    LineageStore,
    LineageStoreSpec,
    PluginError,
    SinkSpec,
    StrategySpec,
)
from compliance_unlearn.registry import Registry, UnknownName
from tests.unit.registry.conftest import Load
from tests.unit.registry.generated import CHECK, HEADER, write_plugin
from tests.unit.registry.records import a_plan, a_result

STRICT = (
    'from pydantic import BaseModel, ConfigDict\nclass P(BaseModel):\n    model_config = ConfigDict(extra="forbid")\n'
)


def test_an_unknown_name_lists_the_known_ones(echo: Registry) -> None:
    with pytest.raises(UnknownName, match=r"no check `echo-drfit`; did you mean `echo-drift`\? \(known: echo-counts, "):
        echo.find(CheckSpec, "echo-drfit")
    assert UnknownName.exit_code == 2


def test_a_name_of_one_kind_is_unknown_to_another(echo: Registry) -> None:
    with pytest.raises(UnknownName):
        echo.find(SinkSpec, "echo-alignment")


def test_a_broken_plugin_that_may_hold_the_name_is_to_blame(plugins: Path, load: Load) -> None:
    write_plugin(plugins, "broken", "import no_such_library\n")
    registry = load()
    with pytest.raises(PluginError, match=r"`elsewhere`.*plugin `broken` .* is broken: cannot be imported"):
        registry.find(CheckSpec, "elsewhere")
    assert PluginError.exit_code == 5


def test_a_broken_plugin_that_said_what_it_holds_is_not_blamed_for_other_names(plugins: Path, load: Load) -> None:
    write_plugin(plugins, "broken", CHECK.replace("{name}", "mine").replace('"a check"', '"two\\nlines"'))
    registry = load()
    with pytest.raises(PluginError, match="plugin `broken`"):
        registry.find(CheckSpec, "mine")
    with pytest.raises(UnknownName):
        registry.find(CheckSpec, "other")


def test_parameters_are_validated_by_the_plugins_own_model(echo: Registry) -> None:
    strategy = echo.find(StrategySpec, "echo-alignment")
    assert echo.params(strategy, {"forget_weight": 2}).model_dump() == {"forget_weight": 2.0, "retain_weight": 1.0}
    for wrong in ({}, {"forget_weight": -1}, {"forget_weight": 1, "unknown": 2}):
        with pytest.raises(ValidationError):
            echo.params(strategy, wrong)


def test_an_object_is_made_by_its_factory(echo: Registry, tmp_path: Path) -> None:
    store = echo.find(LineageStoreSpec, "echo-journal")
    assert isinstance(echo.make(store, echo.params(store, {}), tmp_path), LineageStore)


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        ("import no_such_library\n", "cannot be imported: ModuleNotFoundError"),
        ("Q = 1\n", "cannot be imported: AttributeError"),
        ("P = dict\n", "is not a pydantic model"),
        ("from pydantic import BaseModel\nclass P(BaseModel):\n    pass\n", "must have `model_config = .*forbid"),
    ],
)
def test_a_params_model_must_exist_and_refuse_unknown_keys(
    plugins: Path, load: Load, monkeypatch: pytest.MonkeyPatch, params: str, problem: str
) -> None:
    write_plugin(plugins, "odd", CHECK.replace("{name}", "odd"), params=params)
    registry = load()
    monkeypatch.syspath_prepend(str(plugins))
    with pytest.raises(PluginError, match=f"check `odd` .*{problem}"):
        registry.params(registry.find(CheckSpec, "odd"), {})


def test_a_factory_that_raises_is_an_error_of_the_plugin(
    plugins: Path, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_plugin(plugins, "raises", CHECK.replace("{name}", "raises"), params=STRICT, things="make = int\n")
    registry = load()
    monkeypatch.syspath_prepend(str(plugins))
    registered = registry.find(CheckSpec, "raises")
    with pytest.raises(PluginError, match=r"check `raises` .* raised ValueError"):
        registry.make(registered, "not a number")


def test_a_profile_holds_the_checks_of_those_before_it(plugins: Path, load: Load) -> None:
    for profile in PROFILES:
        described = CHECK.replace("{name}", profile).replace('"a check"', f'"a check", profile="{profile}"')
        write_plugin(plugins, profile, described)
    write_plugin(plugins, "named", CHECK.replace("{name}", "named"))
    found = {profile: sorted(spec.name for spec in load().checks_of(profile)) for profile in PROFILES}
    assert found == {
        "quick": ["quick"],
        "standard": ["quick", "standard"],
        "thorough": ["quick", "standard", "thorough"],
    }


def test_reviewers_warn_and_block(echo: Registry) -> None:
    assert echo.review(a_plan("gdpr-req-123")) == ()
    assert [finding.severity for finding in echo.review(a_plan("warn-me"))] == ["warning"]
    assert [finding.severity for finding in echo.review(a_plan("block-me"))] == ["block"]


def test_a_reviewer_cannot_change_the_plan(plugins: Path, load: Load) -> None:
    hooks = "@hookimpl\ndef cu_review_plan(plan):\n    plan.checks[0].params.clear()\n    return []\n"
    write_plugin(plugins, "meddler", HEADER + hooks)
    plan = a_plan("gdpr-req-123")
    assert load().review(plan) == ()
    assert plan == a_plan("gdpr-req-123")


@pytest.mark.parametrize("body", ["1 / 0", "return ['text']", "return 3", "raise SystemExit"])
def test_a_reviewer_that_fails_blocks_and_the_others_are_heard(plugins: Path, load: Load, body: str) -> None:
    write_plugin(plugins, "failing", HEADER + f"@hookimpl\ndef cu_review_plan(plan):\n    {body}\n")
    findings = load().review(a_plan("warn-me"))
    assert sorted(finding.severity for finding in findings) == ["block", "warning"]
    assert any("plugin `failing` could not review the plan" in finding.message for finding in findings)


def test_a_plugin_that_fails_after_the_run_is_a_warning(plugins: Path, load: Load) -> None:
    write_plugin(plugins, "failing", HEADER + "@hookimpl\ndef cu_run_finished(summary):\n    1 / 0\n")
    assert load().finished(a_result()) == ["plugin `failing`: cu_run_finished raised ZeroDivisionError"]
