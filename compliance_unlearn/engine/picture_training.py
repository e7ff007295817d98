"""Training a new model on a plain folder of pictures: no workspace, no version control."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from cu_audit.canonical import canonical, files_sha256, folder_files
from pydantic import BaseModel

from compliance_unlearn.api import AdapterSpec, LoopSettings, ModelAdapter, ModelError, PolicyError, RecordSet, Task
from compliance_unlearn.engine.images import RecordImages, notes
from compliance_unlearn.engine.loop import LoopState
from compliance_unlearn.engine.plain_folder import TRAINING_SPLIT, decode, hold_out
from compliance_unlearn.engine.previews import Previews
from compliance_unlearn.engine.reporting import Reporter
from compliance_unlearn.engine.sets import OpenDataset
from compliance_unlearn.engine.training import BaseTraining
from compliance_unlearn.engine.training_output import CURRENT, HELD_OUT, TrainingOutput
from compliance_unlearn.registry import Registered, Registry
from compliance_unlearn.workspace.files import write_atomic
from compliance_unlearn.workspace.workspace import FILE_NAME


@dataclass(frozen=True)
class PictureTraining:
    """One `cu train`.

    Attributes:
        dataset: the folder of pictures.
        records: all pictures in it.
        registry: of the plugins.
        adapter: the family.
        params: its parameters.
        task: what the model learns.
        settings: of the loop.
        mirror: show half of the pictures mirrored.
        preview_every: steps between previews, 0 for none.
        out: folder that is made.
    """

    dataset: OpenDataset
    records: RecordSet
    registry: Registry
    adapter: Registered[AdapterSpec]
    params: BaseModel
    task: Task
    settings: LoopSettings
    mirror: bool
    preview_every: int
    out: Path

    def run(self, reporter: Reporter, device: torch.device) -> dict[str, Any]:
        """Train; or go on, or tell the result again, if the folder holds a training with the same settings.

        Returns:
            The result as JSON data.

        Raises:
            PolicyError: the folder belongs to something else, or lies among the pictures.
            DataError: the pictures cannot be used.
            ModelError: the family cannot be trained on them.
        """
        if self.out.resolve().is_relative_to(self.dataset.tree.root.resolve()):
            raise PolicyError("--out lies inside of --data, where previews would count as pictures; name another")
        output = TrainingOutput(self.out, self._settings())
        finished = output.look()
        if finished is not None:
            reporter.note("This training was finished before; this is its result.")
            return self._places() | finished
        adapter = self.registry.make(self.adapter, self.params, self.task)
        assert isinstance(adapter, ModelAdapter)
        trained_on, held_out = hold_out(self.dataset, self.records)
        images = decode(self.dataset, self.records, adapter.image_shape, reporter)
        said = self._notes(images)
        for line in said:
            reporter.note(line)
        training = BaseTraining(
            adapter=adapter,
            images=images,
            trained_on=trained_on,
            settings=self.settings,
            folder=output.weights,
            state=output.state,
            identity=canonical(output.settings).decode(),
            mirror=self.mirror,
        )
        training.create(device)
        with output.held():
            self._write_held_out(held_out)
            return self._places() | self._train(training, held_out, output, said, reporter)

    def _settings(self) -> dict[str, Any]:
        return {
            "adapter": self.adapter.spec.name,
            "params": self.params.model_dump(mode="json"),
            "task": self.task.model_dump(mode="json"),
            "loop": self.settings.model_dump(mode="json"),
            "mirror": self.mirror,
            "data": self.dataset.tree.pin.digest,
        }

    def _places(self) -> dict[str, Any]:
        """Where the weights are, from here and as a workspace says it, and which records they were trained on."""
        weights, held_out = in_workspace(self.out / CURRENT), in_workspace(self.out / HELD_OUT)
        where = {"split": TRAINING_SPLIT} if self._split else {"not": {"ids_file": held_out}}
        return {
            "folder": str(self.out),
            "weights": str(self.out / CURRENT),
            "weights_in_workspace": weights,
            "where": where,
        }

    def _notes(self, images: RecordImages) -> list[str]:
        left_out = len(self.dataset.tree.files()) - len(self.records)
        lines = [f"{left_out} files of the data have no ending of a picture and were left out"] if left_out else []
        return lines + notes(images.conversions, len(images))

    def _train(
        self,
        training: BaseTraining,
        held_out: torch.Tensor,
        output: TrainingOutput,
        said: list[str],
        reporter: Reporter,
    ) -> dict[str, Any]:
        previews = Previews(training.adapter, training.images, held_out, self.settings.seed)

        def watch(state: LoopState) -> None:
            due = state.step % self.preview_every == 0 or state.step == self.settings.steps
            if due and len(previews):
                previews.write(output.preview(state.step))

        state = training.optimise(f"Training {self.out.name}", reporter, watch if self.preview_every else None)
        with reporter.phase("Measuring held-out pictures", 1) as advance:
            psnr = previews.psnr()
            advance()
        if psnr is not None and math.isnan(psnr):
            raise ModelError("the model that came out computes no numbers any more; try a smaller --learning-rate")
        exported = training.export()
        files = folder_files(exported)
        result = {
            "files": files,
            "sha256": files_sha256(files),
            "pictures": {"trained_on": len(training.trained_on), "held_out": len(held_out), "measured": len(previews)},
            "steps": state.step,
            "seconds": round(state.seconds, 1),
            "loss": state.curve[max(state.curve)]["training"] if state.curve else None,
            "psnr_held_out": psnr,
            "notes": said,
        }
        output.describe(result)
        training.publish(exported)
        output.finish()
        return result

    @property
    def _split(self) -> bool:
        """Whether folders of the data say what is held out."""
        return any(record.split != TRAINING_SPLIT for record in self.records)

    def _write_held_out(self, held_out: torch.Tensor) -> None:
        if not self._split:
            lines = [f"{self.records[index].id}\n" for index in held_out.tolist()]
            write_atomic(self.out / HELD_OUT, "".join(lines).encode())


def in_workspace(path: Path) -> str:
    """A path as the nearest workspace file above would name it; as it was given, or with a gap to fill, without one."""
    place = path.parent.resolve() / path.name
    for folder in place.parents:
        if (folder / FILE_NAME).is_file():
            return place.relative_to(folder).as_posix()
    if path.is_absolute() or ".." in path.parts:
        return f"PATH-FROM-WORKSPACE-FILE/{place.parent.name}/{path.name}"
    return path.as_posix()
