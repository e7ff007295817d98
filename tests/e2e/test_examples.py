"""The page for people with pictures of their own, command by command, and the examples of whole classes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from PIL import Image

from compliance_unlearn.demo.digits import digit_pictures
from compliance_unlearn.demo.examples import WORKSPACE, Example, find_example, write_policies
from compliance_unlearn.demo.garments import LABELS
from compliance_unlearn.engine.planning import plan_policy
from compliance_unlearn.policy import Policy
from compliance_unlearn.registry import check_names, load_registry
from compliance_unlearn.workspace import Workspace
from tests.e2e.office import CU, PATIENCE, Done, Office, environment, refused
from tests.unit.demo.test_garments import garment_files

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "train.md").read_text(encoding="utf-8")
PETS = {"3": "cats", "1": "dogs"}
"""The page's cats are threes here and its dogs ones."""
EACH = 100
SMALL = """\
params:
  architecture:
    {image_size: 32, patch_size: 4, hidden_size: 64, layers: 2, intermediate_size: 128, decoder_hidden_size: 64,
     decoder_layers: 1}
task: {kind: inpaint, area: 0.25}
loop: {steps: 200, batch: 16, learning_rate: 0.002}
"""
"""In place of the page's `train.yaml`: a model that is trained in seconds."""


def blocks() -> Iterator[tuple[str, str]]:
    """Language and text of every code block of the page, in order."""
    for found in re.finditer(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL):
        yield found[1], found[2]


def shell(folder: Path, commands: str) -> Done:
    """Run commands as a person does who found `cu`, `dvc` and `git` on the path; stops at the first that fails."""
    variables = environment({"PATH": f"{CU.parent}{os.pathsep}{os.environ['PATH']}"})
    done = subprocess.run(
        ["bash", "-e", "-c", commands],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Mapping[str, Done]]:
    """The workspace of a person who did what the page says, and how each block of commands ended."""
    folder = tmp_path_factory.mktemp("page")
    left = dict.fromkeys(PETS, EACH)
    for picture in digit_pictures():
        if left.get(picture.label):
            left[picture.label] -= 1
            place = folder / "pets" / PETS[picture.label] / f"{left[picture.label]:03}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture.pixels).save(place)
    office, ended = folder / "office", {}
    for language, text in blocks():
        if language == "sh":
            ended[text] = shell(office if office.exists() else folder, text)
        else:
            name = text.splitlines()[0].removeprefix("# ")
            (office / name).write_text(SMALL if name == "train.yaml" else text, encoding="utf-8")
    return office, ended


def test_every_command_of_the_page_works_and_ends_with_a_verdict(followed: tuple[Path, Mapping[str, Done]]) -> None:
    office, ended = followed
    *others, applied = ended.values()
    assert [done.code for done in others] == [0] * 3, [done.err for done in others]
    assert applied.code in (0, 3), applied.err
    bundle = Path(applied.out.strip().splitlines()[-1])
    assert bundle.parent == office / "evidence"
    result = json.loads((bundle / "result.json").read_bytes())
    (model,) = result["models"]
    drop = {name: figures["before"] - figures["after"] for name, figures in model["metrics"]["psnr"].items()}
    assert drop["forget"] > 1.0
    assert drop["retain"] < 0.5
    assert model["promoted"] == (applied.code == 0)
    assert (office / "models/pets-mae/current").resolve().name == ("original" if applied.code else bundle.name)


def test_held_out_pictures_of_the_page_count_as_never_seen(followed: tuple[Path, Mapping[str, Done]]) -> None:
    office, _ = followed
    plan = Office(office).cu("plan", "policies/forget-cats.yaml", "--json").json["plan"]
    counts = plan["models"][0]["counts"]
    held_out = (office / "models/pets-mae/held-out.txt").read_text(encoding="utf-8").splitlines()
    cats = sum(name.startswith("cats/") for name in held_out)
    assert len(held_out) == 2 * EACH // 10
    assert (counts["forget"], counts["forget-held-out"]) == (EACH - cats, cats)
    assert counts["retain"] + counts["retain-held-out"] == EACH


