"""Base training: makes a model of the workspace from its training data, through the same loop as everything else."""

from __future__ import annotations

import shutil
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


def train_base_model(
    workspace: Workspace, registry: Registry, name: str, *, reporter: Reporter, device: torch.device
) -> LoopState | None:
    """Train the model ``name`` of the workspace on the records that its entry names, and make it the current version.

    Resumes a training that was interrupted. Returns None if the model exists already.

    Raises:
        DataError: the training data cannot be used.
        ModelError: the family cannot be trained, or the loss is not finite.
    """
    entry = workspace.file.models[name]
    link = workspace.path(entry.weights)
    if link.exists():
        return None
    folder = link.parent / FIRST_VERSION
    settings = training_settings(entry)
    state = None
    if not folder.exists():
        adapter = _new_adapter(workspace, registry, name)
        images, digest = _training_images(workspace, registry, name, adapter, reporter)
        adapter.create(pixel_statistics(images.all()), generator_for(settings.seed, "initialisation"), device)
        identity = f"{entry.model_dump_json()} {digest}"
        state = _optimise(adapter, images, settings, workspace.state / "training" / name, identity, reporter)
        temporary = folder.with_name(f".{FIRST_VERSION}.partial")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        adapter.export(temporary)
        publish_folder(temporary, folder)
    replace_symlink(link, Path(FIRST_VERSION))
    shutil.rmtree(workspace.state / "training" / name, ignore_errors=True)
    return state


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


def _optimise(
    adapter: ModelAdapter,
    images: RecordImages,
    settings: LoopSettings,
    state_folder: Path,
    identity: str,
    reporter: Reporter,
) -> LoopState:
    def objective(generator: torch.Generator) -> LossTerms:
        batch = images.batch(torch.randint(len(images), (settings.batch,), generator=generator))
        mirrored = torch.rand(settings.batch, generator=generator) < 0.5
        batch = torch.where(mirrored[:, None, None, None], batch.flip(-1), batch)
        return LossTerms({"training": adapter.training_loss(batch, generator)})

    state_folder.mkdir(parents=True, exist_ok=True)
    adapter.module.train()
    parameters = {key: value for key, value in adapter.module.named_parameters() if value.requires_grad}
    with reporter.phase(f"Training {state_folder.name}", settings.steps) as advance:
        state = Loop(
            objective=objective,
            parameters=parameters,
            settings=settings,
            generator=generator_for(settings.seed, "training"),
            checkpoint=state_folder / "checkpoint.pt",
            identity=identity,
            progress=shown_by(advance),
        ).run()
    adapter.module.eval()
    return state
