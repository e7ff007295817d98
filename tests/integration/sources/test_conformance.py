"""Both sources keep the contract that every data source keeps, over real pictures."""

from __future__ import annotations

from pathlib import Path

import pytest
from cu_standard.sources.image_folder import ImageFolderSource
from cu_standard.sources.manifest import ManifestSource
from cu_standard.sources.params import ImageFolderParams, ManifestParams

from compliance_unlearn.api import Compare, DataSource, Operator
from compliance_unlearn.testing.source import DataSourceConformance
from compliance_unlearn.testing.trees import FolderTree

from .conftest import save_digits


class TestManifest(DataSourceConformance):
    selector = Compare("label", Operator.IN, ("2", "3"))

    @pytest.fixture
    def source(self, tmp_path: Path) -> DataSource:
        names = [f"{index}.png" for index in range(6)]
        save_digits(tmp_path, names)
        labels = ["0", "", "2", "3", "", "5"]
        rows = "".join(f"{name},{label}\n" for name, label in zip(names, labels, strict=True))
        (tmp_path / "manifest.csv").write_text("path,label\n" + rows)
        return ManifestSource(ManifestParams(), FolderTree(tmp_path))


class TestImageFolder(DataSourceConformance):
    selector = Compare("label", Operator.EQUALS, ("two",))

    @pytest.fixture
    def source(self, tmp_path: Path) -> DataSource:
        save_digits(tmp_path, ["train/one/a.png", "train/two/b.png", "val/two/c.png", "val/d.png"])
        return ImageFolderSource(ImageFolderParams(), FolderTree(tmp_path))