def test_git_keeps_no_picture_and_no_name_of_one(followed: tuple[Path, Mapping[str, Done]]) -> None:
    office, _ = followed
    done = shell(office, "git ls-files")
    assert "models/pets-mae/original.dvc" in done.out
    assert not re.search(r"\.png|held-out|previews", done.out)
    assert "held-out" not in shell(office, "git status --porcelain").out


def test_a_model_of_ones_own_can_take_the_place_of_a_new_one(
    followed: tuple[Path, Mapping[str, Done]], tmp_path: Path
) -> None:
    office = Path(shutil.copytree(followed[0], tmp_path / "office", symlinks=True))
    (office / "models/pets-mae/original").rename(tmp_path / "my-model")
    shutil.rmtree(office / "models/pets-mae")
    (commands,) = re.findall(r"^```sh instead\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert shell(office, commands).code == 0
    file = office / "workspace.yaml"
    file.write_text(re.sub(r"where: .*", "where: {split: train}", file.read_text()), encoding="utf-8")
    plan = plan_policy(office / "policies/forget-cats.yaml", Workspace.load(file), load_registry()).plan
    counts = plan.models[0].counts
    assert (counts["forget"], counts["retain"]) == (EACH, EACH)


def test_a_class_folder_without_pictures_stops_the_plan(
    followed: tuple[Path, Mapping[str, Done]], tmp_path: Path
) -> None:
    office = Path(shutil.copytree(followed[0], tmp_path / "office", symlinks=True))
    (office / "data/pets/birds").mkdir()
    (office / "data/pets/birds/notes.txt").write_text("still to be scanned")
    done = shell(office, "dvc add -q data/pets; git add data; git commit -q -m Birds; git tag -f pets-v1")
    assert done.code == 0, done.err
    planned = Office(office).cu("plan", "policies/forget-cats.yaml")
    assert refused(planned, 4), planned.err
    assert "1 folders of the data set hold no images" in planned.err
    assert "birds" not in planned.err


@pytest.mark.parametrize(
    "example", [find_example(name) for name in ("digits", "garments")], ids=lambda each: each.dataset
)
def test_the_files_of_an_example_fit_each_other(tmp_path: Path, example: Example) -> None:
    write_policies(example, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([WORKSPACE, *example.policies])
    for file in tmp_path.iterdir():
        assert file.read_bytes() == (ROOT / example.folder / file.name).read_bytes()
    workspace = Workspace.load(tmp_path / WORKSPACE)
    assert workspace.root == tmp_path / "workspace"
    for name in example.policies:
        policy = Policy.load(tmp_path / name)
        check_names(policy, workspace, load_registry())
        assert policy.policy.forget.dataset == example.dataset


def test_garments_come_from_the_four_files_that_a_person_has(tmp_path: Path) -> None:
    office = Office(tmp_path)
    write_policies(find_example("garments"), tmp_path / "garments")
    file = tmp_path / "garments" / WORKSPACE
    file.write_text(re.sub(r"loop:\s+\{.*\}", "loop: {steps: 1}", file.read_text()))
    garment_files(tmp_path / "files")
    done = office.cu("demo", "garments", "--example", "garments", "--from", "files")
    assert done.code == 0, done.err
    assert {path.name for path in tmp_path.glob("garments/workspace/data/garments/*/*")} == set(LABELS)
    planned = office.cu("plan", "garments/forget_garment.yaml", "--json")
    assert planned.code == 0, planned.err
    counts = planned.json["plan"]["models"][0]["counts"]
    assert [counts[name] for name in ("forget", "forget-held-out", "retain", "retain-held-out")] == [2, 1, 18, 9]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--example", "horses"], "--example: there is no `horses`; there are: faces, digits, garments"),
        (["--example", "digits", "--from", "files"], "--from: the pictures of `digits` come with a package"),
    ],
)
def test_a_demonstration_that_there_is_not_is_refused(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = Office(tmp_path).cu("demo", "here", *arguments)
    assert refused(done, 2), done.err
    assert message in done.err
    assert not (tmp_path / "here").exists()
