"""The measured worlds: what the original, the candidate and the original on noise make of each set, computed once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from cu_audit.records import FORGET, FORGET_ALL, FORGET_HELD_OUT

from compliance_unlearn.api import ModelAdapter, NoiseSource, Outputs, Reconstruction, Record, Views, World
from compliance_unlearn.engine.images import RecordImages
from compliance_unlearn.engine.randomness import generator_for

CHUNK = 64
"""Images in one forward pass."""

MEASURED_AT_MOST = 2000
"""Records of one set that are measured; a larger set is sampled by the run's seed, and results say how many were."""


class MeasuredWorlds:
    """Implements `CheckContext`: outputs are computed when a check first asks, and shared by all checks."""

    def __init__(
        self,
        *,
        sets: Mapping[str, RecordImages],
        subjects: Mapping[str, torch.Tensor],
        original_model: ModelAdapter,
        noise: NoiseSource,
        original: Path,
        seed: int,
    ) -> None:
        """Set up the original's worlds; `add_candidate` adds the other one.

        Args:
            sets: images of each non-empty set.
            subjects: integer ``[n]`` for each set: one number a subject, -1 where unknown.
            original_model: O, frozen.
            noise: source of n.
            original: exported folder of O.
            seed: of the run.
        """
        self._seed = seed
        self._sets = sets
        self._chosen = {name: self._choose(name, len(images)) for name, images in sets.items()}
        self._subjects = {name: subjects[name][chosen] for name, chosen in self._chosen.items()}
        self.counts: Mapping[str, int] = {name: len(chosen) for name, chosen in self._chosen.items()}
        self.totals: Mapping[str, int] = {name: len(images) for name, images in sets.items()}
        self._models = {World.ORIGINAL: original_model, World.NOISE: original_model}
        self._noise = noise
        self.original = original
        self.candidate = original
        self.encoder_tensors = frozenset(original_model.encoder_parameters())
        self._truth = {name: sets[name].batch(chosen) for name, chosen in self._chosen.items()}
        self._views = {
            name: original_model.views(count, self.generator(f"masks of {name}")) for name, count in self.counts.items()
        }
        self._outputs: dict[tuple[World, str], Outputs] = {}
        self._noise_outputs: dict[tuple[str, int], Outputs] = {}

    def add_candidate(self, model: ModelAdapter, folder: Path) -> None:
        """Make the candidate's world available."""
        self._models[World.CANDIDATE] = model
        self.candidate = folder

    def records(self, set_name: str) -> list[Record]:
        """The measured records of a set, in the order of the outputs."""
        images = self._sets[set_name]
        return [images.records[index] for index in self._chosen[set_name].tolist()]

    def measure(self, world: World, progress: Callable[[int], None] | None = None) -> None:
        """Compute the outputs of a world on every set now."""
        for name, count in self.counts.items():
            self.outputs(world, name)
            if progress:
                progress(count)

    def outputs(self, world: World, set_name: str) -> Outputs:
        """See `CheckContext.outputs`."""
        key = (world, set_name)
        if key not in self._outputs:
            self._outputs[key] = self._union(world) if set_name == FORGET_ALL else self._compute(world, set_name)
        return self._outputs[key]

    def noise_outputs(self, part: str, count: int) -> Outputs:
        """See `CheckContext.noise_outputs`."""
        key = (part, count)
        if key not in self._noise_outputs:
            generator = self.generator(f"noise part {part}")
            model = self._models[World.ORIGINAL]
            noise = self._noise.sample(count, generator)
            made = reconstruct(model, noise, model.views(count, generator))
            self._noise_outputs[key] = Outputs(noise, made.images, made.generated, torch.full((count,), -1))
        return self._noise_outputs[key]

    def generator(self, purpose: str) -> torch.Generator:
        """See `CheckContext.generator`."""
        return generator_for(self._seed, purpose)

    def _choose(self, name: str, count: int) -> torch.Tensor:
        if count <= MEASURED_AT_MOST:
            return torch.arange(count)
        order = torch.randperm(count, generator=self.generator(f"records of {name}"))
        return order[:MEASURED_AT_MOST].sort().values

    def _compute(self, world: World, name: str) -> Outputs:
        fed = truth = self._truth[name]
        if world is World.NOISE:
            fed = self._noise.sample(len(truth), self.generator(f"noise in place of {name}"))
        made = reconstruct(self._models[world], fed, self._views[name])
        return Outputs(truth, made.images, made.generated, self._subjects[name])

    def _union(self, world: World) -> Outputs:
        parts = [self.outputs(world, name) for name in (FORGET, FORGET_HELD_OUT) if name in self.counts]
        if len(parts) == 1:
            return parts[0]
        one, other = parts
        return replace(
            one,
            truth=torch.cat([one.truth, other.truth]),
            images=torch.cat([one.images, other.images]),
            generated=torch.cat([one.generated, other.generated]),
            subjects=torch.cat([one.subjects, other.subjects]),
        )


@torch.no_grad()
def reconstruct(model: ModelAdapter, images: torch.Tensor, views: Views) -> Reconstruction:
    """Reconstructions of ``[n, channels, height, width]`` on the CPU, in chunks."""
    parts = [
        model.reconstruct(model.degrade(images[start : start + CHUNK], views[start : start + CHUNK]))
        for start in range(0, len(images), CHUNK)
    ]
    return Reconstruction(
        images=torch.cat([part.images.cpu() for part in parts]),
        generated=torch.cat([part.generated.cpu() for part in parts]),
    )
