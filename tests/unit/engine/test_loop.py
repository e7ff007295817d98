"""The loop: budgets, schedule, stopping, and a resume that ends in the same bits."""

from __future__ import annotations

import itertools
import math
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from compliance_unlearn.api import LoopSettings, LossTerms, ModelError
from compliance_unlearn.engine.loop import LOGGED_POINTS, Loop, LoopState
from compliance_unlearn.engine.randomness import generator_for

Tensors = dict[str, torch.Tensor]
Progress = Callable[[LoopState, Mapping[str, float]], None]


class KilledError(Exception):
    """Stands for a process that dies."""


def network() -> nn.Module:
    """The same small network each time."""
    layers = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in layers.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return layers


def noisy_regression(module: nn.Module) -> Callable[[torch.Generator], LossTerms]:
    """An objective that draws its data from the generator."""

    def objective(generator: torch.Generator) -> LossTerms:
        inputs = torch.randn(8, 4, generator=generator)
        wrong = module(inputs) - inputs[:, :2].square()
        return LossTerms({"first": wrong[:, 0].square().mean(), "second": 0.5 * wrong[:, 1].square().mean()})

    return objective


def trained(
    settings: LoopSettings, checkpoint: Path | None = None, progress: Progress | None = None, **changes: Any
) -> tuple[Tensors, LoopState]:
    """Optimise a new network and return its tensors."""
    module = network()
    loop = Loop(
        **{
            "objective": noisy_regression(module),
            "parameters": dict(module.named_parameters()),
            "settings": settings,
            "generator": generator_for(settings.seed, "test"),
            "checkpoint": checkpoint,
            "progress": progress,
            **changes,
        }
    )
    state = loop.run()
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}, state


def dies_after(step: int) -> Progress:
    """Raise once this step is done."""

    def progress(state: LoopState, terms: Mapping[str, float]) -> None:
        if state.step == step:
            raise KilledError

    return progress


def same_bits(one: Tensors, other: Tensors) -> bool:
    return set(one) == set(other) and all(torch.equal(one[name], other[name]) for name in one)


SETTINGS = LoopSettings(steps=12, warmup=3, schedule="cosine", checkpoint_every=4, learning_rate=0.02)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("step", range(1, 13))
def test_a_run_that_was_killed_goes_on_to_the_same_bits(tmp_path: Path, step: int, precision: str) -> None:
    settings = SETTINGS.model_copy(update={"precision": precision})
    undisturbed, whole = trained(settings)
    checkpoint = tmp_path / "checkpoint.pt"
    with pytest.raises(KilledError):
        trained(settings, checkpoint, dies_after(step))
    resumed, state = trained(settings, checkpoint)
    assert same_bits(undisturbed, resumed)
    assert state.step == 12
    assert state.curve == whole.curve


def test_a_run_that_is_killed_again_and_again_ends_in_the_same_bits(tmp_path: Path) -> None:
    undisturbed, _ = trained(SETTINGS)
    for step in (5, 6, 9, 11):
        with pytest.raises(KilledError):
            trained(SETTINGS, tmp_path / "checkpoint.pt", dies_after(step))
    assert same_bits(undisturbed, trained(SETTINGS, tmp_path / "checkpoint.pt")[0])


def test_a_resumed_run_repeats_no_step_before_its_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        trained(SETTINGS, tmp_path / "checkpoint.pt", dies_after(9))
    seen: list[int] = []
    trained(SETTINGS, tmp_path / "checkpoint.pt", lambda state, terms: seen.append(state.step))
    assert seen == [9, 10, 11, 12]


@pytest.mark.parametrize(
    "other",
    [
        {"identity": "another plan"},
        {"settings": SETTINGS.model_copy(update={"learning_rate": 0.01})},
        {"settings": SETTINGS.model_copy(update={"seed": 3})},
    ],
    ids=["plan", "learning rate", "seed"],
)
def test_a_checkpoint_of_another_run_is_not_resumed(tmp_path: Path, other: dict[str, Any]) -> None:
    with pytest.raises(KilledError):
        trained(SETTINGS, tmp_path / "checkpoint.pt", dies_after(9))
    settings = other.get("settings", SETTINGS)
    afresh, _ = trained(settings, generator=generator_for(settings.seed, "test"))
    found, _ = trained(
        **{"settings": SETTINGS, "checkpoint": tmp_path / "checkpoint.pt", **other},
        generator=generator_for(settings.seed, "test"),
    )
    assert same_bits(afresh, found)


