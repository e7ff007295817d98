"""``workspace.yaml``: where the things are that policies name. Written once, by engineers."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from compliance_unlearn.api import Task
from compliance_unlearn.policy.errors import error_at
from compliance_unlearn.policy.model import LoopOverrides, Name, Params, StrictModel
from compliance_unlearn.policy.selector import RawSelector


def _inside(value: str) -> str:
    path = PurePosixPath(value)
    if not value.strip() or "\0" in value or "\\" in value:
        raise error_at((), "must be a relative path with forward slashes")
    if path.is_absolute() or ".." in path.parts:
        raise error_at((), "must be a path below the root, without `..`")
    return value


def _relative(value: str) -> str:
    if not value.strip() or "\0" in value or PurePosixPath(value).is_absolute():
        raise error_at((), "must be a path relative to this file")
    return value


InnerPath = Annotated[str, AfterValidator(_inside)]
"""A path below the root of the workspace, with forward slashes."""


class Use(StrictModel):
    """An object of a plugin, by name; a plain string stands for a name without parameters."""

    use: Name
    params: Params = Field(default={})


def _use(value: object) -> object:
    return {"use": value} if isinstance(value, str) else value


class DatasetEntry(StrictModel):
    """A data set: how it is read, where it lies, and which revision counts."""

    source: Name = Field(description="data source that reads it")
    path: InnerPath
    params: Params = Field(default={}, description="of the data source")
    revision: str = Field(default="HEAD", min_length=1, description="git branch, tag or commit")
    showable: RawSelector | None = Field(default=None, description="records whose pictures reports may show")


class Training(StrictModel):
    """What a model was trained on: its lineage."""

    dataset: Name
    revision: str | None = Field(default=None, min_length=1, description="None takes that of the data set")
    where: RawSelector = Field(default={"split": "train"})
    loop: LoopOverrides | None = Field(default=None, description="loop of base training")


class StrategyDefaults(StrictModel):
    """What suits this model better than a strategy's own defaults; a policy may override it."""

    params: Params = Field(default={})
    loop: LoopOverrides = Field(default={})


class ModelEntry(StrictModel):
    """A model: how it is loaded, where its weights lie, what it does and what it was trained on."""

    adapter: Name
    params: Params = Field(default={}, description="of the adapter")
    weights: InnerPath = Field(description="a folder, or a link `current` to the folder of the version in use")
    task: Task
    training: Training
    noise: Literal["identity", "training"] = Field(
        default="identity",
        description="covariance of noise images: of normalised pixels, or of the channels of the training data",
    )
    strategies: dict[Name, StrategyDefaults] = Field(default={})


class Evidence(StrictModel):
    """Where evidence is written, and where it is published."""

    folder: InnerPath = "evidence"
    sinks: dict[Name, Params] = Field(default={}, description="evidence sink -> its parameters")


class WorkspaceFile(StrictModel):
    """A workspace file."""

    version: Literal[1]
    root: Annotated[str, AfterValidator(_relative)] = Field(
        default=".",
        description="folder with data, models and evidence, relative to this file; a git and DVC repository",
    )
    lineage: Annotated[Use, BeforeValidator(_use, json_schema_input_type=Name | Use)]
    datasets: dict[Name, DatasetEntry] = Field(min_length=1)
    models: dict[Name, ModelEntry] = Field(min_length=1)
    evidence: Evidence = Evidence()
    copies_not_reached: tuple[str, ...] = Field(
        default=(), description="copies of the data that no run touches, in plain sentences"
    )
