"""What the README says of the demonstration, on the demonstration itself: real faces and the shipped policy."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.office import Done, Office

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Office:
    """The repository's policies and what `cu demo` makes of them."""
    folder = tmp_path_factory.mktemp("demo")
    (folder / "policies").mkdir()
    for name in ("workspace.yaml", "gdpr_req_123.yaml"):
        shutil.copy(ROOT / "policies" / name, folder / "policies" / name)
    office = Office(folder)
    done = office.cu("demo", "policies")
    assert done.code == 0, done.err
    return office


@pytest.fixture(scope="module")
def applied(demo: Office) -> Done:
    return demo.cu("apply", "policies/gdpr_req_123.yaml", "--json")


@pytest.fixture(scope="module")
def model(applied: Done) -> Any:
    (model,) = applied.json["models"]
    return model


def checks(model: Any, name: str) -> dict[str, Any]:
    return {check["set"]: check for check in model["checks"] if check["name"] == name}


def drop(model: Any, name: str) -> float:
    figures = model["metrics"]["psnr"][name]
    return float(figures["before"] - figures["after"])


def test_the_verdict_is_compliant_and_the_model_is_promoted(demo: Office, applied: Done, model: Any) -> None:
    assert (applied.code, applied.json["verdict"]) == (0, "compliant")
    current = demo.folder / "demo-workspace" / "models" / "face-mae" / "current"
    assert current.resolve().name == Path(model["candidate"]["path"]).name


def test_forget_outputs_are_inside_the_noise_envelope_and_those_of_the_original_are_not(model: Any) -> None:
    envelope = checks(model, "noise-envelope")
    for name in ("forget", "forget-held-out"):
        assert envelope[name]["value"] >= 0.95
        controls = {control["name"]: control["value"] for control in envelope[name]["controls"]}
        assert controls["original model"] <= 0.05
        assert controls["original model on retained pictures"] <= 0.05
    assert envelope["forget"]["verdict"] == "passed"
    assert envelope["forget-held-out"]["verdict"] == "inconclusive"


def test_no_hidden_part_is_retrieved(model: Any) -> None:
    retrieval = checks(model, "retrieval-leak")["forget-all"]
    assert (retrieval["value"], retrieval["verdict"], retrieval["sample_size"]) == (0.0, "passed", 10)
    assert retrieval["interval"]["high"] == pytest.approx(0.2589, abs=1e-3)


def test_forgetting_costs_the_forgotten_five_decibel_and_nobody_else_much(model: Any) -> None:
    assert drop(model, "forget") >= 5.0
    assert drop(model, "forget-held-out") >= 5.0
    assert drop(model, "retain") <= 0.3
    assert drop(model, "retain-held-out") <= 0.3
    assert checks(model, "retain-drift")["worst-subject"]["value"] <= 1.0


@pytest.mark.slow
def test_without_steps_the_demonstration_is_not_compliant(demo: Office, applied: Done, tmp_path: Path) -> None:
    assert applied.code == 0
    office = demo.copy(tmp_path / "copy")
    policy = office.folder / "policies" / "gdpr_req_123.yaml"
    changed = policy.read_text(encoding="utf-8").replace(
        "strategy: encoder-alignment", "strategy: {use: encoder-alignment, loop: {steps: 0}}"
    )
    policy.write_text(changed, encoding="utf-8")
    link = office.folder / "demo-workspace" / "models" / "face-mae" / "current"
    before = link.readlink()
    done = office.cu("apply", "policies/gdpr_req_123.yaml", "--json")
    assert (done.code, done.json["verdict"]) == (3, "not-compliant")
    assert link.readlink() == before
    assert Path(done.json["bundle"]).is_dir()
