"""Nothing that a run leaves behind or says tells who was forgotten: everything is searched for everything."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from compliance_unlearn.api import AdapterSpec, ImageShape, ModelAdapter
from compliance_unlearn.engine.images import fit
from compliance_unlearn.registry import load_registry
from compliance_unlearn.workspace import Workspace
from tests.e2e.conftest import Finished
from tests.e2e.office import SUBJECT, Done, Office

SHAPE = ImageShape(1, 32, 32)
CELL = 8
EMBEDDED = re.compile(r"data:image/png;base64,([A-Za-z0-9+/=]+)")

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module", params=["compliant", "not_compliant"])
def run(request: pytest.FixtureRequest) -> Finished:
    found: Finished = request.getfixturevalue(request.param)
    return found


def left_behind(office: Office, done: Done) -> dict[str, bytes]:
    """All that a run wrote or said: evidence, tracker, state, commits, stdout and stderr, by where it is."""
    found = {"stdout": done.out.encode(), "stderr": done.err.encode()}
    for name in ("evidence", "mlartifacts", ".cu", "mlflow.db", "dvc.yaml", "dvc.lock"):
        top = office.root / name
        for path in [top, *top.rglob("*")]:
            where = path.relative_to(office.root).as_posix()
            found[f"name of {where}"] = where.encode()
            if path.is_file() and path.name != "key":
                found[where] = path.read_bytes()
    found["commits"] = office.tool("git", "log", "--patch", "--format=fuller", f"{first_commit(office)}..").encode()
    return found


def first_commit(office: Office) -> str:
    """The last commit before the run."""
    return office.tool("git", "rev-parse", "strangers-v1").strip()


def without_pictures(content: bytes) -> bytes:
    return EMBEDDED.sub("", content.decode("latin-1")).encode("latin-1")


def names(office: Office) -> Iterator[bytes]:
    for row in office.forget_rows():
        yield row["id"].encode()
        yield row["path"].encode()
        yield Path(row["path"]).name.encode()


def hashes(office: Office) -> Iterator[bytes]:
    """Plain digests of the forget files, and of their pixels, as hexadecimal, base64 and bytes."""
    for path in office.forget_files():
        with Image.open(path) as image:
            contents = [path.read_bytes(), np.asarray(image).tobytes(), model_sees(path).tobytes()]
        for content in contents:
            for algorithm in ("md5", "sha1", "sha256", "sha512", "blake2b"):
                digest = hashlib.new(algorithm, content).digest()
                yield from (digest.hex().encode(), digest.hex().upper().encode(), base64.b64encode(digest), digest)


def excerpts(office: Office) -> Iterator[bytes]:
    """Pieces of the forget files and of their pixels, as bytes and in every phase of base64."""
    for path in office.forget_files():
        content = path.read_bytes()
        middle = content[len(content) // 2 :][:60]
        row = model_sees(path)[16].tobytes()
        for piece in (middle, row):
            yield piece
            yield piece.hex().encode()
            for phase in range(3):
                yield base64.b64encode(piece[phase:])[:40]


def model_sees(path: Path) -> Pixels:
    """A picture as the model is given it, ``[32, 32]``."""
    with Image.open(path) as image:
        return np.asarray(fit(image, SHAPE)[0], dtype=np.uint8)


def test_the_subject_is_not_named(run: Finished) -> None:
    word = re.compile(rb"(?<![A-Za-z0-9])" + SUBJECT.encode() + rb"(?![A-Za-z0-9])", re.IGNORECASE)
    found = left_behind(run.office, run.done)
    assert [where for where, content in found.items() if word.search(without_pictures(content))] == []
    assert word.search(run.office.policy_file.read_bytes())


def test_no_record_and_no_file_is_named(run: Finished) -> None:
    secrets = list(names(run.office))
    assert len(secrets) == 30
    found = left_behind(run.office, run.done)
    assert [where for where, content in found.items() for secret in secrets if secret in content] == []


def test_no_plain_hash_of_a_forget_file_is_kept(run: Finished) -> None:
    secrets = list(hashes(run.office))
    found = left_behind(run.office, run.done)
    assert [where for where, content in found.items() for secret in secrets if secret in content] == []


def test_no_piece_of_a_forget_file_is_kept(run: Finished) -> None:
    secrets = list(excerpts(run.office))
    found = left_behind(run.office, run.done)
    assert [where for where, content in found.items() for secret in secrets if secret in content] == []


def embedded_pictures(content: bytes) -> Iterator[Pixels]:
    for encoded in EMBEDDED.findall(content.decode("latin-1")):
        with Image.open(io.BytesIO(base64.b64decode(encoded))) as image:
            yield np.asarray(image.convert("L"), dtype=np.uint8)


def pictures(office: Office, done: Done) -> list[Pixels]:
    """Every picture in what a run left: files that are images, and images in pages."""
    found: list[Pixels] = []
    for where, content in left_behind(office, done).items():
        assert not where.endswith((".png", ".jpg", ".npy", ".npz")), where
        found += embedded_pictures(content)
    return found


def cells(picture: Pixels) -> Pixels:
    """The cells of a picture that show something, ``[n, 8, 8]``; a flat one may be in any picture."""
    grid = picture.reshape(4, CELL, 4, CELL).swapaxes(1, 2).reshape(-1, CELL, CELL)
    shown: Pixels = grid[grid.reshape(len(grid), -1).std(axis=1) > 4.0]
    return shown


def holds(picture: Pixels, wanted: Pixels) -> bool:
    """Whether any of the cells ``[n, 8, 8]`` is somewhere in the picture, within two grey levels."""
    if min(picture.shape) < CELL:
        return False
    windows = np.lib.stride_tricks.sliding_window_view(picture, (CELL, CELL)).reshape(-1, CELL * CELL).astype(np.int16)
    flat = wanted.reshape(len(wanted), -1).astype(np.int16)
    return any(bool((np.abs(windows - cell).max(axis=1) <= 2).any()) for cell in flat)


def test_no_picture_shows_any_part_of_a_forget_file(run: Finished) -> None:
    shown = pictures(run.office, run.done)
    assert shown
    for path in run.office.forget_files():
        wanted = cells(model_sees(path))
        assert len(wanted) >= 4
        assert not any(holds(picture, wanted) for picture in shown)


def test_the_search_would_find_a_picture_that_is_shown(run: Finished) -> None:
    """Pictures of s02 are marked as showable, and so they are in the report."""
    rows = (run.office.root / "data/faces/manifest.csv").read_text(encoding="utf-8").splitlines()
    showable = [run.office.root / "data/faces" / row.split(",")[1] for row in rows if ",s02," in row]
    shown = pictures(run.office, run.done)
    assert any(holds(picture, cells(model_sees(path))) for path in showable for picture in shown)


def original_outputs(office: Office) -> list[Pixels]:
    """What the original model makes of the forget pictures: the cells that it generated."""
    workspace, registry = Workspace.load(office.workspace_file), load_registry()
    entry = workspace.file.models["face-mae"]
    registered = registry.find(AdapterSpec, entry.adapter)
    adapter: Any = registry.make(registered, registry.params(registered, entry.params), entry.task)
    assert isinstance(adapter, ModelAdapter)
    adapter.load(office.root / "models/face-mae/original", torch.device("cpu"))
    seen = torch.from_numpy(np.stack([model_sees(path) for path in office.forget_files()]))[:, None].float() / 255
    with torch.no_grad():
        views = adapter.views(len(seen), torch.Generator().manual_seed(0))
        images = adapter.reconstruct(adapter.degrade(seen, views)).images
    made: Pixels = (images[:, 0, CELL:-CELL, CELL:-CELL] * 255).round().to(torch.uint8).numpy()
    return [picture.reshape(2, CELL, 2, CELL).swapaxes(1, 2).reshape(-1, CELL, CELL) for picture in made]


def test_no_picture_shows_what_the_original_made_of_a_forget_file(run: Finished) -> None:
    shown = pictures(run.office, run.done)
    for made in original_outputs(run.office):
        assert not any(holds(picture, made) for picture in shown)
