"""Base training: makes a new model from pictures, through the same loop as everything else."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from compliance_unlearn.api import AdapterSpec, LoopSettings, LossTerms, ModelAdapter
from compliance_unlearn.engine.images import RecordImages, pixel_statistics
from compliance_unlearn.engine.loop import Loop, LoopState, shown_by
from compliance_unlearn.engine.planning import open_dataset, open_lineage_store
from compliance_unlearn.engine.randomness import generator_for
from compliance_unlearn.engine.reporting import Reporter
from compliance_unlearn.registry import Registry, training_settings
from compliance_unlearn.workspace import Workspace
from compliance_unlearn.workspace.files import publish_folder, replace_symlink

FIRST_VERSION = "original"
"""Folder of the version that base training makes, beside the link that names the current one."""


@dataclass(frozen=True)
class BaseTraining:
    """The training of one new model; run it again after a kill and it goes on, to the same bits.

    Attributes:
        adapter: of the family, not loaded and not created.
        images: the pictures, decoded.
        trained_on: indices of those that are trained on.
        settings: of the loop.
        folder: of the finished weights, absent until they are complete.
        state: folder of the checkpoint.
        identity: names data and settings; a checkpoint of another identity is not resumed.
        mirror: show half of the pictures mirrored, as nature might have.
    """

    adapter: ModelAdapter
    images: RecordImages
    trained_on: torch.Tensor
    settings: LoopSettings
    folder: Path
    state: Path
    identity: str
    mirror: bool = True

    def create(self, device: torch.device) -> None:
        """Make the adapter a new model with random weights.

        Raises:
            ModelError: the family cannot be trained, or the pictures do not suit it.
        """
        statistics = pixel_statistics(self.images.batch(self.trained_on))
        self.adapter.create(statistics, generator_for(self.settings.seed, "initialisation"), device)

    def optimise(self, title: str, reporter: Reporter, watch: Callable[[LoopState], None] | None = None) -> LoopState:
        """Train the model that `create` made, from the checkpoint on if there is one.

        Args:
            title: what a person is shown.
            reporter: shows it.
            watch: called after each step; must leave the model and the training's generator as they are.

        Raises:
            ModelError: the loss is not finite.
        """
        self.state.mkdir(parents=True, exist_ok=True)
        self.adapter.module.train()
        with reporter.phase(title, self.settings.steps) as advance:
            state = Loop(
                objective=self._loss,
                parameters=self.adapter.training_parameters(),
                settings=self.settings,
                generator=generator_for(self.settings.seed, "training"),
                checkpoint=self.state / "checkpoint.pt",
                identity=self.identity,
                progress=_progress(reporter, shown_by(advance), watch),
            ).run()
        self.adapter.module.eval()
        return state

    def export(self) -> Path:
        """Write the weights beside `folder`; returns where."""
        temporary = self.folder.with_name(f".{self.folder.name}.partial")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        self.adapter.export(temporary)
        return temporary

    def publish(self, exported: Path) -> None:
        """Make exported weights appear under `folder` in one rename."""
        publish_folder(exported, self.folder)

    def _loss(self, generator: torch.Generator) -> LossTerms:
        size = self.settings.batch
        batch = self.images.batch(self.trained_on[torch.randint(len(self.trained_on), (size,), generator=generator)])
        if self.mirror:
            mirrored = torch.rand(size, generator=generator) < 0.5
            batch = torch.where(mirrored[:, None, None, None], batch.flip(-1), batch)
        return LossTerms({"training": self.adapter.training_loss(batch, generator)})


def train_base_model(
    workspace: Workspace, registry: Registry, name: str, *, reporter: Reporter, device: torch.device
) -> LoopState | None:
    """Train the model ``name`` of the workspace on the records that its entry names, and make it the current version.

    Resumes a training that was interrupted. Returns None if the model exists already, also if
    the version that its link names is not on this disk.

    Raises:
        DataError: the training data cannot be used.
        ModelError: the family cannot be trained, or the loss is not finite.
    """
    entry = workspace.file.models[name]
    link = workspace.path(str(Path(entry.weights).parent)) / Path(entry.weights).name
    if link.exists() or link.is_symlink():
        return None
    folder, kept = link.parent / FIRST_VERSION, workspace.state / "training" / name
    state = None
    if not folder.exists():
        adapter = _new_adapter(workspace, registry, name)
        images, digest = _training_images(workspace, registry, name, adapter, reporter)
        training = BaseTraining(
            adapter=adapter,
            images=images,
            trained_on=torch.arange(len(images)),
            settings=training_settings(entry),
            folder=folder,
            state=kept,
            identity=f"{entry.model_dump_json()} {digest}",
        )
        training.create(device)
        state = training.optimise(f"Training {name}", reporter)
        training.publish(training.export())
    replace_symlink(link, Path(FIRST_VERSION))
    shutil.rmtree(kept, ignore_errors=True)
    return state


def _progress(
    reporter: Reporter,
    show: Callable[[LoopState, Mapping[str, float]], None],
    watch: Callable[[LoopState], None] | None,
) -> Callable[[LoopState, Mapping[str, float]], None]:
    """What the loop calls after each step; the first call finds out whether it went on from a checkpoint."""
    started = False

    def progress(state: LoopState, terms: Mapping[str, float]) -> None:
        nonlocal started
        if not started and state.step > 1:
            reporter.note(f"Carrying on after step {state.step - 1}")
        started = True
        show(state, terms)
        if watch is not None:
            watch(state)

    return progress


def _new_adapter(workspace: Workspace, registry: Registry, name: str) -> ModelAdapter:
    entry = workspace.file.models[name]
    registered = registry.find(AdapterSpec, entry.adapter)
    adapter = registry.make(registered, registry.params(registered, entry.params), entry.task)
    assert isinstance(adapter, ModelAdapter)
    return adapter


def _training_images(
    workspace: Workspace, registry: Registry, name: str, adapter: ModelAdapter, reporter: Reporter
) -> tuple[RecordImages, str]:
    """The images, and the digest of the data set that they come from."""
    training = workspace.file.models[name].training
    store = open_lineage_store(workspace, registry)
    dataset = open_dataset(workspace, registry, store, training.dataset, workspace.training_revision(name))
    records = dataset.source.resolve(workspace.training_selector(name))
    dataset.tree.verify(sorted(record.path for record in records))
    images = RecordImages(dataset.source, records, adapter.image_shape)
    with reporter.phase(f"Reading the images of {name}", len(images)) as advance:
        return images.decode_all(advance), dataset.tree.pin.digest
