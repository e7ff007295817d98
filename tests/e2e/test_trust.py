"""What somebody who wants a false verdict, or makes an honest mistake, gets."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Finished
from tests.e2e.office import POLICY, REQUEST, Office


def copy_of(finished: Finished, folder: Path) -> Office:
    return finished.office.copy(folder / "office")


def planned(office: Office) -> Any:
    done = office.cu("plan", "policies/request.yaml", "--json")
    assert done.code == 0, done.err
    return done.json


def short(digest: str) -> str:
    return digest.removeprefix("hmac-sha256:")[:12]


def put_back(office: Office) -> None:
    """Roll the model back to the original by hand."""
    office.link.unlink()
    office.link.symlink_to("original")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("  retrieval-leak: {at_most: 0.40}\n", "", "tests forgetting"),
        ("id: gdpr-req-123", "id: erase-s17", "names the subject|name the subject"),
        ("ground: GDPR Art. 17(1)(b)", "ground: asked by S17", "name the subject"),
        ("retain: {use: dataset}", "retain: {use: proxy, dataset: faces}", "own data set"),
    ],
    ids=["no check of forgetting", "subject in the id", "subject in the ground", "proxy that holds the subject"],
)
def test_a_policy_that_could_mislead_is_refused(
    template: Office, tmp_path: Path, old: str, new: str, says: str
) -> None:
    office = template.copy(tmp_path / "office")
    assert old in POLICY
    office.write_policy(POLICY.replace(old, new))
    done = office.cu("apply", "policies/request.yaml")
    assert done.code == 2
    assert any(word in done.err for word in says.split("|"))
    assert "s17" not in done.err.lower()
    assert office.ledger == []


def test_a_later_request_does_not_retain_who_was_forgotten(compliant: Finished, tmp_path: Path) -> None:
    office = copy_of(compliant, tmp_path)
    before = planned(office)["plan"]["models"][0]["counts"]
    office.write_policy(POLICY.replace("s17", "s05").replace(REQUEST, "gdpr-req-124"))
    counts = planned(office)["plan"]["models"][0]["counts"]
    assert counts["forgotten-earlier"] == before["forget"] + before["forget-held-out"]
    assert counts["retain"] == before["retain"] - before["forget"]
    assert counts["retain-used"] == counts["retain"]


def test_an_earlier_request_is_still_known_as_done_after_a_later_one(compliant: Finished, tmp_path: Path) -> None:
    office = copy_of(compliant, tmp_path)
    assert planned(office)["already_done"] is True
    later = planned(office)["plan_digest"]
    office.write_policy(POLICY.replace("s17", "s05").replace(REQUEST, "gdpr-req-124"))
    assert planned(office)["already_done"] is False
    assert planned(office)["plan_digest"] != later


def test_a_request_that_changed_starts_again_from_the_model_before_it(compliant: Finished, tmp_path: Path) -> None:
    office = copy_of(compliant, tmp_path)
    office.write_policy(POLICY.replace("at_most: 0.40", "at_most: 0.39"))
    plan = planned(office)
    assert plan["already_done"] is False
    assert plan["plan"]["models"][0]["source"]["path"] == "models/face-mae/original"


def test_a_rolled_back_model_is_promoted_again(compliant: Finished, tmp_path: Path) -> None:
    office = copy_of(compliant, tmp_path)
    candidate = office.link.readlink()
    put_back(office)
    assert office.cu("apply", "policies/request.yaml").code == 0
    assert office.link.readlink() == candidate
    assert len(office.ledger) == 1


def test_a_candidate_that_was_changed_after_sealing_is_never_promoted(compliant: Finished, tmp_path: Path) -> None:
    office = copy_of(compliant, tmp_path)
    candidate = office.link.parent / office.link.readlink()
    put_back(office)
    shutil.copyfile(office.link.parent / "original" / "model.safetensors", candidate / "model.safetensors")
    done = office.cu("apply", "policies/request.yaml")
    assert done.code == 4
    assert "not those that were recorded" in done.err
    assert office.link.readlink() == Path("original")


def test_a_bundle_of_another_plan_is_not_taken_for_this_one(compliant: Finished, tmp_path: Path) -> None:
    office = copy_of(compliant, tmp_path)
    (bundle,) = (path for path in office.evidence.iterdir() if path.name.startswith(REQUEST))
    office.write_policy(POLICY.replace(REQUEST, "gdpr-req-124"))
    shutil.copytree(bundle, office.evidence / f"gdpr-req-124-{short(planned(office)['plan_digest'])}")
    done = office.cu("apply", "policies/request.yaml")
    assert done.code == 4
    assert "not that of this plan" in done.err
    assert len(office.ledger) == 1


def test_weights_that_were_planted_are_not_certified(template: Office, tmp_path: Path) -> None:
    office = template.copy(tmp_path / "office")
    office.write_policy(POLICY.replace("steps: 150", "steps: 2"))
    version = office.link.parent / f"{REQUEST}-{short(planned(office)['plan_digest'])}"
    shutil.copytree(office.link.parent / "original", version)
    done = office.cu("apply", "policies/request.yaml")
    assert done.code == 4
    assert "other weights than this run made" in done.err
    assert office.ledger == []


def test_a_verdict_that_was_edited_in_the_ledger_is_noticed(not_compliant: Finished, tmp_path: Path) -> None:
    office = copy_of(not_compliant, tmp_path)
    ledger = office.evidence / "ledger.jsonl"
    ledger.write_bytes(ledger.read_bytes().replace(b'"not-compliant"', b'"compliant"'))
    done = office.cu("report", REQUEST, "--workspace", "policies")
    assert done.code == 4
    assert "does not fit" in done.err


def test_a_ledger_that_lost_its_last_newline_goes_on(compliant: Finished, tmp_path: Path) -> None:
    office = copy_of(compliant, tmp_path)
    ledger = office.evidence / "ledger.jsonl"
    ledger.write_bytes(ledger.read_bytes().rstrip(b"\n"))
    office.write_policy(POLICY.replace("steps: 150", "steps: 0").replace(REQUEST, "gdpr-req-124").replace("s17", "s05"))
    assert office.cu("apply", "policies/request.yaml").code == 3
    assert [entry["index"] for entry in office.ledger] == [0, 1]


def test_a_model_is_found_by_the_folder_that_it_was_trained_on(template: Office, tmp_path: Path) -> None:
    office = template.copy(tmp_path / "office")
    text = office.workspace_file.read_text(encoding="utf-8")
    same_folder = "  faces-again:\n    source: manifest\n    path: data/faces\n    revision: faces-v1\n  strangers:"
    text = text.replace("  strangers:", same_folder)
    model = text[text.index("  face-mae:") : text.index("evidence:")]
    twin = model.replace("face-mae:", "twin:").replace("models/face-mae", "models/twin").replace("faces", "faces-again")
    office.workspace_file.write_text(text.replace("evidence:", twin + "evidence:", 1), encoding="utf-8")
    shutil.copytree(office.link.parent, office.root / "models" / "twin", symlinks=True)
    assert [model["name"] for model in planned(office)["plan"]["models"]] == ["face-mae", "twin"]
    office.write_policy(POLICY.replace("models: affected", "models: [face-mae]"))
    plan = planned(office)
    assert any("twin" in finding["message"] for finding in plan["findings"])
    assert any("twin" in copy for copy in plan["plan"]["not_reached"])


def test_evidence_names_the_code_that_decided(compliant: Finished) -> None:
    (folder,) = (path for path in compliant.office.evidence.iterdir() if path.name.startswith(REQUEST))
    plugins = json.loads((folder / "result.json").read_bytes())["environment"]["plugins"]
    assert {"compliance-unlearn", "compliance-unlearn-audit"} <= {plugin["distribution"] for plugin in plugins}
