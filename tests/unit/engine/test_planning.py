"""Planning says what a policy misses in the data, and looks at the data before anybody relies on the plan."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from compliance_unlearn.api import DataError
from compliance_unlearn.cli.plan import _print, as_data
from compliance_unlearn.engine.measuring import ModelRun
from compliance_unlearn.engine.planning import ResolvedPlan, plan_policy
from compliance_unlearn.engine.reporting import Silent
from compliance_unlearn.registry import load_registry
from compliance_unlearn.workspace import Workspace
from tests.unit.engine.small import CPU, SIZE, small_model, write_picture

WORKSPACE = """\
version: 1
lineage: echo-journal
datasets:
  pets: {source: image-folder, path: data/pets}
models:
  pets-echo:
    adapter: echo
    weights: models/pets-echo/current
    task: {kind: inpaint}
    training: {dataset: pets, where: TRAINED}
"""
POLICY = """\
version: 1
request: {id: pets-req-1, ground: "GROUND", received: 2026-11-02}
forget: {dataset: pets, where: FORGET}
models: affected
retain: {use: dataset}
strategy: {use: echo-alignment, params: {forget_weight: 1.0}, loop: {steps: 1, batch: 2}}
accept: {echo-drift: {at_most: 0.5}}
"""
ALL = "{split: train}"


@pytest.fixture
def office(tmp_path: Path) -> Path:
    """A workspace with three pictures of cats and three of dogs, and a model."""
    for name in ("cats", "dogs"):
        for number in range(3):
            write_picture(tmp_path / f"data/pets/{name}/secret-{number}.png", np.zeros((SIZE, SIZE), dtype=np.uint8))
    original = tmp_path / "models/pets-echo/original"
    original.mkdir(parents=True)
    (original / "echo.safetensors").write_bytes(b"weights")
    (original.parent / "current").symlink_to("original")
    return tmp_path


def planned(office: Path, forget: str, trained: str = ALL, ground: str = "Licence withdrawn") -> ResolvedPlan:
    (office / "workspace.yaml").write_text(WORKSPACE.replace("TRAINED", trained), encoding="utf-8")
    policy = office / "request.yaml"
    policy.write_text(POLICY.replace("FORGET", forget).replace("GROUND", ground), encoding="utf-8")
    workspace = Workspace.find(office)
    workspace.initialise()
    return plan_policy(policy, workspace, load_registry())


def warnings(plan: ResolvedPlan) -> list[str]:
    """What is said beside that nothing was held out."""
    said = [finding.message.removeprefix("pets-echo: ") for finding in plan.findings]
    assert [finding["message"] for finding in as_data(plan)["findings"]] == [
        finding.message for finding in plan.findings
    ]
    assert said == list(plan.warnings["pets-echo"])
    return [line for line in said if "never-seen" not in line]


@pytest.mark.parametrize(
    ("forget", "message"),
    [
        ("{label: cats}", None),
        ("{ids_file: ids.txt}", "2 of 3 ids that forget.where names are not in the data set"),
        ("{id: {in: [cats/secret-0.png, cats/lost.png]}}", "1 of 2 ids that forget.where names"),
        ("{any: [{label: cats}, {id: cats/lost.png}]}", "1 of 1 ids that forget.where names"),
        ("{label: {in: [cats, lost]}}", "1 of 2 labels that forget.where names"),
        ("{all: [{label: cats}, {not: {ids_file: ids.txt}}]}", "2 of 3 ids that forget.where names"),
    ],
)
def test_ids_that_are_nowhere_are_counted_and_not_named(office: Path, forget: str, message: str | None) -> None:
    (office / "ids.txt").write_text("cats/secret-0.png\ncats/lost.png\nlost\n", encoding="utf-8")
    said = warnings(planned(office, forget))
    assert [message in line for line in said if message] == [True] * (message is not None), said
    assert not any(word in line for line in said for word in ("lost", "secret"))
    assert message or not said


def test_ids_that_a_model_was_not_trained_on_are_counted_too(office: Path) -> None:
    (office / "held-out.txt").write_text("cats/secret-0.png\ncats/lost.png\n", encoding="utf-8")
    plan = planned(office, "{label: cats}", "{not: {ids_file: held-out.txt}}")
    assert warnings(plan) == ["1 of 2 ids that training.where in workspace.yaml names are not in the data set"]


def test_ids_of_which_none_is_there_are_an_error(office: Path) -> None:
    with pytest.raises(DataError, match="matches no record"):
        planned(office, "{id: {in: [lost, cats/lost.png]}}")


def test_files_that_vanish_among_pictures_are_counted(office: Path) -> None:
    for name in ("cats/1.avif", "cats/2.heic", "cats/.DS_Store", "about.txt"):
        (office / "data/pets" / name).touch()
    expected = "2 files among the pictures have another ending or are not listed, and are left out"
    assert warnings(planned(office, "{label: cats}")) == [expected]


def test_a_class_that_was_moved_away_or_overwritten_stops_the_plan(office: Path) -> None:
    plan = planned(office, "{label: cats}")
    (sets,) = plan.sets.values()
    sets.look()
    (office / "data/pets/dogs/secret-0.png").write_bytes(b"garbage")
    (office / "data/pets/dogs/secret-1.png").unlink()
    with pytest.raises(DataError, match="2 files of the data set are missing or changed"):
        sets.look()


def test_a_class_that_was_pinned_as_garbage_stops_the_plan(office: Path) -> None:
    for path in (office / "data/pets/dogs").iterdir():
        path.write_bytes(b"garbage")
    (sets,) = planned(office, "{label: cats}").sets.values()
    with pytest.raises(DataError, match=r"the pictures that were opened of 1 of 2 labels: .*not an image") as caught:
        sets.look()
    assert "dogs" not in str(caught.value)


@pytest.mark.parametrize("ground", ["Letter [see binder 3]", "a [/b] c", "[bold]Art. 17[/bold] :warning:"])
def test_square_brackets_are_shown_as_they_were_written(
    office: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, ground: str
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    plan = planned(office, "{label: cats}", ground=ground)
    assert json.loads(json.dumps(as_data(plan)))["plan"]["ground"] == ground
    _print(plan)
    assert f"Request pets-req-1, {ground}: received 2026-11-02, due 2026-12-02 (" in capsys.readouterr().err


def test_what_a_plan_warns_of_is_among_the_notes_of_the_evidence(office: Path) -> None:
    weights = office / "models/pets-echo/original"
    (weights / "echo.safetensors").unlink()
    small_model().export(weights)
    (office / "ids.txt").write_text("cats/secret-0.png\ncats/lost.png\n", encoding="utf-8")
    plan = planned(office, "{ids_file: ids.txt}")
    run = ModelRun(plan, state=office / "state", name="run", reporter=Silent(), device=CPU)
    said = run.prepare(plan.plan.models[0]).notes
    assert "1 of 2 ids that forget.where names are not in the data set" in said


def test_a_check_decides_only_if_it_is_named_and_can(office: Path) -> None:
    planned(office, "{label: cats}")
    accept = "echo-drift: {at_most: 0.5}, fidelity: {}, same-as-noise: {}, picture-quality: {frechet_rise_at_most: 0.1}"
    policy = office / "request.yaml"
    policy.write_text(policy.read_text().replace("echo-drift: {at_most: 0.5}", accept), encoding="utf-8")
    plan = plan_policy(policy, Workspace.find(office), load_registry()).plan
    found = {check.name: (check.demanded, check.decides) for check in plan.checks}
    assert found["fidelity"] == (True, False)
    assert found["same-as-noise"] == (True, False)
    assert found["picture-quality"] == (True, True)
    assert found["echo-drift"] == (True, True)
    assert found["artefact"] == (False, True)
    assert found["probe"] == (False, False)
