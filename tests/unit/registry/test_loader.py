"""Each plugin is loaded by itself: the broken ones are told with the reason, and the others work."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from compliance_unlearn.api import AdapterSpec, CheckSpec, Spec
from compliance_unlearn.registry import LoadedPlugin, Registry
from compliance_unlearn.registry.provenance import code_sha256
from tests.unit.registry.conftest import Load
from tests.unit.registry.generated import CHECK, HEADER, write_plugin


def plugin(registry: Registry, name: str) -> LoadedPlugin:
    return next(each for each in registry.plugins if each.name == name)


def returning(expression: str) -> str:
    return HEADER + f"\n@hookimpl\ndef cu_register_checks():\n    return {expression}\n"


def check(**changes: str) -> str:
    fields = {"name": "'a'", "summary": "'s'", "params": "'m:P'", "factory": "'m:f'", **changes}
    return "[CheckSpec(" + ", ".join(f"{name}={value}" for name, value in fields.items()) + ")]"


def test_the_installed_plugin_offers_one_object_of_each_kind(echo: Registry) -> None:
    (loaded,) = echo.plugins
    assert (loaded.name, loaded.distribution, loaded.version) == ("echo", "compliance-unlearn-echo", "0.1.0")
    assert loaded.error is None
    assert {spec.kind for spec in loaded.specs} == {kind.kind for kind in Spec.__subclasses__()}
    assert loaded.provenance.sha256 == code_sha256("cu_echo")


@pytest.mark.parametrize(
    ("hooks", "reason"),
    [
        ("import no_such_library\n", "cannot be imported: ModuleNotFoundError: No module named 'no_such_library'"),
        ("def broken(:\n", "cannot be imported: SyntaxError"),
        ("raise SystemExit(3)\n", "cannot be imported: SystemExit: 3"),
        ("x = 1\n", "has no hook"),
        (HEADER + "@hookimpl\ndef cu_register_cheks():\n    return []\n", "unknown hook 'cu_register_cheks'"),
        (
            HEADER + "@hookimpl\ndef cu_register_checks(extra):\n    return []\n",
            "'extra'} are declared in the hookimpl but can not be found",
        ),
        ("def cu_register_checks():\n    return []\n", "cu_register_checks: mark hooks with `@hookimpl`"),
        (returning("1 / 0"), "cu_register_checks raised ZeroDivisionError"),
        (returning("'text'"), "cu_register_checks must return a list of CheckSpec"),
        (returning("[1]"), "cu_register_checks must return a list of CheckSpec"),
        (returning(check().replace("CheckSpec", "StrategySpec")), "must return a list of CheckSpec"),
        (returning(check(name="3")), "names must be text"),
        (returning(check(name="'Bad Name'")), "a name is made of lower-case words"),
        (returning(check(api_version="99")), "written for version 99 of the API; this is version 1"),
        (returning(check(factory="'no colon'")), "params and factory must read"),
        (returning(check(params="None")), "params and factory must read"),
        (returning(check(summary="'two\\nlines'")), "the summary must be one line"),
        (returning(f"{check()} + {check()}"), "check `a` is registered twice"),
    ],
)
def test_a_broken_plugin_says_why_and_breaks_no_other(plugins: Path, load: Load, hooks: str, reason: str) -> None:
    write_plugin(plugins, "broken", hooks)
    write_plugin(plugins, "fine", CHECK.replace("{name}", "fine"))
    registry = load()
    error = plugin(registry, "broken").error
    assert error is not None
    assert re.search(reason, error)
    assert plugin(registry, "broken").specs == ()
    assert "\n" not in error
    assert registry.find(CheckSpec, "fine").plugin.name == "fine"
    assert registry.find(AdapterSpec, "echo").plugin.name == "echo"


def test_a_name_that_two_plugins_claim_stays_with_the_first(plugins: Path, load: Load) -> None:
    for name in ("zulu", "alpha"):
        write_plugin(plugins, name, CHECK.replace("{name}", "same"))
    registry = load()
    assert registry.find(CheckSpec, "same").plugin.name == "alpha"
    assert plugin(registry, "zulu").error == "check `same` is registered by plugin `alpha` and again by `zulu`"


def test_one_name_may_be_used_once_for_each_kind(echo: Registry) -> None:
    assert [spec.kind for spec in echo.plugins[0].specs if spec.name == "echo-folder"] == [
        "data source",
        "evidence sink",
    ]


def test_the_distribution_and_its_code_are_recorded_also_of_a_broken_plugin(plugins: Path, load: Load) -> None:
    write_plugin(plugins, "broken", "import no_such_library\n")
    loaded = plugin(load(), "broken")
    assert (loaded.distribution, loaded.version) == ("cu-test-broken", "1.2")
    before = loaded.sha256
    (plugins / "cu_test_broken" / "deep").mkdir()
    (plugins / "cu_test_broken" / "deep" / "new.py").write_text("x = 1\n")
    assert plugin(load(), "broken").sha256 != before


def test_loading_the_registry_imports_nothing_heavy() -> None:
    program = """
import sys
from compliance_unlearn.registry import load_registry
load_registry()
print(*sorted({"torch", "mlflow", "dvc", "transformers", "numpy", "PIL", "pyarrow"} & set(sys.modules)))
"""
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == ""
