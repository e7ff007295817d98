"""Who may import whom: the boundaries of the house hold, and light things stay light."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "numpy", "mlflow", "transformers", "dvc", "scipy", "PIL", "pyarrow")
FIRST_PARTY = re.compile(r"\bcu_(mae|vqgan|diffusion|standard|dvc|mlflow|echo)\b")


def test_the_import_contracts_hold() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    assert " 0 broken" in found.stdout


@pytest.mark.parametrize("folder", ["compliance_unlearn", "audit/cu_audit"])
def test_the_core_and_the_audit_package_name_no_plugin(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    naming = [path.relative_to(ROOT).as_posix() for path in files if FIRST_PARTY.search(path.read_text("utf-8"))]
    assert naming == []


def loaded_by(module: str) -> set[str]:
    """Heavy packages that importing a module loads, in a fresh interpreter."""
    code = f"import sys, {module}; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(found.stdout.split())


@pytest.mark.parametrize(
    "module",
    [
        "compliance_unlearn.api",
        "compliance_unlearn.policy",
        "compliance_unlearn.workspace",
        "compliance_unlearn.registry",
        "cu_audit.bundle",
        "cu_audit.ledger",
        "cu_standard.hooks",
        "cu_standard.params",
        "cu_mae.hooks",
        "cu_dvc.hooks",
        "cu_mlflow.hooks",
    ],
)
def test_what_is_needed_to_list_and_plan_loads_nothing_heavy(module: str) -> None:
    assert loaded_by(module) == set()


@pytest.mark.parametrize("package", ["plugins", "audit", "tests"])
def test_no_distribution_installs_a_package_with_a_common_name(package: str) -> None:
    code = (
        "from importlib.metadata import distributions\n"
        "for d in distributions():\n"
        "    if d.name.startswith('compliance-unlearn'):\n"
        "        print(*{str(f).split('/')[0] for f in d.files or () if '.dist-info' not in str(f)})\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert package not in found.stdout.split()
