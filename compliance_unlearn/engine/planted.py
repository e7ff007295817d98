"""Planted worlds: candidates whose answer is known, put together from what a real model makes of pictures and noise.

What the original makes of the pictures to forget, of the retained ones and of noise is computed once. Each draw then
takes other pictures and other noise outputs, and puts them together as a candidate that forgot nothing, half, all, or
is broken. No model stands behind such a candidate, so a check that wants to change one cannot be tried on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from pathlib import Path

import torch
from cu_audit.records import FORGET, FORGET_ALL, FORGET_HELD_OUT, RETAIN, RETAIN_HELD_OUT

from compliance_unlearn.api import (
    DataError,
    FeatureNet,
    LoopSettings,
    LossTerms,
    ModelAdapter,
    ModelError,
    Outputs,
    RandomMask,
    Task,
    Views,
    World,
)
from compliance_unlearn.engine.randomness import generator_for
from compliance_unlearn.engine.worlds import MeasuredWorlds, joined

NOISE_OUTPUTS = 8192
"""Outputs on noise that are computed once; a draw takes them from a new random order, none twice."""

AT_MOST = {FORGET_HELD_OUT: 100, RETAIN: 500, RETAIN_HELD_OUT: 100}
"""Pictures of a draw, so that a check takes seconds."""


class PlantedWorld(StrEnum):
    """What is known of a candidate."""

    NOTHING_FORGOTTEN = "nothing forgotten"
    HALF_FORGOTTEN = "half forgotten"
    FORGOTTEN = "forgotten"
    NEVER_TRAINED = "never trained"
    BROKEN = "broken for all"

    @property
    def forget_is_noise(self) -> bool:
        """Whether all its outputs on what must be forgotten are outputs on noise."""
        return self in (PlantedWorld.FORGOTTEN, PlantedWorld.BROKEN)

    def kept(self, set_name: str) -> float:
        """Share of a set on which the candidate answers as the original does; on the others it answers noise."""
        if self is PlantedWorld.BROKEN:
            return 0.0
        if set_name in (RETAIN, RETAIN_HELD_OUT):
            return 1.0
        return {PlantedWorld.HALF_FORGOTTEN: 0.5, PlantedWorld.FORGOTTEN: 0.0}.get(self, 1.0)


class Pool:
    """What planted worlds are put together from."""

    def __init__(self, worlds: MeasuredWorlds) -> None:
        """Take over the original's worlds.

        Raises:
            ModelError: each picture has its own mask, so that an output on noise cannot stand in for another one.
        """
        self.worlds = worlds
        if isinstance(worlds.model(World.ORIGINAL).task, RandomMask):
            raise ModelError("calibration needs a task that hides the same pixels of each picture, not random-mask")

    @cached_property
    def noise(self) -> Outputs:
        """O(n): what the original makes of noise."""
        return self.worlds.noise_outputs("calibration", NOISE_OUTPUTS)

    @cached_property
    def noise_features(self) -> tuple[torch.Tensor, ...]:
        """What its encoder makes of the same noise."""
        views = self.worlds.model(World.ORIGINAL).views(len(self.noise), self.worlds.generator("calibration views"))
        return self.worlds.encoded(World.ORIGINAL, self.noise.truth, views)

    def largest(self, world: PlantedWorld) -> int:
        """Pictures to forget that a draw can have."""
        return self.worlds.counts.get(FORGET_HELD_OUT if world is PlantedWorld.NEVER_TRAINED else FORGET, 0)


@dataclass(frozen=True)
class _Rows:
    """Where the outputs of a set come from: rows of a set of the pool, or of its noise where ``kept`` is False."""

    source: str
    indices: torch.Tensor
    noise: torch.Tensor
    kept: torch.Tensor

    def __getitem__(self, rows: torch.Tensor) -> _Rows:
        return _Rows(self.source, self.indices[rows], self.noise[rows], self.kept[rows])

    def mixed(self, of_pictures: torch.Tensor, of_noise: torch.Tensor) -> torch.Tensor:
        """Rows of one tensor or of the other."""
        pictures, noise = of_pictures[self.indices], of_noise[self.noise]
        return torch.where(self.kept.view(-1, *[1] * (pictures.dim() - 1)), pictures, noise)


class PlantedContext:
    """Implements `CheckContext` for one draw."""

    def __init__(self, pool: Pool, world: PlantedWorld, forget: int, seed: int) -> None:
        """Draw pictures and noise.

        Args:
            pool: to draw from.
            world: what is known of the candidate.
            forget: pictures to forget, at most `Pool.largest`.
            seed: of the draw.
        """
        self._pool, self._world, self._seed = pool, world, seed
        self._order = torch.randperm(NOISE_OUTPUTS, generator=self.generator("order of noise"))
        self._used = 0
        counts = pool.worlds.counts
        never = world is PlantedWorld.NEVER_TRAINED
        sources = {FORGET: FORGET_HELD_OUT if never else FORGET, FORGET_HELD_OUT: None if never else FORGET_HELD_OUT}
        self._drawn: dict[str, tuple[str, torch.Tensor]] = {}
        for name in (FORGET, FORGET_HELD_OUT, RETAIN, RETAIN_HELD_OUT):
            source = sources.get(name, name)
            if source is not None and counts.get(source):
                order = torch.randperm(counts[source], generator=self.generator(f"draw of {name}"))
                self._drawn[name] = source, order[: AT_MOST.get(name, forget)]
        self._rows: dict[tuple[World, str], _Rows] = {}
        self._outputs: dict[tuple[World, str], Outputs] = {}
        self._parts: dict[tuple[str, int], tuple[torch.Tensor, Outputs]] = {}

    # -- what checks ask for -----------------------------------------------------------------------------------------

    @property
    def counts(self) -> Mapping[str, int]:
        """See `CheckContext.counts`."""
        return {name: len(indices) for name, (_, indices) in self._drawn.items()}

    @property
    def totals(self) -> Mapping[str, int]:
        """See `CheckContext.totals`: the drawn pictures are all there are."""
        return self.counts

    @property
    def worlds(self) -> frozenset[World]:
        """See `CheckContext.worlds`."""
        return frozenset((World.ORIGINAL, World.CANDIDATE, World.NOISE, World.TRUTH))

    @property
    def original(self) -> Path:
        """See `CheckContext.original`."""
        return self._pool.worlds.original

    @property
    def candidate(self) -> Path:
        """See `CheckContext.candidate`: no weights were changed."""
        return self._pool.worlds.original

    @property
    def encoder_tensors(self) -> frozenset[str]:
        """See `CheckContext.encoder_tensors`."""
        return self._pool.worlds.encoder_tensors

    def outputs(self, world: World, set_name: str) -> Outputs:
        """See `CheckContext.outputs`."""
        key = (world, set_name)
        if key not in self._outputs:
            self._outputs[key] = self._joined(world) if set_name == FORGET_ALL else self._assembled(world, set_name)
        return self._outputs[key]

    def noise_outputs(self, part: str, count: int) -> Outputs:
        """See `CheckContext.noise_outputs`."""
        key = (part, count)
        if key not in self._parts:
            self._parts[key] = (indices := self._noise_rows(count)), _chosen(self._pool.noise, indices)
        return self._parts[key][1]

    def embeddings(self, net: FeatureNet, outputs: Outputs) -> torch.Tensor:
        """See `CheckContext.embeddings`; what the pool holds is embedded once for all draws."""
        worlds, noise = self._pool.worlds, self._pool.noise
        for indices, taken in self._parts.values():
            if taken is outputs:
                return worlds.embeddings(net, noise)[indices]
        for (world, name), known in self._outputs.items():
            if known is outputs and name != FORGET_ALL:
                rows = self._rows_of(world, name)
                pictures = World.TRUTH if world is World.TRUTH else World.ORIGINAL
                embedded = worlds.embeddings(net, worlds.outputs(pictures, rows.source))
                return rows.mixed(embedded, worlds.embeddings(net, noise))
        (world,) = [world for (world, name), known in self._outputs.items() if known is outputs]
        return torch.cat([self.embeddings(net, self.outputs(world, name)) for name in self._forget_sets()])

    def features(self, world: World, set_name: str, rows: torch.Tensor | None = None) -> tuple[torch.Tensor, ...]:
        """See `CheckContext.features`."""
        whole, pool = self._rows_of(world, set_name), self._pool
        own = whole if rows is None else whole[rows]
        of_pictures = pool.worlds.features(World.ORIGINAL, own.source)
        both = zip(of_pictures, pool.noise_features, strict=True)
        return tuple(own.mixed(pictures, noise) for pictures, noise in both)

    def views(self, set_name: str) -> Views:
        """See `CheckContext.views`."""
        source, indices = self._drawn[set_name]
        views = self._pool.worlds.views(source)
        return Views(views.hidden[indices], views.seeds[indices])

    def noise(self, count: int, purpose: str) -> torch.Tensor:
        """See `CheckContext.noise`."""
        return self._pool.worlds.noise(count, f"{purpose} of draw {self._seed}")

    def model(self, world: World, task: Task | None = None) -> ModelAdapter:
        """There is none behind a planted candidate."""
        raise ModelError(f"no model of the world `{world}` stands behind planted outputs ({task})")

    def train(
        self,
        parameters: Mapping[str, torch.nn.Parameter],
        objective: Callable[[torch.Generator], LossTerms],
        settings: LoopSettings,
        purpose: str,
        watch: Callable[[int], bool] | None = None,
    ) -> None:
        """See `CheckContext.train`."""
        self._pool.worlds.train(parameters, objective, settings, purpose, watch)

    def generator(self, purpose: str) -> torch.Generator:
        """See `CheckContext.generator`."""
        return generator_for(self._seed, f"calibration: {purpose}")

    # -- how it is put together --------------------------------------------------------------------------------------

    def _forget_sets(self) -> list[str]:
        return [name for name in (FORGET, FORGET_HELD_OUT) if name in self._drawn]

    def _noise_rows(self, count: int) -> torch.Tensor:
        """Rows of the pool's noise that nothing else of this draw uses."""
        rows = self._order[self._used : self._used + count]
        self._used += count
        if self._used > NOISE_OUTPUTS:
            raise DataError(f"the checks ask for more than {NOISE_OUTPUTS} outputs on noise; name fewer of them")
        return rows

    def _rows_of(self, world: World, name: str) -> _Rows:
        key = (world, name)
        if key not in self._rows:
            source, indices = self._drawn[name]
            share = {World.NOISE: 0.0, World.CANDIDATE: self._world.kept(name)}.get(world, 1.0)
            order = torch.randperm(len(indices), generator=self.generator(f"who is kept in {name}"))
            kept = order < round(share * len(indices))
            noise = self._noise_rows(len(indices)) if share < 1.0 else torch.zeros_like(indices)
            self._rows[key] = _Rows(source, indices, noise, kept)
        return self._rows[key]

    def _assembled(self, world: World, name: str) -> Outputs:
        rows, worlds = self._rows_of(world, name), self._pool.worlds
        made = worlds.outputs(World.TRUTH if world is World.TRUTH else World.ORIGINAL, rows.source)
        drawn = _chosen(made, rows.indices)
        if bool(rows.kept.all()):
            return drawn
        return replace(drawn, images=rows.mixed(made.images, self._pool.noise.images))

    def _joined(self, world: World) -> Outputs:
        return joined([self.outputs(world, name) for name in self._forget_sets()])


def _chosen(outputs: Outputs, rows: torch.Tensor) -> Outputs:
    return Outputs(outputs.truth[rows], outputs.images[rows], outputs.generated[rows], outputs.subjects[rows])
