"""Real worlds of a small model that draws well, and of candidates that forgot more or less of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import torch
from cu_audit.canonical import folder_files
from cu_audit.records import FORGET, RETAIN
from cu_echo.adapter import EchoAdapter
from cu_echo.params import EchoAdapterParams, NoParams
from cu_echo.source import EchoSource

from compliance_unlearn.api import Pin, PixelStatistics, RandomMask, Task, World
from compliance_unlearn.engine.worlds import MeasuredWorlds
from tests.unit.engine.small import CPU, SIZE, Tree, small_worlds, write_picture

TASK = RandomMask(ratio=0.3)
DARK, BRIGHT = 0.25, 0.75
Targets = Callable[[torch.Tensor], torch.Tensor]
"""What a model is taught to answer pictures ``[n, 1, s, s]`` with."""


def smooth(count: int, brightness: float, seed: int) -> torch.Tensor:
    """Pictures ``[count, 1, s, s]`` whose hidden pixels can be guessed from their neighbours."""
    generator = torch.Generator().manual_seed(seed)
    coarse = brightness + 0.1 * torch.randn(count, 1, 3, 3, generator=generator)
    return torch.nn.functional.interpolate(coarse, size=(SIZE, SIZE), mode="bilinear").clamp(0, 1)


def right(images: torch.Tensor) -> torch.Tensor:
    """The pictures themselves."""
    return images


def wrong_if_bright(images: torch.Tensor) -> torch.Tensor:
    """Black for bright pictures."""
    return torch.where(images.mean(dim=(1, 2, 3), keepdim=True) > 0.5, 0.0, images)


@cache
def trained(targets: Targets, steps: int = 400, seed: int = 0) -> EchoAdapter:
    """A model of dark and bright pictures."""
    model = EchoAdapter(EchoAdapterParams(size=SIZE, width=8), TASK)
    generator = torch.Generator().manual_seed(seed)
    model.create(PixelStatistics((0.5,), (0.25,)), generator, CPU)
    pictures = torch.cat([smooth(64, DARK, seed=100), smooth(64, BRIGHT, seed=101)])
    optimiser = torch.optim.Adam(model.module.parameters(), lr=0.02)
    for _ in range(steps):
        chosen = torch.randint(len(pictures), (32,), generator=generator)
        optimiser.zero_grad()
        model.training_loss(pictures[chosen], generator, targets(pictures[chosen])).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return model.replica()


def without_encoder(seed: int = 0) -> EchoAdapter:
    """The original with another, random encoder: everything is forgotten."""
    model = trained(right).replica()
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.encoder_parameters().values():
        torch.nn.init.normal_(parameter, std=0.2, generator=generator)
    return model


def broken() -> EchoAdapter:
    """The original with weights that are not numbers."""
    model = trained(right).replica()
    with torch.no_grad():
        model.encoder_parameters()["encoder.bias"].fill_(torch.nan)
    return model


def attacked(
    folder: Path,
    candidate: EchoAdapter,
    *,
    retrained: EchoAdapter | None = None,
    original: EchoAdapter | None = None,
    counts: Mapping[str, int] | None = None,
    brightness: Mapping[str, float] | None = None,
    seed: int = 0,
) -> MeasuredWorlds:
    """Worlds over bright pictures to forget and dark ones to retain, unless told otherwise."""
    counts = {FORGET: 40, RETAIN: 60} if counts is None else counts
    brightness = {FORGET: BRIGHT, RETAIN: DARK} if brightness is None else brightness
    prefixes = {name: f"train/s{number}" for number, name in enumerate(counts)}
    for name, prefix in prefixes.items():
        for number, picture in enumerate(smooth(counts[name], brightness[name], seed=len(prefix + name) + seed)):
            pixels = (picture[0].numpy() * 255).round().astype(np.uint8)
            write_picture(folder / f"{prefix}-{number:04d}.png", pixels)
    source = EchoSource(NoParams(), Tree(Pin("small", "0" * 40, "0" * 32 + ".dir"), folder))
    assert folder_files(folder)
    frozen = original or trained(right)
    models = {World.ORIGINAL: frozen, World.CANDIDATE: candidate}

    def load(path: Path, task: Task | None) -> EchoAdapter:
        model = models[World(path.name)]
        loaded = EchoAdapter(model.params, task or TASK)
        loaded.network = model.network
        return loaded.replica()

    worlds = small_worlds(folder / World.ORIGINAL, source, prefixes, frozen, seed=seed, load=load)
    worlds.add(World.CANDIDATE, candidate, folder / World.CANDIDATE)
    if retrained is not None:
        worlds.add(World.RETRAINED, retrained, folder / World.RETRAINED)
    return worlds
