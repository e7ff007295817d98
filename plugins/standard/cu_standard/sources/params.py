"""What a workspace may say about a data set."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class ImageFolderParams(BaseModel):
    """Parameters of the source ``image-folder``: it has none."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ManifestParams(BaseModel):
    """Parameters of the source ``manifest``.

    Columns are known to policies as ``path``, ``id``, ``subject``, ``label`` and ``split``; say here what the manifest
    calls them if it uses other names. Only the path is required; without an id, the path is the id.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    manifest: str = Field(default="manifest.csv", description="file in the data set, .csv or .parquet")
    path_column: str = Field(default="path", min_length=1)
    id_column: str = Field(default="id", min_length=1)
    subject_column: str = Field(default="subject", min_length=1)
    label_column: str = Field(default="label", min_length=1)
    split_column: str = Field(default="split", min_length=1)

    def columns(self) -> dict[str, str]:
        """Column as policies know it -> column of the manifest."""
        return {
            "id": self.id_column,
            "path": self.path_column,
            "subject": self.subject_column,
            "label": self.label_column,
            "split": self.split_column,
        }

    @model_validator(mode="after")
    def _readable(self) -> Self:
        if not self.manifest.endswith((".csv", ".parquet")):
            raise ValueError("manifest must be a .csv or a .parquet file")
        return self
