"""The source ``image-folder``: a folder for each class, perhaps inside folders for the splits (ImageNet, Places)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from compliance_unlearn.api import DataError, DataTree
from cu_standard.sources.images import is_hidden, is_image_path
from cu_standard.sources.params import ImageFolderParams
from cu_standard.sources.table import TableSource

SPLITS = frozenset({"train", "val", "valid", "validation", "test"})


class ImageFolderSource(TableSource):
    """Reads labels and splits from the names of folders: ``cat/1.jpg``, ``train/cat/1.jpg``, ``train/a/arch/1.jpg``.

    The id of a record is its path. The label is the path between split and file (Places: ``a/arch``); an image that
    lies in no class folder has none. Without folders for the splits every image has the split ``train``: what nobody
    held out was trained on, and the default ``training: {where: {split: train}}`` of a workspace finds it. Hidden files
    and files that are not images are left out.
    """

    def __init__(self, params: ImageFolderParams, tree: DataTree) -> None:
        super().__init__(tree)
        self._params = params

    def _read(self) -> Any:
        import pyarrow as pa

        images = [path for path in self.tree.files() if is_image_path(path)]
        if not images:
            raise DataError("the data set's folder holds no images")
        _check_classes([*self.tree.files(), *_left_there(self.tree.root)], images)
        splits, labels = _folders(images)
        columns: dict[str, Sequence[str | None]] = {"id": images, "path": images, "label": labels, "split": splits}
        return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items() if any(values)})


def _check_classes(files: Iterable[str], images: Iterable[str]) -> None:
    """Refuse a class folder without images: something was not copied."""
    empty = {folder for path in files if not is_hidden(folder := path.rpartition("/")[0])} - _ancestors(images) - {""}
    if empty:
        raise DataError(f"{len(empty)} folders of the data set hold no images; fill them or take them away")


def _left_there(root: Path) -> Iterable[str]:
    """A path in each folder of the working copy that holds no image, nor has one below; version control knows none."""
    found = {Path(folder).relative_to(root).as_posix(): files for folder, _, files in os.walk(root)}
    full = _ancestors(f"{folder}/{name}" for folder, names in found.items() for name in names if is_image_path(name))
    return [f"{folder}/" for folder in found if folder not in full and folder != "."]


def _ancestors(paths: Iterable[str]) -> set[str]:
    parents = {path.rpartition("/")[0] for path in paths}
    return {str(folder) for parent in parents for folder in (PurePosixPath(parent), *PurePosixPath(parent).parents)}


def _folders(images: list[str]) -> tuple[list[str | None], list[str | None]]:
    """Split and label of each image.

    Raises:
        DataError: some images lie in split folders and others beside them, so that neither reading is safe.
    """
    heads = {path.partition("/")[0] for path in images}
    if heads <= SPLITS:
        parts = [path.split("/") for path in images]
        return [part[0] for part in parts], ["/".join(part[1:-1]) or None for part in parts]
    if any(path.partition("/")[0] in SPLITS and path.count("/") > 1 for path in images):
        raise DataError("some images lie in folders named after splits (train, val, test) and others beside them")
    return ["train"] * len(images), [path.rpartition("/")[0] or None for path in images]
