"""How much is verified: profiles, what a policy demands, and the reference that never saw the records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Finished
from tests.e2e.office import POLICY, Done, Office

LOOP = "      loop: {steps: 700, batch: 32, learning_rate: 0.002, weight_decay: 0.05, warmup: 30, schedule: cosine}\n"


@pytest.fixture(scope="module")
def office_with_reference(template: Office, tmp_path_factory: pytest.TempPathFactory) -> Office:
    """One whose policy demands a comparison with the reference."""
    office = template.copy(tmp_path_factory.mktemp("referenced") / "office")
    office.write_policy(POLICY + "  like-retrained: {psnr_margin: 0.5}\n")
    return office


@pytest.fixture(scope="module")
def referenced(office_with_reference: Office) -> Done:
    """The run of that policy."""
    return office_with_reference.cu("apply", "policies/request.yaml", "--json")


def of_set(done: Done, name: str) -> dict[str, Any]:
    [model] = done.json["models"]
    return {check["set"]: check for check in model["checks"] if check["name"] == name}


def weights_of(office: Office) -> set[str]:
    """Names of the versions of the model."""
    return {folder.name for folder in (office.root / "models/face-mae").iterdir() if folder.is_dir()} - {"current"}


def test_a_policy_that_names_the_second_goal_has_a_reference_trained(referenced: Done) -> None:
    [model] = referenced.json["models"]
    assert model["seconds"]["reference"] > 0
    result = of_set(referenced, "like-retrained")["forget"]
    assert result["gates"]
    assert result["sample_size"] == 7
    assert "reference" in result["reason"]


def test_a_model_that_makes_noise_of_a_person_misses_the_second_goal_and_the_run_is_not_compliant(
    referenced: Done,
) -> None:
    assert (referenced.code, referenced.json["verdict"]) == (3, "not-compliant")
    result = of_set(referenced, "like-retrained")["forget"]
    assert result["verdict"] == "failed"
    assert result["value"] < -0.5  # dB: it draws the person worse than one that never saw them
    retain = of_set(referenced, "like-retrained")["retain"]
    assert abs(retain["value"]) < abs(result["value"])


@pytest.mark.slow
def test_asked_for_on_the_command_line_it_is_reported_and_decides_nothing(template: Office, tmp_path: Path) -> None:
    office = template.copy(tmp_path / "office")
    done = office.cu("apply", "policies/request.yaml", "--with-reference", "--json")
    assert (done.code, done.json["verdict"]) == (0, "compliant"), done.err
    assert not any(result["gates"] for result in of_set(done, "like-retrained").values())
    assert office.cu("plan", "policies/request.yaml", "--with-reference", "--json").json["already_done"]
    assert not office.cu("plan", "policies/request.yaml", "--json").json["already_done"]


def test_a_reference_that_was_asked_for_makes_another_plan(compliant: Finished) -> None:
    asked = compliant.office.cu("plan", "policies/request.yaml", "--with-reference", "--json").json
    assert asked["plan"]["models"][0]["reference"]["steps"] == 700
    assert not asked["already_done"]
    decides = {check["name"]: check["decides"] for check in asked["plan"]["checks"]}
    assert not decides["like-retrained"]


def test_without_a_reference_the_second_goal_is_skipped_and_says_how_to_ask(compliant: Finished) -> None:
    result = of_set(compliant.done, "like-retrained")["forget"]
    assert result["verdict"] == "skipped"
    assert "--with-reference" in result["reason"]


def test_a_model_of_unknown_training_gets_no_reference(template: Office, tmp_path: Path) -> None:
    office = template.copy(tmp_path / "office")
    office.change_workspace_file(LOOP, "")
    done = office.cu("apply", "policies/request.yaml", "--with-reference")
    assert done.code == 4
    assert "training.loop" in done.err
    assert office.ledger == []
    assert office.link.readlink() == Path("original")


def test_a_workspace_that_describes_another_architecture_is_found_before_anything_is_changed(
    template: Office, tmp_path: Path
) -> None:
    office = template.copy(tmp_path / "office")
    office.change_workspace_file("hidden_size: 96", "hidden_size: 48")
    done = office.cu("apply", "policies/request.yaml", "--with-reference")
    assert done.code == 4
    assert "needs the original's architecture" in done.err
    assert office.ledger == []
    assert weights_of(office) == {"original"}


def test_a_network_that_the_policy_demands_and_that_is_missing_is_found_before_anything_is_changed(
    template: Office, tmp_path: Path
) -> None:
    office = template.copy(tmp_path / "office")
    demand = "  picture-quality: {net: clip, net_path: no-such-folder, frechet_rise_at_most: 0.1}\n"
    office.write_policy(POLICY + demand)
    done = office.cu("apply", "policies/request.yaml")
    assert done.code == 4
    assert "clip` are not in no-such-folder; name a local folder" in done.err
    assert office.ledger == []
    assert office.link.readlink() == Path("original")


def test_other_seeds_show_the_spread_change_no_verdict_and_repeat(template: Office, tmp_path: Path) -> None:
    office = template.copy(tmp_path / "office")
    done = office.cu("apply", "policies/request.yaml", "--seeds", "2", "--json")
    assert done.code == 0, done.err
    [model] = done.json["models"]
    assert [repeat["seed"] for repeat in model["repeats"]] == [1]
    decisive = [(check["name"], check["set"]) for check in model["checks"] if check["gates"]]
    for repeat in model["repeats"]:
        assert [(check["name"], check["set"]) for check in repeat["checks"]] == decisive
    drops = {check["value"] for repeat in (model, *model["repeats"]) for check in repeat["checks"]
             if (check["name"], check["set"]) == ("retain-drift", "retain")}  # fmt: skip
    assert len(drops) == 2  # two different models
    assert len(weights_of(office)) == 2  # the original and one candidate
    bundle = Path("workspace/evidence") / Path(done.json["bundle"]).name
    assert "2\u00a0unlearnings passed" in (office.folder / bundle / "report.html").read_text()
    again = office.cu("verify", str(bundle), "--rerun", "--json")
    assert again.json["rerun"]["repeats"], again.err
    assert again.json["rerun"]["different"] == 0


def test_a_profile_below_what_the_policy_demands_is_refused(template: Office, tmp_path: Path) -> None:
    office = template.copy(tmp_path / "office")
    office.write_policy(POLICY.replace("verify: quick", "verify: standard"))
    done = office.cu("plan", "policies/request.yaml", "--verify", "quick")
    assert done.code == 2
    assert "demands at least `verify: standard`" in done.err
    done = office.cu("plan", "policies/request.yaml", "--verify", "through")
    assert done.code == 2
    assert "known: quick, standard, thorough" in done.err


def test_a_higher_profile_adds_checks_that_are_only_reported(template: Office, tmp_path: Path) -> None:
    office = template.copy(tmp_path / "office")
    planned = {
        profile: {check["name"]: check["decides"] for check in done.json["plan"]["checks"]}
        for profile in ("quick", "standard", "thorough")
        if (done := office.cu("plan", "policies/request.yaml", "--verify", profile, "--json"))
    }
    assert planned["quick"].keys() < planned["standard"].keys() < planned["thorough"].keys()
    decisive = {name for name, decides in planned["thorough"].items() if decides}
    assert decisive == {"artefact", "retain-drift", "retrieval-leak"}


def test_every_figure_of_a_bundle_repeats_to_the_last_bit(compliant: Finished, tmp_path: Path) -> None:
    office = compliant.office.copy(tmp_path / "office")
    bundle = Path("workspace/evidence") / Path(compliant.done.json["bundle"]).name
    before = office.snapshot()
    done = office.cu("verify", str(bundle), "--rerun", "--json")
    assert done.code == 0, done.err
    rerun = done.json["rerun"]
    assert rerun["same_environment"]
    assert (rerun["repeats"], rerun["different"], rerun["beyond"]) == (True, 0, [])
    assert rerun["compared"] > 100
    assert office.snapshot() == before


def test_under_other_instructions_of_the_processor_figures_repeat_but_for_what_is_trained_anew(
    office_with_reference: Office, referenced: Done
) -> None:
    bundle = Path("workspace/evidence") / Path(referenced.json["bundle"]).name
    elsewhere = {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE"}
    done = office_with_reference.cu("verify", str(bundle), "--rerun", "--json", variables=elsewhere)
    rerun = done.json["rerun"]
    if rerun["same_environment"]:
        pytest.skip("this processor has no other instructions")
    assert (done.code, rerun["repeats"], rerun["beyond"]) == (0, True, []), done.err
    assert rerun["compared"] > 100
    assert rerun["different"] > 0
    assert rerun["left_out"][0] == "face-mae: like-retrained on forget, which decides"
    assert "without the records to forget" not in done.err  # no reference was trained


def test_a_candidate_that_was_swapped_cannot_be_measured_again(compliant: Finished, tmp_path: Path) -> None:
    office = compliant.office.copy(tmp_path / "office")
    candidate = office.link.resolve() / "model.safetensors"
    candidate.write_bytes((office.root / "models" / "face-mae" / "original" / "model.safetensors").read_bytes())
    bundle = Path("workspace/evidence") / Path(compliant.done.json["bundle"]).name
    done = office.cu("verify", str(bundle), "--rerun")
    assert done.code == 4
    assert "not those that were recorded" in done.err


def test_a_changed_policy_is_not_that_of_the_bundle(compliant: Finished, tmp_path: Path) -> None:
    office = compliant.office.copy(tmp_path / "office")
    office.write_policy(POLICY.replace("at_most: 0.40", "at_most: 0.41"))
    bundle = Path("workspace/evidence") / Path(compliant.done.json["bundle"]).name
    done = office.cu("verify", str(bundle), "--rerun")
    assert done.code == 4
    assert "the policy" in done.err


def test_a_damaged_bundle_is_not_measured_at_all(compliant: Finished, tmp_path: Path) -> None:
    office = compliant.office.copy(tmp_path / "office")
    bundle = office.evidence / Path(compliant.done.json["bundle"]).name
    (bundle / "plan.json").write_bytes((bundle / "plan.json").read_bytes() + b" ")
    done = office.cu("verify", str(bundle.relative_to(office.folder)), "--rerun")
    assert done.code == 4
    assert "plan.json: changed" in done.err


def test_calibration_tells_how_often_the_checks_of_a_policy_are_wrong(template: Office, tmp_path: Path) -> None:
    office = template.copy(tmp_path / "office")
    before = office.snapshot()
    asked = (
        "calibrate",
        "policies/request.yaml",
        "--runs",
        "2",
        "--sizes",
        "5,100",
        "--out",
        str(tmp_path / "page.md"),
    )
    done = office.cu(*asked, "--json")
    assert done.code == 0, done.err
    found = done.json["face-mae"]
    rates = {(rate["check"], rate["set"], rate["world"]): rate for rate in found["rates"]}
    nothing = rates["retrieval-leak", "forget", "nothing forgotten"]
    assert (nothing["forget"], nothing["runs"], nothing["claim_is_true"]) == (5, 2, False)
    assert nothing["wrong"]["share"] == 0.0
    assert rates["retain-drift", "retain", "broken for all"]["verdicts"] == {"failed": 2}
    ended = {outcome["world"]: outcome["outcomes"] for outcome in found["outcomes"]}
    assert "compliant" not in {**ended["nothing forgotten"], **ended["broken for all"]}
    assert ended["forgotten"].get("not-compliant", 0) == 0
    assert "artefact" in found["not_calibrated"]
    assert {rate["forget"] for rate in found["rates"]} == {5}  # the person has seven pictures
    page = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert "| retrieval-leak on forget | 5 |" in page
    assert office.snapshot() == before


def test_a_size_that_the_data_do_not_allow_is_told(template: Office, tmp_path: Path) -> None:
    office = template.copy(tmp_path / "office")
    done = office.cu("calibrate", "policies/request.yaml", "--sizes", "100")
    assert done.code == 4
    assert "there are only 7 pictures to forget" in done.err
    done = office.cu("calibrate", "policies/request.yaml", "--sizes", "ten")
    assert done.code == 2


def test_a_bundle_that_the_ledger_does_not_list_is_not_verified(compliant: Finished, tmp_path: Path) -> None:
    office = compliant.office.copy(tmp_path / "office")
    bundle = office.evidence / Path(compliant.done.json["bundle"]).name
    assert office.cu("verify", str(bundle)).code == 0
    (office.evidence / "ledger.jsonl").unlink()
    done = office.cu("verify", str(bundle))
    assert done.code == 4
    assert "the ledger" in done.err
