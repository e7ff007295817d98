"""Training a model on pictures of one's own: no workspace, no version control, only a folder."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from cu_audit.canonical import files_sha256, folder_files
from PIL import Image

from compliance_unlearn.cli.main import main
from compliance_unlearn.demo.digits import digit_pictures
from compliance_unlearn.workspace.lock import exclusive
from tests.e2e.office import CU, Done, Office, environment
from tests.unit.registry.generated import HEADER, installed, write_plugin

SETTINGS = """\
params:
  architecture:
    {image_size: 32, hidden_size: 32, layers: 1, intermediate_size: 64, decoder_hidden_size: 32, decoder_layers: 1}
task: {kind: inpaint, area: 0.25}
loop: {steps: 2, batch: 8}
"""
ECHO_SETTINGS = """\
params: {size: 32}
loop: {steps: 200, batch: 8, learning_rate: 0.002, checkpoint_every: 5}
"""
MAE = ("train", "--adapter", "mae", "--data", "pictures", "--settings", "mae.yaml")
ECHO = ("train", "--adapter", "echo", "--data", "pictures", "--settings", "echo.yaml")
"""Two convolutions: nothing heavy is imported, so that a command takes as long as one must."""
CLASSES = {"1": "ones", "3": "threes"}
EACH = 30


@dataclass(frozen=True)
class Refusal:
    """How a command ended that was refused."""

    code: int
    err: str


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Office:
    """A folder with sixty real pictures in two folders, and settings of a small model."""
    folder = tmp_path_factory.mktemp("studio")
    for name in CLASSES.values():
        (folder / "pictures" / name).mkdir(parents=True)
    left = dict.fromkeys(CLASSES, EACH)
    for picture in digit_pictures():
        if left.get(picture.label):
            left[picture.label] -= 1
            place = folder / "pictures" / CLASSES[picture.label] / f"secret-{left[picture.label]:02}.png"
            Image.fromarray(picture.pixels).save(place)
    (folder / "mae.yaml").write_text(SETTINGS, encoding="utf-8")
    (folder / "echo.yaml").write_text(ECHO_SETTINGS, encoding="utf-8")
    return Office(folder)


@pytest.fixture(scope="module")
def trained(studio: Office) -> Done:
    """A training that nothing disturbed, without previews."""
    return studio.cu(*ECHO, "--out", "models/undisturbed", "--preview-every", "0", "--json")


@pytest.fixture(scope="module")
def colourful(studio: Office, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """A model of colour pictures that are no squares; its folder, and how the command ended."""
    folder = tmp_path_factory.mktemp("colourful")
    shutil.copytree(studio.folder, folder, dirs_exist_ok=True)
    for path in sorted((folder / "pictures").rglob("*.png")):
        with Image.open(path) as image:
            image.convert("RGB").resize((40, 36)).save(path)
    return folder / "model", Office(folder).cu(*MAE, "--out", "model")


@pytest.fixture
def folder(studio: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the pictures to spoil; the current folder."""
    shutil.copytree(studio.folder / "pictures", tmp_path / "pictures")
    for name in ("mae.yaml", "echo.yaml"):
        shutil.copy(studio.folder / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Refusal]]:
    """Runs `cu` in this process, which is quicker, and expects it to fail with a message."""
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")

    def run(*arguments: str) -> Refusal:
        monkeypatch.setattr(sys, "argv", ["cu", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        assert not captured.out
        assert "Traceback" not in captured.err
        assert "secret" not in captured.err
        return Refusal(int(ended.value.code or 0), captured.err)

    yield run
    torch.use_deterministic_algorithms(False)
    torch.utils.deterministic.fill_uninitialized_memory = True  # type: ignore[attr-defined]


def test_a_folder_of_pictures_becomes_a_model(studio: Office, trained: Done) -> None:
    assert trained.code == 0, trained.err
    result = trained.json
    out = studio.folder / "models" / "undisturbed"
    files = folder_files(out / "current")
    assert (out / "current").readlink() == Path("original")
    assert (result["files"], result["sha256"]) == (files, files_sha256(files))
    assert set(files) == {"echo.safetensors"}
    assert (result["steps"], result["pictures"]["trained_on"], result["pictures"]["held_out"]) == (200, 54, 6)
    assert 5 < result["psnr_held_out"] < 40
    assert result["loss"] > 0
    assert {path.name for path in out.iterdir()} == {
        *("original", "current", "held-out.txt", "previews", "training.json", ".gitignore")
    }


def test_held_out_pictures_are_named_for_a_workspace_and_kept_out_of_git(studio: Office, trained: Done) -> None:
    out = studio.folder / "models" / "undisturbed"
    names = (out / "held-out.txt").read_text(encoding="utf-8").splitlines()
    assert len(names) == trained.json["pictures"]["held_out"]
    assert all((studio.folder / "pictures" / name).is_file() for name in names)
    assert trained.json["where"] == {"not": {"ids_file": "models/undisturbed/held-out.txt"}}
    assert {"/held-out.txt", "/previews/", "/.training/"} <= set((out / ".gitignore").read_text().split())


def test_killed_in_the_middle_it_ends_in_the_same_bits_previews_or_not(studio: Office, trained: Done) -> None:
    out = studio.folder / "models" / "killed"
    command = [*ECHO, "--out", "models/killed", "--preview-every", "7", "--json"]
    process = subprocess.Popen(
        [CU, *command], cwd=studio.folder, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while not (out / ".training" / "checkpoint.pt").exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "original").exists()
    assert not (out / "current").exists()
    done = studio.cu(*command)
    assert done.code == 0, done.err
    assert "Carrying on after step" in done.err
    assert done.json["files"] == trained.json["files"]
    assert not (out / ".training").exists()
    steps = sorted(path.stem for path in (out / "previews").iterdir())
    assert steps == [f"step-{step:06}" for step in (*range(7, 200, 7), 200)]


def test_a_preview_shows_truth_what_is_shown_and_what_is_made_of_it(colourful: tuple[Path, Done]) -> None:
    out, done = colourful
    assert done.code == 0, done.err
    with Image.open(out / "previews" / "step-000002.png") as image:
        pixels = np.asarray(image)
    assert pixels.shape == (3 * 32, 6 * 32, 3)
    truth, shown, made = pixels[:32, :32], pixels[32:64, :32], pixels[64:, :32]
    hidden = np.zeros((32, 32), dtype=bool)
    hidden[8:24, 8:24] = True
    assert np.array_equal(truth[~hidden], shown[~hidden])
    assert np.array_equal(truth[~hidden], made[~hidden])
    assert set(shown[hidden].flat) == {128}
    assert not np.array_equal(truth[hidden], made[hidden])


def test_colour_pictures_make_a_model_for_colours(colourful: tuple[Path, Done]) -> None:
    out, _ = colourful
    assert json.loads((out / "current" / "config.json").read_bytes())["num_channels"] == 3


def test_a_person_is_told_what_was_done_and_what_to_write_in_a_workspace(colourful: tuple[Path, Done]) -> None:
    _, done = colourful
    assert "cropped around the centre and resized from 40x36 to 32x32" in done.err
    assert "weights: model/current" in done.err
    assert 'where: {"not": {"ids_file": "model/held-out.txt"}}' in done.err
    assert done.out.strip() == "model/current"


def test_a_finished_training_is_told_again_and_others_leave_it_alone(studio: Office, trained: Done) -> None:
    before = studio.snapshot()
    again = studio.cu(*ECHO, "--out", "models/undisturbed", "--json")
    assert (again.code, again.json) == (0, trained.json)
    assert "finished before" in again.err
    other = studio.cu(*ECHO, "--out", "models/undisturbed", "--steps", "201")
    assert other.code == 2
    assert "a training with other loop" in other.err
    assert studio.snapshot() == before


def test_folders_for_the_splits_say_what_is_held_out(folder: Path) -> None:
    (folder / "pictures" / "ones").rename(folder / "ones")
    (folder / "pictures" / "threes").rename(folder / "threes")
    for split, names in {"train": ("ones", "threes"), "val": ("ones",)}.items():
        for name in names:
            shutil.copytree(folder / name, folder / "pictures" / split / name)
    done = Office(folder).cu(*ECHO, "--out", "model", "--json")
    assert done.code == 0, done.err
    assert done.json["where"] == {"split": "train"}
    assert done.json["pictures"]["held_out"] == EACH
    assert not (folder / "model" / "held-out.txt").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--adapter", "mea"], "there is no model adapter `mea`; did you mean `mae`?"),
        (["--task", "super-resolve"], "`mae` cannot do `super-resolve`; it can do: inpaint, outpaint, random-mask"),
        (["--task", "blur"], "`mae` cannot do `blur`; it can do: inpaint, outpaint, random-mask"),
        (["--size", "33"], "image_size must be a multiple of patch_size"),
        (["--learning-rate", "-1"], "--learning-rate: "),
        (["--device", "nowhere"], "--device nowhere: this machine cannot compute there"),
        (["--out", "pictures/model"], "--out lies inside of --data"),
        (["--out", "pictures/ones"], "--out lies inside of --data"),
        (["--out", "."], "is not empty and holds no training"),
        (["--data", "nowhere"], "'nowhere' does not exist"),
        (["--adapter", "echo", "--size", "16"], "--size 16 does not suit `echo`"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_written(
    folder: Path, refused: Callable[..., Refusal], arguments: list[str], message: str
) -> None:
    before = Office(folder).snapshot()
    refusal = refused("train", "--adapter", "mae", "--data", "pictures", "--out", "model", *arguments)
    assert (refusal.code, message in refusal.err) == (2, True), refusal.err
    assert Office(folder).snapshot() == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("loop: {stepps: 3}", "mae.yaml:1:8: loop.stepps: unknown key; did you mean `steps`?"),
        ("params: {architecture: {layers: 0}}", "mae.yaml:1:33: params.architecture.layers: "),
        ("task: {kind: colourise}", "mae.yaml:1:7: task: `mae` cannot do `colourise`; it can do: inpaint"),
        ("weights: x", "mae.yaml:1:1: weights: unknown key"),
    ],
)
def test_a_wrong_settings_file_is_refused_with_its_line(
    folder: Path, refused: Callable[..., Refusal], text: str, message: str
) -> None:
    (folder / "mae.yaml").write_text(text, encoding="utf-8")
    refusal = refused(*MAE, "--out", "model")
    assert (refusal.code, message in refusal.err) == (2, True), refusal.err
    assert not (folder / "model").exists()


def _no_pictures(folder: Path) -> None:
    for path in (folder / "pictures").rglob("*.png"):
        path.rename(path.with_suffix(".txt"))


def _few_pictures(folder: Path) -> None:
    shutil.rmtree(folder / "pictures" / "ones")
    for path in sorted((folder / "pictures").rglob("*.png"))[9:]:
        path.unlink()


def _truncated(folder: Path) -> None:
    path = folder / "pictures" / "ones" / "secret-16.png"
    path.write_bytes(path.read_bytes()[:100])


def _text_among_pictures(folder: Path) -> None:
    (folder / "pictures" / "threes" / "secret-00.png").write_text("no picture")


def _empty_class(folder: Path) -> None:
    (folder / "pictures" / "secret-class").mkdir()


def _class_without_pictures(folder: Path) -> None:
    (folder / "pictures" / "secret-class").mkdir()
    (folder / "pictures" / "secret-class" / "notes.txt").write_text("x")


def _broken_link(folder: Path) -> None:
    (folder / "pictures" / "ones" / "secret-link.png").symlink_to("nowhere.png")


def _everything_held_out(folder: Path) -> None:
    (folder / "pictures").rename(folder / "val")
    (folder / "pictures").mkdir()
    (folder / "val").rename(folder / "pictures" / "val")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_no_pictures, "holds no images"),
        (_few_pictures, "the folder holds 9 pictures; a training needs at least 10"),
        (_truncated, "picture 17 of 60, in the order of their paths: a file of the data set is truncated"),
        (_text_among_pictures, "picture 31 of 60, in the order of their paths: a file of the data set is truncated"),
        (_empty_class, "1 folders of the data are empty"),
        (_class_without_pictures, "1 folders of the data set hold no images"),
        (_broken_link, "1 entries of the data are links to nothing"),
        (_everything_held_out, "no picture is left to train on"),
    ],
)
def test_pictures_that_cannot_be_used_are_refused_and_not_named(
    folder: Path, refused: Callable[..., Refusal], spoil: Callable[[Path], None], message: str
) -> None:
    spoil(folder)
    refusal = refused(*ECHO, "--out", "model")
    assert (refusal.code, message in refusal.err) == (4, True), refusal.err
    assert not (folder / "model").exists()


