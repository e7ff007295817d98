"""One model of an example's workspace, with the records that are to be forgotten and the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from cu_audit.records import FORGET, RETAIN

from benchmarks.table.data import open_folder, open_proxy
from benchmarks.table.scale import Scale
from compliance_unlearn.api import AdapterSpec, ModelAdapter, Record, RecordSet, Task
from compliance_unlearn.demo.examples import WORKSPACE, find_example
from compliance_unlearn.engine.images import RecordImages
from compliance_unlearn.engine.noise import GaussianNoise, identity_noise, training_noise
from compliance_unlearn.engine.randomness import generator_for
from compliance_unlearn.engine.sets import OpenDataset, split_sets
from compliance_unlearn.policy import LoadedPolicy, Policy
from compliance_unlearn.registry import Registry
from compliance_unlearn.workspace import ModelEntry, Workspace

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Case:
    """What is the same for all trials of one model.

    Attributes:
        example: name of the demonstration.
        name: of the model in its workspace.
        state: folder of everything that is kept: data, models, results.
        sets: the four disjoint sets of records, none trained on twice.
        proxy: retain pictures of another source, if the example has any.
    """

    example: str
    name: str
    entry: ModelEntry
    workspace: Workspace
    registry: Registry
    state: Path
    scale: Scale
    device: torch.device
    dataset: OpenDataset
    sets: dict[str, RecordSet]
    proxy: tuple[OpenDataset, RecordSet] | None

    @property
    def family(self) -> str:
        """Name of the adapter."""
        return self.entry.adapter

    @property
    def tasks(self) -> tuple[str, ...]:
        """Kinds of task that the family can do."""
        return self.registry.find(AdapterSpec, self.family).spec.tasks

    def adapter(self, task: Task | None = None) -> ModelAdapter:
        """An adapter without weights; None takes the task of the workspace."""
        registered = self.registry.find(AdapterSpec, self.family)
        adapter = self.registry.make(
            registered, self.registry.params(registered, self.entry.params), task or self.entry.task
        )
        assert isinstance(adapter, ModelAdapter)
        return adapter

    def load(self, folder: Path, task: Task | None = None) -> ModelAdapter:
        """The frozen model of a folder."""
        return self.adapter(task).load(folder, self.device).replica()

    def images(self, records: Sequence[Record]) -> RecordImages:
        """Pictures of the model's own data set."""
        return RecordImages(self.dataset.source, records, self.adapter().image_shape)

    def chosen(self, name: str, count: int) -> RecordSet:
        """So many records of a set, or all of a small one: a choice that is the same in every trial."""
        records = self.sets[name]
        order = torch.randperm(len(records), generator=generator_for(0, f"scored {name}"))
        return RecordSet([records[index] for index in order[:count].tolist()])

    def scored(self, name: str) -> RecordSet:
        """The records of a set that are scored."""
        return self.chosen(name, self.scale.pictures)

    def noise(self, original: ModelAdapter) -> GaussianNoise:
        """The source of noise that the workspace names."""
        if self.entry.noise == "identity":
            return identity_noise(original)
        return training_noise(original, torch.cat([self.images(self.sets[name]).all() for name in (FORGET, RETAIN)]))

    def description(self) -> dict[str, Any]:
        """All that decides what models of this case learn from."""
        entry = self.entry.model_dump(mode="json", exclude={"strategies"})
        return {"model": entry, "data": self.dataset.tree.pin.digest}


def open_cases(
    example: str, registry: Registry, state: Path, scale: Scale, families: Sequence[str], device: torch.device
) -> list[Case]:
    """The models of an example's workspace whose family is asked for; writes the pictures if they are not there."""
    found = find_example(example)
    workspace = Workspace.load(scale.workspace or ROOT / found.folder / WORKSPACE)
    # The benchmark keeps its models and candidates to itself, whatever root the file names.
    workspace.root = (state / example).resolve()
    chosen = [name for name, model in workspace.file.models.items() if model.adapter in families]
    if not chosen:
        return []
    entry = workspace.file.datasets[found.dataset]
    folder = workspace.path(entry.path)
    folder.parent.mkdir(parents=True, exist_ok=True)
    found.write(folder)
    dataset = open_folder(folder, entry, registry)
    policy = Policy.load(ROOT / found.folder / found.policies[0])
    proxy = open_proxy(example, folder.with_name("proxy"), registry, policy.forget_selector)
    return [_case(example, name, workspace, registry, scale, device, dataset, policy, proxy) for name in chosen]


def _case(
    example: str,
    name: str,
    workspace: Workspace,
    registry: Registry,
    scale: Scale,
    device: torch.device,
    dataset: OpenDataset,
    policy: LoadedPolicy,
    proxy: tuple[OpenDataset, RecordSet] | None,
) -> Case:
    sets = split_sets(dataset, policy.forget_selector, workspace.training_selector(name))
    return Case(
        example=example,
        name=name,
        entry=workspace.file.models[name],
        workspace=workspace,
        registry=registry,
        state=workspace.root,
        scale=scale,
        device=device,
        dataset=dataset,
        sets={key: records for key, records in sets.items() if records},
        proxy=proxy,
    )
