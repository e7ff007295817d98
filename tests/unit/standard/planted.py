"""Worlds whose answer is known: small tensors in the place of measured outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from cu_audit.records import FORGET, FORGET_ALL, FORGET_HELD_OUT, RETAIN, RETAIN_HELD_OUT, CheckResult, Verdict

from compliance_unlearn.api import (
    FeatureNet,
    LoopSettings,
    LossTerms,
    Measurement,
    ModelAdapter,
    Outputs,
    Task,
    Views,
    World,
    generated_region,
)
from compliance_unlearn.engine.randomness import generator_for
from compliance_unlearn.engine.worlds import joined

SIZE = 16
HIDDEN = slice(4, 12)
Change = Callable[[Outputs, Outputs], torch.Tensor]
"""Makes the candidate's images of a set from the original's outputs and from O(n)'s."""


def keeps(original: Outputs, noise: Outputs) -> torch.Tensor:
    """As before."""
    return original.images


def answers_noise(original: Outputs, noise: Outputs) -> torch.Tensor:
    """Exactly what the original makes of noise."""
    return noise.images


def collapses(original: Outputs, noise: Outputs) -> torch.Tensor:
    """The mean of what the original makes of noise."""
    return noise.images.mean(dim=0, keepdim=True).expand_as(noise.images)


def not_numbers(original: Outputs, noise: Outputs) -> torch.Tensor:
    """Broken."""
    return torch.full_like(original.images, torch.nan)


def black(original: Outputs, noise: Outputs) -> torch.Tensor:
    """Broken in another way."""
    return torch.zeros_like(original.images)


def white(original: Outputs, noise: Outputs) -> torch.Tensor:
    """Like neither pictures nor noise."""
    return torch.ones_like(original.images)


def negative(original: Outputs, noise: Outputs) -> torch.Tensor:
    """Unlike any picture, and everything can be read from it."""
    return 1.0 - original.images