def test_a_family_that_cannot_be_trained_says_so(folder: Path, refused: Callable[..., Refusal]) -> None:
    hooks = (
        HEADER
        + """
@hookimpl
def cu_register_model_adapters():
    return [AdapterSpec(name="fixed", summary="cannot be trained", params="cu_echo.params:EchoAdapterParams",
                        factory="{module}.things:Fixed", tasks=("inpaint",))]
"""
    )
    things = """
from compliance_unlearn.api import ModelAdapter
from cu_echo.adapter import EchoAdapter

class Fixed(EchoAdapter):
    _create = ModelAdapter._create
"""
    (folder / "plugins").mkdir()
    write_plugin(folder / "plugins", "fixed", hooks, things=things)
    with installed(folder / "plugins"):
        refusal = refused("train", "--adapter", "fixed", "--data", "pictures", "--out", "model")
    assert (refusal.code, "Fixed cannot train a model from the beginning" in refusal.err) == (4, True), refusal.err
    assert not (folder / "model").exists()


def test_two_at_once_are_refused(studio: Office, trained: Done, folder: Path, refused: Callable[..., Refusal]) -> None:
    assert trained.code == 0, trained.err
    (folder / "model" / ".training").mkdir(parents=True)
    shutil.copy(studio.folder / "models" / "undisturbed" / "training.json", folder / "model")
    with exclusive(folder / "model" / ".training" / "lock"):
        refusal = refused(*ECHO, "--out", "model")
    assert (refusal.code, "another cu train is writing model" in refusal.err) == (4, True), refusal.err
