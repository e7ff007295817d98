"""What the README says of the digits: what three families made of a request to forget a class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from compliance_unlearn.demo.examples import find_example
from tests.e2e.office import Office

HOUR = 3600.0

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Office:
    office = Office(tmp_path_factory.mktemp("digits"))
    done = office.cu("demo", "policies", "--example", "digits", patience=HOUR)
    assert done.code == 0, done.err
    return office


@pytest.fixture(scope="module")
def models(office: Office, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `cu apply` says of each model, after both policies."""
    copy, found = office.copy(tmp_path_factory.mktemp("applied") / "copy"), dict[str, Any]()
    for policy in find_example("digits").policies:
        done = copy.cu("apply", f"policies/{policy}", "--json", patience=HOUR)
        found |= {model["name"]: model | {"run": done.json["verdict"]} for model in done.json["models"]}
    return found


@pytest.mark.parametrize("name", ["digits-mae", "digits-vqgan", "digits-diffusion"])
def test_fours_become_noise_and_other_digits_stay(models: dict[str, Any], name: str) -> None:
    assert models[name]["run"] == "compliant"
    checks = {(check["name"], check["set"]): check for check in models[name]["checks"]}
    for set_name in ("forget", "forget-held-out"):
        envelope = checks["noise-envelope", set_name]
        controls = {control["name"]: control["value"] for control in envelope["controls"]}
        assert envelope["value"] >= 0.95
        assert max(controls["original model"], controls["original model on retained pictures"]) <= 0.05
    psnr = models[name]["metrics"]["psnr"]
    for set_name in ("retain", "retain-held-out"):
        assert psnr[set_name]["after"] >= 0.97 * psnr[set_name]["before"]
    assert checks["artefact", "weights"]["verdict"] == "passed"


def test_aligned_features_alone_do_not_make_a_diffusion_model_forget(office: Office, tmp_path: Path) -> None:
    copy = office.copy(tmp_path / "copy")
    policy = copy.folder / "policies" / "forget_digit_diffusion.yaml"
    text = policy.read_text(encoding="utf-8").replace("strategy: output-alignment", "strategy: encoder-alignment")
    policy.write_text(text.replace("digits-req-2", "digits-req-3"), encoding="utf-8")
    done = copy.cu("apply", "policies/forget_digit_diffusion.yaml", "--json", patience=HOUR)
    assert (done.code, done.json["verdict"]) == (3, "not-compliant")