@dataclass(frozen=True)
class Planted:
    """Implements `CheckContext`.

    Subjects differ in their pictures; the original draws hidden pixels almost right; of noise it makes a soft grey.

    Attributes:
        seed: of the whole world.
        subjects: retained subjects; the one to forget is number 0.
        trained: pictures of each subject that the model was trained on.
        held_out: pictures of each subject that it was not.
        forget: what the candidate does to pictures of the forgotten subject.
        forget_held_out: the same for those that were never seen; as ``forget`` if it is None.
        retain: what the candidate does to pictures of others.
        retrained: what a model that was trained without the subject makes of any picture; None if there is none.
        random_masks: another mask for each image.
        noise_is_real: the original answers noise with pictures, so that nothing can be told apart.
        draws_well: the original model is any good.
    """

    seed: int = 0
    subjects: int = 30
    trained: int = 7
    held_out: int = 3
    forget: Change = collapses
    forget_held_out: Change | None = None
    retain: Change = keeps
    retrained: Change | None = None
    random_masks: bool = False
    noise_is_real: bool = False
    draws_well: bool = True
    known_subjects: bool = True
    sampled_from: Mapping[str, int] = field(default_factory=dict)
    original: Path = Path()
    candidate: Path = Path()
    encoder_tensors: frozenset[str] = frozenset()

    @property
    def counts(self) -> Mapping[str, int]:
        sizes = {
            FORGET: self.trained,
            FORGET_HELD_OUT: self.held_out,
            RETAIN: self.subjects * self.trained,
            RETAIN_HELD_OUT: self.subjects * self.held_out,
        }
        return {name: count for name, count in sizes.items() if count}

    @property
    def worlds(self) -> frozenset[World]:
        return frozenset(World) - ({World.RETRAINED} if self.retrained is None else set())

    @property
    def totals(self) -> Mapping[str, int]:
        return {**self.counts, **self.sampled_from}

    def generator(self, purpose: str) -> torch.Generator:
        return generator_for(self.seed, purpose)

    def outputs(self, world: World, set_name: str) -> Outputs:
        if set_name == FORGET_ALL:
            return joined([self.outputs(world, name) for name in (FORGET, FORGET_HELD_OUT) if name in self.counts])
        original = self._original(set_name)
        if world is World.ORIGINAL:
            return original
        if world is World.TRUTH:
            return replace(original, images=original.truth)
        noise = replace(original, images=self._of_noise(len(original), f"in place of {set_name}"))
        if world is World.NOISE:
            return noise
        if world is World.RETRAINED:
            assert self.retrained is not None, "there is no reference"
            return replace(original, images=self.retrained(original, noise))
        change = {FORGET: self.forget, FORGET_HELD_OUT: self.forget_held_out or self.forget}.get(set_name, self.retain)
        return replace(original, images=change(original, noise))

    def noise_outputs(self, part: str, count: int) -> Outputs:
        truth = torch.randn(count, 1, SIZE, SIZE, generator=self.generator(f"noise {part}"))
        return Outputs(truth, self._of_noise(count, part), self._masks(count, part), torch.full((count,), -1))

    def embeddings(self, net: FeatureNet, outputs: Outputs) -> torch.Tensor:
        return net.embed(generated_region(outputs.images, outputs.generated))

    def features(self, world: World, set_name: str, rows: torch.Tensor | None = None) -> tuple[torch.Tensor, ...]:
        """An encoder that knows exactly what will be drawn."""
        outputs = self.outputs(world, set_name)
        found = torch.nn.functional.avg_pool2d(outputs.images, 4).flatten(1)
        return (found if rows is None else found[rows],)

    def views(self, set_name: str) -> Views:
        generated = self.outputs(World.ORIGINAL, set_name).generated
        return Views(generated, torch.zeros(len(generated), dtype=torch.long))

    def noise(self, count: int, purpose: str) -> torch.Tensor:
        return torch.randn(count, 1, SIZE, SIZE, generator=self.generator(f"images of noise {purpose}"))

    def model(self, world: World, task: Task | None = None) -> ModelAdapter:
        raise NotImplementedError("planted outputs come from no model")

    def train(
        self,
        parameters: Mapping[str, torch.nn.Parameter],
        objective: Callable[[torch.Generator], LossTerms],
        settings: LoopSettings,
        purpose: str,
        watch: Callable[[int], bool] | None = None,
    ) -> None:
        raise NotImplementedError("planted outputs come from no model")

    def _original(self, name: str) -> Outputs:
        subjects = torch.zeros(self.counts[name], dtype=torch.long)
        if name in (RETAIN, RETAIN_HELD_OUT):
            per_subject = self.counts[name] // self.subjects
            subjects = torch.arange(1, self.subjects + 1).repeat_interleave(per_subject)
        truth = self._pictures(subjects, name)
        error = 0.02 if self.draws_well else 0.5
        drawn = truth + error * torch.randn(truth.shape, generator=self.generator(f"errors {name}"))
        if not self.draws_well:
            drawn = drawn - truth + 0.5
        shown = subjects if self.known_subjects else torch.full_like(subjects, -1)
        return Outputs(truth, drawn.clamp(0, 1), self._masks(len(truth), name), shown)

    def _pictures(self, subjects: torch.Tensor, name: str) -> torch.Tensor:
        coarse = torch.rand(self.subjects + 1, 1, 4, 4, generator=self.generator("subjects"))
        own = coarse[subjects] + 0.15 * torch.randn(len(subjects), 1, 4, 4, generator=self.generator(f"truth {name}"))
        return torch.nn.functional.interpolate(own, size=(SIZE, SIZE), mode="bilinear").clamp(0, 1)

    def _of_noise(self, count: int, purpose: str) -> torch.Tensor:
        if self.noise_is_real:
            return self._pictures(torch.arange(count) % self.subjects + 1, f"noise {purpose}")
        fine = torch.randn(count, 1, SIZE, SIZE, generator=self.generator(f"grey {purpose}"))
        return (0.5 + 0.03 * fine).clamp(0, 1)

    def _masks(self, count: int, purpose: str) -> torch.Tensor:
        if self.random_masks:
            order = torch.rand(count, 16, generator=self.generator(f"masks {purpose}")).argsort(dim=1)
            return (order < 8).view(count, 1, 4, 4).repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
        masks = torch.zeros(count, 1, SIZE, SIZE, dtype=torch.bool)
        masks[:, :, HIDDEN, HIDDEN] = True
        return masks


def of_set(measurement: Measurement, name: str) -> CheckResult:
    """The one result on a set."""
    (result,) = [result for result in measurement.results if result.set == name]
    return result


def deciding(measurement: Measurement) -> set[Verdict]:
    """Verdicts that the outcome of the run depends on."""
    return {result.verdict for result in measurement.results if result.gates}
