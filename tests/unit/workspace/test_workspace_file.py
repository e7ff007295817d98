"""A workspace file says where things are; what leads elsewhere or means nothing is refused at its place."""

from pathlib import Path

import pytest

from compliance_unlearn.api import Compare, Operator, PolicyError, RandomMask
from compliance_unlearn.workspace import Workspace
from tests.unit.workspace.examples import workspace_file


def test_what_is_left_out_has_a_default(tmp_path: Path) -> None:
    workspace = Workspace.load(workspace_file(tmp_path))
    model = workspace.file.models["faces-echo"]
    assert workspace.file.lineage.use == "echo-journal"
    assert workspace.file.datasets["faces"].revision == workspace.training_revision("faces-echo") == "HEAD"
    assert model.task == RandomMask(ratio=0.5)
    assert model.noise == "identity"
    assert workspace.training_selector("faces-echo") == Compare("split", Operator.EQUALS, ("train",))
    assert workspace.showable_selector("faces") == Compare("subject", Operator.EQUALS, ("s01",))
    assert workspace.evidence == tmp_path / "root" / "evidence"


def test_the_revision_of_the_training_wins_over_that_of_the_data_set(tmp_path: Path) -> None:
    path = workspace_file(tmp_path, ("{dataset: faces}", "{dataset: faces, revision: v1}"))
    assert Workspace.load(path).training_revision("faces-echo") == "v1"


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("root: ../root", "root: /root", "2:7: root: must be a path relative"),
        ("path: data/faces", "path: /data", "7:11: datasets.faces.path: must be a path below"),
        ("path: data/faces", "path: data/../../x", "7:11: datasets.faces.path: must be a path below"),
        (
            "weights: models/faces-echo/current",
            "weights: ../x",
            "12:14: models.faces-echo.weights: must be a path below",
        ),
        ("    source:", "    sauce:", "6:5: datasets.faces.sauce: unknown key; did you mean `source`?"),
        ("    adapter: echo\n", "", "11:5: models.faces-echo.adapter: this key is missing"),
        ("  faces-echo:", "  Faces Echo:", "10:3: models.Faces Echo: must be lower-case"),
        ("kind: random-mask", "kind: sharpen", "13:11: models.faces-echo.task: `kind` must be one of 'inpaint'"),
        ("ratio: 0.5", "ratio: 2", "13:38: models.faces-echo.task.ratio: must be less than 1"),
        ("ratio: 0.5", "area: 0.5", "13:31: models.faces-echo.task.area: unknown key; known: kind, ratio"),
        (
            "{dataset: faces}",
            "{dataset: faces, where: {}}",
            "14:39: models.faces-echo.training.where: must not be empty",
        ),
        (
            "loop: {steps: 3}",
            "loop: {stps: 3}",
            "18:16: models.faces-echo.strategies.echo-alignment.loop.stps: unknown",
        ),
        ("showable: {subject: s01}", "showable: {s01}", "8:19: datasets.faces.showable: a column has no value"),
        (
            "{dataset: faces}",
            "{dataset: faces, where: {subject: {s17: 1}}}",
            "14:55: models.faces-echo.training.where: unknown operator",
        ),
        ("[backups older than 30 days]", "backups", "22:21: copies_not_reached: must be a list"),
    ],
)
def test_an_error_names_its_line_column_and_key(tmp_path: Path, old: str, new: str, line: str) -> None:
    with pytest.raises(PolicyError) as caught:
        Workspace.load(workspace_file(tmp_path, (old, new)))
    assert f"workspace.yaml:{line}" in str(caught.value)


def test_the_file_is_found_next_to_the_policy_or_above(tmp_path: Path) -> None:
    workspace_file(tmp_path)
    deep = tmp_path / "policies" / "2026" / "november"
    deep.mkdir(parents=True)
    (deep / "request.yaml").touch()
    (tmp_path / "policies" / "request.yaml").touch()
    for start in (deep / "request.yaml", deep, tmp_path / "policies" / "request.yaml"):
        assert Workspace.find(start).folder == tmp_path / "policies"


def test_no_file_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"there is no workspace\.yaml next to .* run `cu init`"):
        Workspace.find(tmp_path)
