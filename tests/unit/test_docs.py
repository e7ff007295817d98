"""What the documentation says is what the code does."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from cu_audit.records import Verdict
from pydantic import ValidationError
from ruamel.yaml import YAML

from compliance_unlearn.api import (
    AdapterSpec,
    Batch,
    Check,
    CheckSpec,
    Inpaint,
    ModelAdapter,
    PixelStatistics,
    Spec,
    Strategy,
    StrategyContext,
    StrategySpec,
    errors,
)
from compliance_unlearn.engine.noise import identity_noise
from compliance_unlearn.registry import Registry, load_registry
from compliance_unlearn.workspace.model import ModelEntry
from tests.bundles import build_bundle
from tests.unit.registry.generated import installed
from tests.unit.standard.planted import Planted, answers_noise, keeps

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "write-an-adapter.md"
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


@pytest.fixture
def guide(tmp_path: Path) -> Path:
    """The plugin of the guide, written down as it says, with the metadata that pip would write."""
    folder = tmp_path / "tiny"
    for body in [*blocks(GUIDE, "python"), *blocks(GUIDE, "toml")]:
        name, _ = body.removeprefix("# ").split("\n", 1)
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(body, encoding="utf-8")
    (folder / "cu_tiny" / "__init__.py").touch()
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    points = {**project["entry-points"]["compliance_unlearn"], "tiny-more": "cu_tiny.more_hooks"}
    info = folder / "compliance_unlearn_tiny-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = "".join(f"{name} = {value}\n" for name, value in points.items())
    (info / "entry_points.txt").write_text(f"[compliance_unlearn]\n{lines}")
    return folder


@pytest.fixture
def registry(guide: Path) -> Iterator[Registry]:
    """The plugins of the guide alone."""
    with installed(guide) as points:
        yield load_registry(points)
    for module in [name for name in sys.modules if name.split(".")[0] == "cu_tiny"]:
        del sys.modules[module]


def test_the_adapter_of_the_guide_passes_its_own_conformance_tests(guide: Path) -> None:
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "tests"],
        capture_output=True,
        text=True,
        check=False,
        cwd=guide,
        env={**os.environ, "PYTHONPATH": f"{guide}", "OMP_NUM_THREADS": "1"},
    )
    assert tests.returncode == 0, tests.stdout
    assert "skipped" not in tests.stdout


def test_the_guide_says_what_every_method_of_an_adapter_gets_and_returns() -> None:
    own = {
        name
        for name, member in vars(ModelAdapter).items()
        if not getattr(member, "__final__", False) and (callable(member) or isinstance(member, property))
    } - {"__init__", "_boundary", "_fitting", "_size", "_require_description"}
    table = re.findall(r"^\| (`[^|]*)\|", GUIDE.read_text(encoding="utf-8"), re.MULTILINE)
    assert {name for row in table for name in re.findall(r"`(\w+)`", row)} == own


def test_the_plugin_of_the_guide_is_listed_and_makes_what_it_says(registry: Registry) -> None:
    assert [(plugin.name, plugin.error) for plugin in registry.plugins] == [("tiny", None), ("tiny-more", None)]
    adapter = made(registry, AdapterSpec, "tiny", {"size": 16, "width": 8}, Inpaint())
    assert isinstance(adapter, ModelAdapter)
    with pytest.raises(ValidationError, match="Extra inputs"):
        made(registry, AdapterSpec, "tiny", {"sise": 16}, Inpaint())


def test_the_strategy_of_the_guide_makes_a_model_forget(registry: Registry) -> None:
    statistics, generator = PixelStatistics((0.5,), (0.25,)), torch.Generator().manual_seed(0)
    student = made(registry, AdapterSpec, "tiny", {"size": 16, "width": 8}, Inpaint())
    assert isinstance(student, ModelAdapter)
    student.create(statistics, generator, torch.device("cpu"))
    images = Images(torch.rand(8, 1, 16, 16, generator=generator))
    context = StrategyContext(
        student, student.replica(), images, images, identity_noise(student), torch.Generator().manual_seed(1), 0
    )
    strategy = made(registry, StrategySpec, "decoded-alignment", {"alpha": 0.5})
    assert isinstance(strategy, Strategy)
    forget, retain = Batch(images.batch([0, 1]), torch.arange(2)), Batch(images.batch([2, 3]), torch.arange(2, 4))
    terms = strategy.objective(context, forget, retain)
    assert set(terms.terms) == {"forget", "retain"}
    assert set(strategy.objective(context, forget, None).terms) == {"forget"}
    optimiser = torch.optim.Adam(strategy.trainable(student).values(), lr=3e-3)
    for _ in range(30):
        optimiser.zero_grad()
        strategy.objective(context, forget, None).total.backward()  # type: ignore[no-untyped-call]  # torch's
        optimiser.step()
    assert strategy.objective(context, forget, None).total < 0.5 * terms.terms["forget"]


def test_the_check_of_the_guide_passes_fails_and_notices_that_it_is_blind(registry: Registry) -> None:
    check = made(registry, CheckSpec, "retain-shift", {"at_most": 0.01})
    assert isinstance(check, Check)
    worlds = {
        Verdict.PASSED: Planted(retain=keeps),
        Verdict.FAILED: Planted(retain=answers_noise),
    }
    assert {verdict: check.run(world).results[0].verdict for verdict, world in worlds.items()} == {
        verdict: verdict for verdict in worlds
    }
    blind = made(registry, CheckSpec, "retain-shift", {"at_most": 1.0})
    assert isinstance(blind, Check)
    assert blind.run(Planted(retain=answers_noise)).results[0].verdict is Verdict.VOID


def test_the_model_of_the_guide_fits_into_a_workspace_file() -> None:
    (source,) = blocks(GUIDE, "yaml")
    entry = ModelEntry.model_validate(YAML(typ="safe").load(source)["models"]["my-tiny"])
    assert entry.adapter == "tiny"
    assert f"ln -s versions/1 {entry.weights}" in GUIDE.read_text(encoding="utf-8")


def made(registry: Registry, kind: type[Spec], name: str, params: Mapping[str, Any], *more: object) -> object:
    """An object of a plugin, from parameters as a file holds them."""
    registered = registry.find(kind, name)
    return registry.make(registered, registry.params(registered, params), *more)


class Images:
    """A set of images in memory."""

    def __init__(self, images: torch.Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: torch.Tensor | Sequence[int]) -> torch.Tensor:
        return self.images[indices]


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
