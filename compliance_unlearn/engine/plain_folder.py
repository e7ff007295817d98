"""A folder of pictures without version control, as a data set: for training on pictures of one's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from cu_audit.canonical import file_sha256, files_sha256

from compliance_unlearn.api import DataError, DataSource, DataSourceSpec, DataTree, ImageShape, Pin, RecordSet
from compliance_unlearn.engine.images import RecordImages
from compliance_unlearn.engine.reporting import Reporter
from compliance_unlearn.engine.sets import OpenDataset
from compliance_unlearn.registry import Registry

SOURCE = "image-folder"
"""Name of the data source that reads the folder."""

HELD_OUT_SHARE = 10
"""One picture in so many is held out, where no folder says which ones are."""

FEWEST = 10
"""A training needs so many pictures."""

TRAINING_SPLIT = "train"

GREY_MODES = ("1", "L", "LA", "I;16", "I;16B", "I;16L")
"""Modes of Pillow without colours."""


class PlainTree(DataTree):
    """The files below a folder as they are now; hidden ones are left out, links to files are followed."""

    def __init__(self, root: Path, reporter: Reporter) -> None:
        """List and hash all files.

        Raises:
            DataError: a file cannot be read, or a folder below is empty.
        """
        try:
            paths = _files(root)
            with reporter.phase("Looking at the pictures", len(paths)) as advance:
                self._digests = {name: _sha256(root / name, advance) for name in paths}
        except OSError as error:
            raise DataError(f"a file or folder of the data cannot be read: {error.strerror}") from None
        super().__init__(Pin("pictures", "not under version control", files_sha256(self._digests)), root)

    def files(self) -> Mapping[str, str]:
        """Relative path -> SHA-256."""
        return self._digests

    def read(self, path: str) -> bytes:
        """Bytes of a file as it is now; there is no other version."""
        if path not in self._digests:
            raise DataError("the file is not part of the data")
        self.verify([path])
        return (self.root / path).read_bytes()

    def verify(self, paths: Sequence[str], progress: Callable[[int], None] | None = None) -> None:
        """Hash the files again and compare with what was found when the tree was made."""
        changed = 0
        for path in paths:
            file = self.root / path
            changed += not file.is_file() or _sha256(file, progress) != self._digests.get(path)
        if changed:
            raise DataError(f"{changed} of {len(paths)} files are missing or have changed since they were looked at")


def open_folder(root: Path, registry: Registry, reporter: Reporter) -> tuple[OpenDataset, RecordSet]:
    """The folder as a data set, and all its pictures.

    Raises:
        DataError: it holds too few pictures, or a folder without any.
        PluginError: no plugin reads folders of pictures.
    """
    tree = PlainTree(root, reporter)
    registered = registry.find(DataSourceSpec, SOURCE)
    source = registry.make(registered, registry.params(registered, {}), tree)
    assert isinstance(source, DataSource)
    records = source.resolve(None)
    if len(records) < FEWEST:
        raise DataError(f"the folder holds {len(records)} pictures; a training needs at least {FEWEST}")
    return OpenDataset(tree, source), records


def has_colour(dataset: OpenDataset, records: RecordSet, reporter: Reporter) -> bool:
    """Whether any picture has colours, by the kind of its file.

    Raises:
        DataError: says how many were read before one that cannot be, and names none.
    """
    with reporter.phase("Looking for colours", len(records)) as advance:
        for number, record in enumerate(records, start=1):
            try:
                coloured = dataset.source.open(record).mode not in GREY_MODES
            except DataError as error:
                raise _numbered(error, number, len(records)) from None
            if coloured:
                return True
            advance(1)
    return False


def decode(dataset: OpenDataset, records: RecordSet, shape: ImageShape, reporter: Reporter) -> RecordImages:
    """All pictures, decoded.

    Raises:
        DataError: says how many were read before one that cannot be, and names none.
    """
    images, read = RecordImages(dataset.source, records, shape), 0
    with reporter.phase("Reading the pictures", len(images)) as advance:

        def count(done: int) -> None:
            nonlocal read
            read += done
            advance(done)

        try:
            return images.decode_all(count)
        except DataError as error:
            raise _numbered(error, read + 1, len(images)) from None


def hold_out(dataset: OpenDataset, records: RecordSet) -> tuple[torch.Tensor, torch.Tensor]:
    """Divide pictures into those to train on and those that are never trained on.

    Folders for the splits say which are which. Where there are none, a tenth is held out, that of the smallest SHA-256:
    copies of one picture stay together.

    Returns:
        Indices of the records to train on, and of the others, both sorted.

    Raises:
        DataError: no picture is left to train on.
    """
    apart = [index for index, record in enumerate(records) if record.split != TRAINING_SPLIT]
    if not apart:
        digests = [dataset.tree.files()[record.path] for record in records]
        largest = sorted(digests)[len(digests) // HELD_OUT_SHARE - 1]
        apart = [index for index, digest in enumerate(digests) if digest <= largest and _is_line(records[index].id)]
    held_out = torch.tensor(apart, dtype=torch.long)
    kept = torch.ones(len(records), dtype=torch.bool)
    kept[held_out] = False
    if not kept.any():
        raise DataError(f"no picture is left to train on; put some in a folder `{TRAINING_SPLIT}`")
    return torch.nonzero(kept).flatten(), held_out


def _numbered(error: DataError, number: int, of: int) -> DataError:
    return DataError(f"picture {number} of {of}, in the order of their paths: {error}")


def _is_line(text: str) -> bool:
    """Whether an `ids_file` can hold this id: a line of its own that is no comment."""
    return text.splitlines() == [text] == [text.strip()] and not text.startswith("#")


def _files(root: Path) -> list[str]:
    """Relative paths of all files that are not hidden, sorted.

    Raises:
        DataError: a folder is empty, or something is neither file nor folder, or not named in UTF-8; names none.
    """
    found = {path.relative_to(root): path for path in root.rglob("*")}
    shown = {name: path for name, path in found.items() if not any(part.startswith(".") for part in name.parts)}
    folders = {name for name, path in shown.items() if path.is_dir()}
    files = shown.keys() - folders
    wrong = {
        "folders of the data are empty": len(folders - {name.parent for name in shown}),
        "entries of the data are links to nothing, or no files": sum(not shown[name].is_file() for name in files),
        "files of the data have names that are not UTF-8": sum(not _is_text(name.as_posix()) for name in files),
    }
    for problem, count in wrong.items():
        if count:
            raise DataError(f"{count} {problem}")
    return sorted(name.as_posix() for name in files)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _sha256(path: Path, progress: Callable[[int], None] | None) -> str:
    digest = file_sha256(path)
    if progress is not None:
        progress(1)
    return digest
