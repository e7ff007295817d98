"""The measured worlds: what each model, and the original on noise, makes of each set, computed once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path

import torch
from cu_audit.canonical import files_sha256, folder_files
from cu_audit.records import FORGET, FORGET_ALL, FORGET_HELD_OUT

from compliance_unlearn.api import (
    FeatureNet,
    LoopSettings,
    LossTerms,
    ModelAdapter,
    NoiseSource,
    Outputs,
    PluginError,
    Reconstruction,
    Record,
    Task,
    Views,
    World,
    generated_region,
)
from compliance_unlearn.engine.images import RecordImages
from compliance_unlearn.engine.loop import Loop, LoopState
from compliance_unlearn.engine.outputs_on_disk import OutputsOnDisk
from compliance_unlearn.engine.randomness import generator_for

CHUNK = 64
"""Images in one forward pass."""

MEASURED_AT_MOST = 2000
"""Records of one set that are measured; a larger set is sampled by the run's seed, and results say how many were."""


EMBEDDING_BYTES = 8192
"""Of one picture, for the 2,048 numbers of Inception; other networks have fewer."""

FEATURES_AT_MOST = 16_384
"""Numbers of one depth that are kept of each picture: the first depth of a UNet has millions."""


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
        load: Callable[[Path, Task | None], ModelAdapter],
        kept: OutputsOnDisk | None = None,
    ) -> None:
        """Set up the original's worlds; `add` adds others.

        Args:
            sets: images of each non-empty set.
            subjects: integer ``[n]`` for each set: one number a subject, -1 where unknown.
            original_model: O, frozen.
            noise: source of n.
            original: exported folder of O.
            seed: of the run.
            load: reads a model of this family from its folder, for another task if one is given.
            kept: keeps outputs for a run that is killed and carried on; None computes them anew.
        """
        self._kept = kept
        self._seed = seed
        self._load = load
        self._sets = sets
        self._chosen = {name: self._choose(name, len(images)) for name, images in sets.items()}
        self._subjects = {name: subjects[name][chosen] for name, chosen in self._chosen.items()}
        self.counts: Mapping[str, int] = {name: len(chosen) for name, chosen in self._chosen.items()}
        self.totals: Mapping[str, int] = {name: len(images) for name, images in sets.items()}
        self._models = {World.ORIGINAL: original_model, World.NOISE: original_model}
        self._folders = {World.ORIGINAL: original}
        self._noise = noise
        self.encoder_tensors = frozenset(original_model.encoder_parameters())
        self._truth = {name: sets[name].batch(chosen) for name, chosen in self._chosen.items()}
        self._views = {
            name: original_model.views(count, self.generator(f"masks of {name}")) for name, count in self.counts.items()
        }
        self._outputs: dict[tuple[World, str], Outputs] = {}
        self._noise_outputs: dict[tuple[str, int], Outputs] = {}
        self._features: dict[tuple[World, str], tuple[torch.Tensor, ...]] = {}
        self._embeddings: dict[tuple[int, str, str, int], tuple[Outputs, torch.Tensor]] = {}

    def add(self, world: World, model: ModelAdapter, folder: Path) -> None:
        """Make the world of a model available: the candidate's, or that of the retrained reference."""
        self._models[world] = model
        self._folders[world] = folder

    def with_candidate(self, model: ModelAdapter, folder: Path) -> MeasuredWorlds:
        """The same worlds with another candidate; what was computed of the others is shared."""
        other = copy(self)
        other._models = {**self._models, World.CANDIDATE: model}
        other._folders = {**self._folders, World.CANDIDATE: folder}
        other._outputs = {key: made for key, made in self._outputs.items() if key[0] is not World.CANDIDATE}
        other._features = {key: made for key, made in self._features.items() if key[0] is not World.CANDIDATE}
        other._embeddings = dict(self._embeddings)
        return other

    @property
    def worlds(self) -> frozenset[World]:
        """See `CheckContext.worlds`."""
        return frozenset((*self._models, World.TRUTH))

    @property
    def original(self) -> Path:
        """See `CheckContext.original`."""
        return self._folders[World.ORIGINAL]

    @property
    def candidate(self) -> Path:
        """See `CheckContext.candidate`; before there is one, the original."""
        return self._folders.get(World.CANDIDATE, self.original)

    @property
    def bytes_of_sets(self) -> int:
        """Size of what one model makes of all sets."""
        return self.bytes_of(sum(self.counts.values()))

    def bytes_of(self, count: int) -> int:
        """Size of so many outputs, and of what a feature network makes of them."""
        return count * (next(iter(self._truth.values()))[0].nbytes + EMBEDDING_BYTES)

    @property
    def bytes_of_features(self) -> int:
        """Size of what one encoder makes of the records to forget, whose features checks ask for."""
        of_one = self.encoded(World.ORIGINAL, self._truth[FORGET][:1], self._views[FORGET][:1])
        return self.counts[FORGET] * sum(depth.nbytes for depth in of_one)

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
            views = model.views(count, generator)
            made = self._reconstructed(World.ORIGINAL, f"noise part {part} of {count}", noise, views)
            self._noise_outputs[key] = Outputs(noise, made.images, made.generated, torch.full((count,), -1))
        return self._noise_outputs[key]

    def embeddings(self, net: FeatureNet, outputs: Outputs) -> torch.Tensor:
        """See `CheckContext.embeddings`."""
        key = (id(outputs), net.name, net.sha256, net.edge)
        if key not in self._embeddings:
            # The outputs are kept, so that no other object can take over their identity.
            self._embeddings[key] = (outputs, self._embedded(net, outputs))
        return self._embeddings[key][1]

    @torch.no_grad()
    def _embedded(self, net: FeatureNet, outputs: Outputs) -> torch.Tensor:
        """What a network makes of outputs, from disk if this run computed it before.

        Nothing that comes from the pictures themselves is kept there: a face network's embedding is biometric data.
        """
        shown = generated_region(outputs.images, outputs.generated)
        if self._kept is None or outputs.images is outputs.truth:
            return net.embed(shown)
        made_of = ("embedding", net.name, net.sha256, str(net.edge), _content(shown))
        return self._kept.get(made_of, lambda: {"embedding": net.embed(shown)})["embedding"]

    def features(self, world: World, set_name: str, rows: torch.Tensor | None = None) -> tuple[torch.Tensor, ...]:
        """See `CheckContext.features`."""
        key = (world, set_name)
        if rows is not None and key not in self._features:
            return self.encoded(world, self._fed(world, set_name)[rows], self._views[set_name][rows])
        if key not in self._features:
            self._features[key] = self._encoded_set(world, set_name)
        found = self._features[key]
        return found if rows is None else tuple(depth[rows] for depth in found)

    def _encoded_set(self, world: World, set_name: str) -> tuple[torch.Tensor, ...]:
        """Features of a set, from disk if this run computed them before."""

        def compute() -> dict[str, torch.Tensor]:
            depths = self.encoded(world, self._fed(world, set_name), self._views[set_name])
            return {str(number): depth for number, depth in enumerate(depths)}

        if self._kept is None:
            return tuple(compute().values())
        found = self._kept.get(("features", world, self._weights_of(world), set_name), compute)
        return tuple(found[str(number)] for number in range(len(found)))

    @torch.no_grad()
    def encoded(self, world: World, images: torch.Tensor, views: Views) -> tuple[torch.Tensor, ...]:
        """What a world's encoder makes of images: features as `CheckContext.features` has them.

        Args:
            world: whose model.
            images: ``[n, channels, height, width]``.
            views: of each.
        """
        model, parts = self._model_of(world), []
        for start in range(0, len(images), CHUNK):
            shown = model.training_view(images[start : start + CHUNK], views[start : start + CHUNK])
            parts.append([self._some(depth.flatten(1)) for depth in model.encode(shown)])
        return tuple(torch.cat(depths) for depths in zip(*parts, strict=True))

    def _some(self, depth: torch.Tensor) -> torch.Tensor:
        """At most `FEATURES_AT_MOST` of the numbers of each picture, on the CPU; NaN if any of all is not finite."""
        if (width := depth.shape[1]) <= FEATURES_AT_MOST:
            return depth.float().cpu()
        places = torch.randperm(width, generator=self.generator("places of features"))[:FEATURES_AT_MOST]
        finite = depth.isfinite().all(dim=1, keepdim=True)
        return depth[:, places.sort().values.to(depth.device)].masked_fill(~finite, torch.nan).float().cpu()

    def views(self, set_name: str) -> Views:
        """See `CheckContext.views`."""
        return self._views[set_name]

    def model(self, world: World, task: Task | None = None) -> ModelAdapter:
        """See `CheckContext.model`."""
        if task is None:
            return self._model_of(world).replica()
        return self._load(self._folders[world], task)

    def noise(self, count: int, purpose: str) -> torch.Tensor:
        """See `CheckContext.noise`."""
        return self._noise.sample(count, self.generator(f"noise for {purpose}"))

    def train(
        self,
        parameters: Mapping[str, torch.nn.Parameter],
        objective: Callable[[torch.Generator], LossTerms],
        settings: LoopSettings,
        purpose: str,
        watch: Callable[[int], bool] | None = None,
    ) -> None:
        """See `CheckContext.train`."""

        def progress(state: LoopState, _: Mapping[str, float]) -> None:
            if watch is not None and not watch(state.step):
                state.stopped = purpose

        for parameter in parameters.values():
            parameter.requires_grad_(True)
        Loop(
            objective=objective,
            parameters=parameters,
            settings=settings,
            generator=self.generator(f"training for {purpose}"),
            progress=progress,
        ).run()

    def generator(self, purpose: str) -> torch.Generator:
        """See `CheckContext.generator`."""
        return generator_for(self._seed, purpose)

    def _choose(self, name: str, count: int) -> torch.Tensor:
        if count <= MEASURED_AT_MOST:
            return torch.arange(count)
        order = torch.randperm(count, generator=self.generator(f"records of {name}"))
        return order[:MEASURED_AT_MOST].sort().values

    def _compute(self, world: World, name: str) -> Outputs:
        truth, views = self._truth[name], self._views[name]
        if world is World.TRUTH:
            original = self.outputs(World.ORIGINAL, name)
            return replace(original, images=truth)
        made = self._reconstructed(world, name, self._fed(world, name), views)
        return Outputs(truth, made.images, made.generated, self._subjects[name])

    def _reconstructed(self, world: World, shown: str, images: torch.Tensor, views: Views) -> Reconstruction:
        """What a world's model makes of images, from disk if this run computed it before.

        Args:
            world: whose model.
            shown: names the images and their masks.
            images: ``[n, channels, height, width]``.
            views: of each.
        """
        model = self._model_of(world)
        if self._kept is None:
            return reconstruct(model, images, views)

        def compute() -> dict[str, torch.Tensor]:
            return vars(reconstruct(model, images, views))

        return Reconstruction(**self._kept.get((world, self._weights_of(world), shown), compute))

    def _weights_of(self, world: World) -> str:
        """Digest of the weights of a world's model."""
        return files_sha256(folder_files(self._folders[World.ORIGINAL if world is World.NOISE else world]))

    def _fed(self, world: World, name: str) -> torch.Tensor:
        """What a world's model is shown in place of a set."""
        truth = self._truth[name]
        if world is World.NOISE:
            return self._noise.sample(len(truth), self.generator(f"noise in place of {name}"))
        return truth

    def _model_of(self, world: World) -> ModelAdapter:
        if world not in self._models:
            raise PluginError(f"there is no model of the world `{world}` in this run")
        return self._models[world]

    def _union(self, world: World) -> Outputs:
        return joined([self.outputs(world, name) for name in (FORGET, FORGET_HELD_OUT) if name in self.counts])


def joined(parts: Sequence[Outputs]) -> Outputs:
    """Outputs on several sets as those on one."""
    if len(parts) == 1:
        return parts[0]
    return Outputs(
        truth=torch.cat([part.truth for part in parts]),
        images=torch.cat([part.images for part in parts]),
        generated=torch.cat([part.generated for part in parts]),
        subjects=torch.cat([part.subjects for part in parts]),
    )


def _content(images: torch.Tensor) -> str:
    """SHA-256 of the pixels of float images, and of their shape."""
    digest = hashlib.sha256(str(tuple(images.shape)).encode())
    digest.update(images.contiguous().numpy().tobytes())
    return digest.hexdigest()


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