def test_a_checkpoint_over_other_parameters_is_not_resumed(tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        trained(SETTINGS, tmp_path / "checkpoint.pt", dies_after(9))
    module = network()
    only_first = {name: value for name, value in module.named_parameters() if name.startswith("0")}
    seen: list[int] = []
    Loop(
        objective=noisy_regression(module),
        parameters=only_first,
        settings=SETTINGS,
        generator=generator_for(0, "test"),
        checkpoint=tmp_path / "checkpoint.pt",
        progress=lambda state, terms: seen.append(state.step),
    ).run()
    assert seen[0] == 1


def test_a_checkpoint_holds_nothing_that_has_to_be_unpickled(tmp_path: Path) -> None:
    trained(SETTINGS, tmp_path / "checkpoint.pt")
    content = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert content["state"]["step"] == 12
    assert zipfile.is_zipfile(tmp_path / "checkpoint.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


def rates(settings: LoopSettings) -> list[float]:
    """The learning rate of each step, read off from a gradient that Adam turns into exactly one unit."""
    parameter = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    seen = [0.0]
    Loop(
        objective=lambda generator: LossTerms({"slope": parameter.sum()}),
        parameters={"weight": parameter},
        settings=settings,
        generator=torch.Generator(),
        progress=lambda state, terms: seen.append(-parameter.item()),
    ).run()
    return [after - before for before, after in itertools.pairwise(seen)]


def test_the_learning_rate_rises_linearly_and_then_follows_half_a_cosine() -> None:
    settings = LoopSettings(steps=10, warmup=4, schedule="cosine", learning_rate=0.1)
    cosine = [0.5 * (1 + math.cos(math.pi * step / 6)) for step in range(6)]
    assert rates(settings) == pytest.approx([0.1 * share for share in [0.25, 0.5, 0.75, 1.0, *cosine]], rel=1e-5)


def test_a_constant_learning_rate_stays() -> None:
    assert rates(LoopSettings(steps=4, learning_rate=0.1)) == pytest.approx([0.1] * 4, rel=1e-5)


@pytest.mark.parametrize("clip", [None, 0.5])
def test_gradients_longer_than_the_limit_are_shortened(clip: float | None) -> None:
    parameters = {name: nn.Parameter(torch.zeros(1)) for name in ("one", "other")}
    norms: list[float] = []

    def progress(state: LoopState, terms: Mapping[str, float]) -> None:
        gradients = [each.grad for each in parameters.values()]
        norms.append(float(torch.stack([each for each in gradients if each is not None]).norm()))

    Loop(
        objective=lambda generator: LossTerms({"a": 3 * parameters["one"].sum(), "b": 4 * parameters["other"].sum()}),
        parameters=parameters,
        settings=LoopSettings(steps=2, clip=clip),
        generator=torch.Generator(),
        progress=progress,
    ).run()
    assert norms == pytest.approx([clip or 5.0] * 2, rel=1e-4)


def test_only_the_given_parameters_change() -> None:
    before = network().state_dict()
    module = network()
    Loop(
        objective=noisy_regression(module),
        parameters={"0.weight": dict(module.named_parameters())["0.weight"]},
        settings=SETTINGS,
        generator=generator_for(0, "test"),
    ).run()
    changed = {name for name, tensor in module.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"0.weight"}


def test_no_step_changes_nothing_and_writes_nothing(tmp_path: Path) -> None:
    tensors, state = trained(LoopSettings(steps=0), tmp_path / "checkpoint.pt")
    assert same_bits(tensors, dict(network().state_dict()))
    assert (state.step, state.stopped, list(tmp_path.iterdir())) == (0, "", [])


def test_the_loop_stops_when_its_seconds_are_spent(tmp_path: Path) -> None:
    settings = LoopSettings(steps=1000, seconds=1e-9)
    tensors, state = trained(settings, tmp_path / "checkpoint.pt")
    assert (state.step, state.stopped) == (1, "seconds")
    assert not same_bits(tensors, dict(network().state_dict()))
    again, resumed = trained(settings, tmp_path / "checkpoint.pt")
    assert (resumed.step, resumed.stopped) == (1, "seconds")
    assert same_bits(again, tensors)


def test_the_loop_stops_after_so_many_looks_without_gain(tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"steps": 100, "early_stop_every": 2, "early_stop_patience": 2})
    looks = iter([3.0, 2.0, 2.0, 2.5, 0.0])
    _, state = trained(settings, tmp_path / "checkpoint.pt", validation=lambda: next(looks))
    assert (state.step, state.stopped, state.best) == (8, "early stop", 2.0)


def test_a_gain_starts_the_patience_again() -> None:
    settings = SETTINGS.model_copy(update={"steps": 100, "early_stop_every": 1, "early_stop_patience": 2})
    looks = iter([3.0, 4.0, 2.0, 4.0, math.nan])
    assert trained(settings, validation=lambda: next(looks))[1].step == 5


def test_an_early_stop_survives_a_kill(tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"steps": 100, "early_stop_every": 4, "early_stop_patience": 2})
    with pytest.raises(KilledError):
        trained(settings, tmp_path / "checkpoint.pt", dies_after(7), validation=lambda: 1.0)
    _, state = trained(settings, tmp_path / "checkpoint.pt", validation=lambda: 1.0)
    assert (state.step, state.stopped) == (12, "early stop")


