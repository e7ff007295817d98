"""What is trained and how: the options of `cu train` over its settings file over what suits most."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from compliance_unlearn.api import AdapterSpec, Inpaint, LoopSettings, PolicyError, Task
from compliance_unlearn.policy.errors import details, error_lines, line, validate
from compliance_unlearn.policy.model import LoopOverrides, Params, StrictModel
from compliance_unlearn.policy.yaml import Located, dotted, load_yaml
from compliance_unlearn.registry import Registered, Registry

LOOP: Mapping[str, Any] = {
    "steps": 2000,
    "batch": 32,
    "learning_rate": 3e-4,
    "weight_decay": 0.05,
    "schedule": "cosine",
    "precision": "auto",
}
"""What suits small models of most families."""

WARMUP_SHARE, WARMUP_AT_MOST = 10, 100
"""The learning rate rises over a tenth of the training, and over so many steps at most."""


class SettingsFile(StrictModel):
    """The file that ``--settings`` names; its keys mean what they mean for a model in ``workspace.yaml``."""

    params: Params = Field(default={}, description="of the adapter")
    task: Task | None = None
    loop: LoopOverrides = Field(default={}, description="loop of base training")


@dataclass(frozen=True)
class TrainSettings:
    """What is trained and how; parameters are not complete before the pictures were looked at."""

    registry: Registry
    adapter: Registered[AdapterSpec]
    raw: Mapping[str, Any]
    task: Task
    loop: LoopSettings

    def params_for(self, has_colour: Callable[[], bool]) -> BaseModel:
        """Parameters of the adapter; if nobody said how many channels a new model has, three as soon as one has colour.

        Args:
            has_colour: looks at the pictures, which is done only if it matters.
        """
        whole = self.registry.params(self.adapter, self.raw).model_dump(mode="json")
        architecture = self.raw.get("architecture", {})
        if "channels" in whole.get("architecture", {}) and "channels" not in architecture:
            channels = 3 if has_colour() else 1
            return self.registry.params(
                self.adapter, {**self.raw, "architecture": {**architecture, "channels": channels}}
            )
        return self.registry.params(self.adapter, self.raw)


def load_settings(
    path: Path | None,
    registry: Registry,
    adapter: Registered[AdapterSpec],
    *,
    task: str | None,
    size: int | None,
    loop: Mapping[str, Any],
) -> TrainSettings:
    """Put settings together and check them, without a look at the pictures.

    Args:
        path: the settings file.
        registry: of the plugins.
        adapter: the family.
        task: kind of task, which has its default size; the file may say more.
        size: edge of the pictures in pixels.
        loop: settings of the loop that were given as options, None where one was not.

    Raises:
        PolicyError: says which option or which line of the file is wrong.
    """
    located = None if path is None else load_yaml(path)
    file = SettingsFile() if located is None else validate(SettingsFile, located)
    chosen = _task(task, file, located, adapter)
    return TrainSettings(registry, adapter, _params(registry, adapter, file, located, size), chosen, _loop(file, loop))


def _task(kind: str | None, file: SettingsFile, located: Located | None, adapter: Registered[AdapterSpec]) -> Task:
    can = ", ".join(adapter.spec.tasks)
    if kind is None:
        task = file.task or Inpaint()
        if task.kind in adapter.spec.tasks:
            return task
        problem = f"`{adapter.spec.name}` cannot do `{task.kind}`; it can do: {can}"
        raise PolicyError(line(located, ("task",), problem) if located and file.task else f"--task: {problem}")
    if kind not in adapter.spec.tasks:
        raise PolicyError(f"--task: `{adapter.spec.name}` cannot do `{kind}`; it can do: {can}")
    chosen: Task = TypeAdapter(Task).validate_python({"kind": kind})
    return chosen


def _params(
    registry: Registry, adapter: Registered[AdapterSpec], file: SettingsFile, located: Located | None, size: int | None
) -> Mapping[str, Any]:
    raw = dict(file.params)
    architecture = raw.get("architecture", {})
    if size is not None and isinstance(architecture, Mapping):
        raw["architecture"] = {**architecture, "image_size": size}
    try:
        registry.params(adapter, raw)
    except ValidationError as error:
        found = details(error)
        if located is None:
            problems = "; ".join(
                f"{dotted(each['loc'])}: {each['msg'].removeprefix('Value error, ')}" for each in found
            )
            raise PolicyError(f"--size {size} does not suit `{adapter.spec.name}`: {problems}") from None
        model = registry.params_model(adapter)
        raise PolicyError("\n".join(error_lines(found, located, ("params",), model))) from None
    return raw


def _loop(file: SettingsFile, options: Mapping[str, Any]) -> LoopSettings:
    given = {key: value for key, value in options.items() if value is not None}
    merged = {**LOOP, **file.loop, **given}
    merged.setdefault("warmup", min(WARMUP_AT_MOST, int(merged["steps"]) // WARMUP_SHARE))
    try:
        return LoopSettings.model_validate(merged)
    except ValidationError as error:
        problems = [f"--{str(each['loc'][0]).replace('_', '-')}: {each['msg']}" for each in details(error)]
        raise PolicyError("\n".join(problems)) from None
