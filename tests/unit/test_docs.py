"""What the documentation says is what the code does."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from compliance_unlearn.api import AdapterSpec, errors
from tests.bundles import build_bundle

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(path: Path, language: str) -> list[str]:
    """Code blocks of a Markdown file, without their indentation in lists."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return ["".join(line.removeprefix(indent) for line in body.splitlines(True)) for indent, body in found]


def test_the_command_reference_is_what_the_commands_print() -> None:
    program = "import generate; print(generate.command_reference(), end='')"
    printed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT / "docs"
    )
    assert printed.stdout == (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")


def test_the_readme_shows_the_policy_that_the_demonstration_applies() -> None:
    assert blocks(ROOT / "README.md", "yaml") == [(ROOT / "policies" / "gdpr_req_123.yaml").read_text(encoding="utf-8")]


def test_the_readme_lists_the_exit_code_of_every_error() -> None:
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    codes = {value.exit_code for value in classes if issubclass(value, errors.ComplianceError)}
    listed = {int(code) for code in re.findall(r"^\| (\d) \|", README, re.MULTILINE)}
    assert codes | {0, 3} == listed


@pytest.mark.parametrize("target", ["demo", "test"])
def test_the_two_commands_of_the_readme_are_targets(target: str) -> None:
    assert f"make {target}" in README
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def test_continuous_integration_runs_the_readme_command() -> None:
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_the_hook_of_the_adapter_guide_registers_an_adapter() -> None:
    (source,) = blocks(ROOT / "docs" / "write-an-adapter.md", "python")
    names: dict[str, object] = {}
    exec(source, names)
    hook = names["cu_register_model_adapters"]
    assert callable(hook)
    (spec,) = hook()
    assert isinstance(spec, AdapterSpec)
    assert spec.tasks == ("inpaint", "outpaint")


def test_the_snippet_for_auditors_opens_a_bundle(tmp_path: Path) -> None:
    (source,) = blocks(ROOT / "audit" / "README.md", "python")
    folder = re.search(r'Path\("(evidence/[^"]*)"\)', source)
    assert folder
    bundle = build_bundle(tmp_path / folder.group(1))
    printed = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=True, cwd=tmp_path, env=dict(os.environ)
    )
    assert bundle.result.sentence in printed.stdout


def test_links_between_pages_lead_somewhere() -> None:
    pages = [
        ROOT / "README.md",
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("*/README.md"),
        *ROOT.glob("plugins/*/README.md"),
    ]
    broken = [
        f"{page.relative_to(ROOT)}: {link}"
        for page in pages
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
        if not (page.parent / link).exists()
    ]
    assert broken == []