def test_a_loss_that_is_not_finite_is_an_error_and_the_last_checkpoint_stays(tmp_path: Path) -> None:
    def fails_at(last: int) -> Callable[[nn.Module], Callable[[torch.Generator], LossTerms]]:
        def build(module: nn.Module) -> Callable[[torch.Generator], LossTerms]:
            good, calls = noisy_regression(module), [0]

            def objective(generator: torch.Generator) -> LossTerms:
                calls[0] += 1
                terms = good(generator)
                return terms if calls[0] <= last else LossTerms({"first": terms.total * math.inf})

            return objective

        return build

    module = network()
    with pytest.raises(ModelError, match="not finite at step 11"):
        Loop(
            objective=fails_at(10)(module),
            parameters=dict(module.named_parameters()),
            settings=SETTINGS,
            generator=generator_for(0, "test"),
            checkpoint=tmp_path / "checkpoint.pt",
        ).run()
    content = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert content["state"]["step"] == 8
    assert same_bits(trained(SETTINGS)[0], trained(SETTINGS, tmp_path / "checkpoint.pt")[0])


@pytest.mark.parametrize("clip", [None, 3.0])
def test_a_gradient_that_is_not_finite_is_an_error_before_anything_changes(clip: float | None, tmp_path: Path) -> None:
    parameter = nn.Parameter(torch.zeros(1))
    with pytest.raises(ModelError, match="not finite at step 1"):
        Loop(
            objective=lambda generator: LossTerms({"root": parameter.sqrt().sum()}),
            parameters={"weight": parameter},
            settings=LoopSettings(steps=1, clip=clip, checkpoint_every=1),
            generator=torch.Generator(),
            checkpoint=tmp_path / "checkpoint.pt",
        ).run()
    assert parameter.item() == 0.0
    assert not list(tmp_path.iterdir())


def test_the_curve_holds_the_first_and_the_last_step_and_not_too_many() -> None:
    _, state = trained(LoopSettings(steps=450))
    steps = sorted(state.curve)
    assert (steps[0], steps[-1]) == (1, 450)
    assert len(steps) <= LOGGED_POINTS + 1
    assert set(state.curve[450]) == {"first", "second"}


def test_generators_depend_on_seed_and_purpose_alone() -> None:
    draws = {
        key: torch.rand(4, generator=generator_for(*key)).tolist() for key in [(0, "a"), (0, "b"), (1, "a"), (10, "a")]
    }
    assert len({tuple(each) for each in draws.values()}) == 4
    torch.manual_seed(9)
    assert torch.rand(4, generator=generator_for(0, "a")).tolist() == draws[(0, "a")]
