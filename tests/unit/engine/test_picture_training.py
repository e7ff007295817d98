"""Training on a plain folder: all pictures decide on the channels, and what was done to them is said beforehand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from compliance_unlearn.api import AdapterSpec, DataError, LoopSettings, ModelError, RandomMask
from compliance_unlearn.engine.picture_training import PictureTraining
from compliance_unlearn.engine.plain_folder import has_colour, open_folder
from compliance_unlearn.engine.reporting import Advance, Reporter, Silent
from compliance_unlearn.registry import Registry, load_registry
from tests.unit.engine.small import CPU, write_picture

GREY, COLOUR = (16, 16), (16, 16, 3)


class Listening:
    """Writes down what a person would read, in order."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    @contextmanager
    def phase(self, title: str, total: int) -> Iterator[Advance]:
        """Write the title down."""
        del total
        self.heard.append(title)
        yield lambda *_, **__: None

    def note(self, message: str) -> None:
        """Write it down."""
        self.heard.append(message)


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_registry()


def pictures(folder: Path, shapes: list[tuple[int, ...]]) -> Path:
    for number, shape in enumerate(shapes):
        write_picture(folder / f"secret-{number:02}.png", np.full(shape, number, dtype=np.uint8))
    return folder


@pytest.mark.parametrize(
    ("shapes", "expected"), [([GREY] * 12, False), ([*[GREY] * 11, COLOUR], True), ([COLOUR, *[GREY] * 11], True)]
)
def test_one_picture_in_colour_is_enough(
    tmp_path: Path, registry: Registry, shapes: list[tuple[int, ...]], expected: bool
) -> None:
    dataset, records = open_folder(pictures(tmp_path, shapes), registry, Silent())
    assert has_colour(dataset, records, Silent()) is expected


def test_a_picture_that_cannot_be_read_is_numbered_and_not_named(tmp_path: Path, registry: Registry) -> None:
    (pictures(tmp_path, [GREY] * 12) / "secret-03.png").write_bytes(b"no picture")
    dataset, records = open_folder(tmp_path, registry, Silent())
    with pytest.raises(DataError, match="picture 4 of 12, in the order of their paths: ") as caught:
        has_colour(dataset, records, Silent())
    assert "secret" not in str(caught.value)


def training(folder: Path, registry: Registry, reporter: Reporter, **loop: float) -> PictureTraining:
    """One step on the pictures of a folder, into the folder `model` beside it."""
    dataset, records = open_folder(folder, registry, reporter)
    echo = registry.find(AdapterSpec, "echo")
    return PictureTraining(
        dataset=dataset,
        records=records,
        registry=registry,
        adapter=echo,
        params=registry.params(echo, {"size": 16}),
        task=RandomMask(ratio=0.5),
        settings=LoopSettings.model_validate({"steps": 1, "batch": 2, "learning_rate": 0.001, **loop}),
        mirror=False,
        preview_every=1,
        out=folder.with_name("model"),
    )


def test_what_is_done_to_pictures_is_said_before_the_training(tmp_path: Path, registry: Registry) -> None:
    folder = pictures(tmp_path / "pictures", [*[GREY] * 11, COLOUR])
    (folder / "secret.avif").touch()
    reporter = Listening()
    result = training(folder, registry, reporter).run(reporter, CPU)
    said = [
        "1 files of the data have no ending of a picture and were left out",
        "1 of 12 pictures were converted from mode RGB to L",
    ]
    assert result["notes"] == said
    assert [line for line in reporter.heard if line in (*said, "Training model")] == [*said, "Training model"]


@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_training_that_went_wrong_makes_no_model_and_blocks_no_other(tmp_path: Path, registry: Registry) -> None:
    folder = pictures(tmp_path / "pictures", [GREY] * 12)
    with pytest.raises(ModelError, match="try a smaller --learning-rate"):
        training(folder, registry, Silent(), learning_rate=1e38).run(Silent(), CPU)
    assert not (tmp_path / "model" / "current").exists()
    assert training(folder, registry, Silent()).run(Silent(), CPU)["steps"] == 1
