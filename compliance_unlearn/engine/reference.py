"""The retrained reference R: a model made as the original was, but without the records to forget."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch

from compliance_unlearn.api import LoopSettings, ModelAdapter, ModelError
from compliance_unlearn.engine.images import RecordImages
from compliance_unlearn.engine.reporting import Reporter
from compliance_unlearn.engine.training import BaseTraining

NAME_DIGITS = 12


@dataclass(frozen=True)
class Reference:
    """The training of the reference of one model in one run; call it again after a crash and it goes on.

    Attributes:
        adapter: of the family, with the workspace's parameters; neither loaded nor created.
        original: that the reference is compared with.
        images: of the retain set: all that the original was trained on, without what must be forgotten.
        settings: of the loop that trained the original.
        state: folder of the run for this model.
        identity: plan and code; a checkpoint of another identity is not resumed.
    """

    adapter: ModelAdapter
    original: ModelAdapter
    images: RecordImages
    settings: LoopSettings
    state: Path
    identity: str

    def require_possible(self, device: torch.device) -> None:
        """Find out whether there can be a reference, before anything is changed.

        Raises:
            ModelError: the family cannot be trained here, or the workspace describes another architecture than the
                original has.
        """
        self._training(self.state).create(device)
        made, there = _shapes(self.adapter), _shapes(self.original)
        if made != there:
            different = sum(made.get(name) != there.get(name) for name in {*made, *there})
            raise ModelError(
                f"{different} of {len(there)} tensors of the original have other names or shapes in a new model with "
                "the workspace's `params`; a reference needs the original's architecture"
            )

    def train(self, name: str, device: torch.device, reporter: Reporter) -> Path:
        """Make the reference, or find it finished; returns the folder of its weights.

        Args:
            name: of the model, for the person who waits.
            device: to compute on.
            reporter: shows progress.

        Raises:
            ModelError: the loss is not finite.
        """
        made_by = hashlib.sha256(self.identity.encode()).hexdigest()[:NAME_DIGITS]
        folder = self.state / f"reference-{made_by}"
        if folder.exists():
            return folder
        training = self._training(folder)
        training.create(device)
        training.optimise(f"Training {name} without the records to forget", reporter)
        training.publish(training.export())
        return folder

    def _training(self, folder: Path) -> BaseTraining:
        return BaseTraining(
            adapter=self.adapter,
            images=self.images,
            trained_on=torch.arange(len(self.images)),
            settings=self.settings,
            folder=folder,
            state=self.state / "reference-training",
            identity=self.identity,
        )


def _shapes(adapter: ModelAdapter) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in adapter.module.state_dict().items()}
