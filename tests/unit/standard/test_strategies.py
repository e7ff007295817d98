"""All strategies: what each asks for, of which images, and that nothing but the encoder changes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from cu_standard.hooks import cu_register_strategies
from cu_standard.strategies.distribution_matching import energy_distance

from compliance_unlearn.api import Batch, Inpaint, PolicyError, RandomMask, Strategy, StrategyContext
from compliance_unlearn.registry import load_registry
from tests.unit.standard.small import SIZE, counting, halves, new_context, pictures

SPECS = {spec.name: spec for spec in cu_register_strategies()}
NEEDS_RETAIN = {"retain-label"}
ALIGNING = set(SPECS) - {"max-loss", "noisy-label", "retain-label"}


def strategy(name: str, **params: Any) -> Strategy:
    registry = load_registry()
    registered = registry.find(type(SPECS[name]), name)
    made = registry.make(registered, registry.params(registered, params))
    assert isinstance(made, Strategy)
    return made


def prepared(name: str, context: StrategyContext, **params: Any) -> Strategy:
    extra = {"noise_bank": 16, "augment": False} if name in ALIGNING else {}
    made = strategy(name, **{**extra, **params})
    made.prepare(context)
    return made


def terms(name: str, context: StrategyContext, forget: Batch, retain: Batch | None, **params: Any) -> dict[str, float]:
    made = prepared(name, context, **params)
    context.generator.manual_seed(7)
    return {key: float(term.detach()) for key, term in made.objective(context, forget, retain).terms.items()}


@pytest.mark.parametrize("name", SPECS)
def test_every_strategy_changes_the_encoder_and_nothing_else(name: str) -> None:
    context = new_context()
    made = prepared(name, context)
    student = context.student.module
    before = {key: tensor.clone() for key, tensor in student.state_dict().items()}
    student.requires_grad_(False)
    parameters = made.trainable(context.student)
    for parameter in parameters.values():
        parameter.requires_grad_(True)
    optimiser = torch.optim.Adam(parameters.values(), lr=1e-2)
    for _ in range(5):
        optimiser.zero_grad()
        made.objective(context, *halves(context)).total.backward()  # type: ignore[no-untyped-call]  # torch's
        optimiser.step()
    changed = {key for key, tensor in student.state_dict().items() if not torch.equal(tensor, before[key])}
    assert changed == {"encoder.weight", "encoder.bias"}


@pytest.mark.parametrize("name", sorted(set(SPECS) - NEEDS_RETAIN))
def test_without_retain_data_only_the_forget_term_is_left(name: str) -> None:
    context = new_context(retain=False)
    assert set(terms(name, context, *halves(context))) == {"forget"}


def test_retain_label_says_that_it_needs_retain_images() -> None:
    context = new_context(retain=False)
    with pytest.raises(PolicyError, match="retain-label needs retain images"):
        terms("retain-label", context, *halves(context))


@pytest.mark.parametrize("name", SPECS)
def test_the_forget_term_is_about_forget_images(name: str) -> None:
    """In the released code two baselines multiply it with the mask of the retain half: it never sees a forget image."""
    found = []
    for seed in (1, 9):
        context = new_context(Inpaint(area=0.25))
        _, retain = halves(context)
        forget = Batch(pictures(4, seed), torch.arange(4))
        # Without the weight of the constraint, which looks at the retain half as well.
        found.append(terms(name, context, forget, retain, **({"epsilon": 1e-6} if name.startswith("eps") else {})))
    assert found[0]["forget"] != pytest.approx(found[1]["forget"], rel=1e-4)
    assert found[0]["retain"] == pytest.approx(found[1]["retain"], rel=1e-5)


@pytest.mark.parametrize("name", sorted(set(SPECS) - NEEDS_RETAIN - {"epsilon-constrained"}))
def test_the_forget_term_does_not_depend_on_the_size_of_the_retain_half(name: str) -> None:
    """`(1 ± label)` weighting scales alpha by the ratio of the halves without saying so."""
    context = new_context(Inpaint(area=0.25))
    forget, retain = halves(context, 4)
    assert retain is not None
    with_two = Batch(retain.images[:2], retain.indices[:2])
    both = [terms(name, context, forget, half)["forget"] for half in (retain, with_two)]
    if name != "random-encoder":  # its targets are drawn after the views of the retain half
        assert both[0] == pytest.approx(both[1], rel=1e-5)
    else:
        assert both[0] == pytest.approx(both[1], rel=0.2)


@pytest.mark.parametrize("name", ["max-loss", "noisy-label", "retain-label"])
def test_baselines_ask_the_training_loss_for_what_they_say(name: str) -> None:
    context = new_context(RandomMask(ratio=0.5))
    forget, retain = halves(context)
    assert retain is not None
    found = terms(name, context, forget, retain, alpha=0.5)
    generator = torch.Generator().manual_seed(7)
    student = context.student
    if name == "max-loss":
        expected = -0.5 * float(student.training_loss(forget.images, generator))
    elif name == "noisy-label":
        noise = context.noise.sample(4, generator)
        expected = 0.5 * float(student.training_loss(forget.images, generator, noise))
    else:
        expected = 0.5 * float(student.training_loss(forget.images, generator, retain.images))
    assert found["forget"] == pytest.approx(expected, rel=1e-5)
    assert found["retain"] == pytest.approx(float(student.training_loss(retain.images, generator)), rel=1e-5)


def test_random_targets_have_the_mean_and_deviation_of_noise_features_and_are_drawn_anew() -> None:
    context = new_context(Inpaint(area=0.25))
    made = prepared("random-encoder", context)
    forget, _ = halves(context, 4)
    found = {float(made.objective(context, forget, None).total.detach()) for _ in range(4)}
    assert len(found) == 4
    # Features at the mean of the noise features are one variance of it away, on average.
    student = counting(context.student).module
    student.encoder.weight.data.zero_()
    (bank,) = counting(context.teacher).module.encoder(counting(context.teacher).encoded[0])[None].detach()
    assert student.encoder.bias is not None
    student.encoder.bias.data.fill_(float(bank.mean()))
    losses = [float(made.objective(context, forget, None).total.detach()) for _ in range(50)]
    assert sum(losses) / 50 == pytest.approx(0.2 * float(bank.var()), rel=0.05)


def test_output_alignment_looks_at_hidden_pixels_after_the_decoder() -> None:
    context = new_context(Inpaint(area=0.25), moved=0.0)
    forget, retain = halves(context)
    assert retain is not None
    found = terms("output-alignment", context, forget, retain)
    assert found["retain"] == pytest.approx(0.0, abs=1e-12)
    assert found["forget"] > 0
    # What lies behind a rectifier that is closed cannot be seen in the output: nothing is left to align.
    with torch.no_grad():
        for adapter in (context.teacher, context.student):
            counting(adapter).module.encoder.bias.fill_(-1e3)  # type: ignore[union-attr]
    assert terms("output-alignment", context, forget, retain)["forget"] == pytest.approx(0.0, abs=1e-12)
    assert terms("encoder-alignment", context, forget, retain)["forget"] > 0


def test_the_constraint_weighs_nothing_once_it_holds_and_more_where_it_is_violated() -> None:
    context = new_context(Inpaint(area=0.25), moved=0.0)
    forget, retain = halves(context)
    context.student.module.requires_grad_(True)
    loose = terms("epsilon-constrained", context, forget, retain, epsilon=1e6)
    assert loose["forget"] == 0.0
    tight = terms("epsilon-constrained", context, forget, retain, epsilon=0.5)
    tighter = terms("epsilon-constrained", context, forget, retain, epsilon=0.1, barrier=2.0)
    assert 0.0 < tight["forget"] < tighter["forget"]


def test_a_step_of_the_constrained_strategy_lowers_the_violated_forget_loss() -> None:
    context = new_context(Inpaint(area=0.25))
    context.student.module.requires_grad_(True)
    made = prepared("epsilon-constrained", context, epsilon=0.1, alpha=1e6)
    optimiser = torch.optim.SGD(made.trainable(context.student).values(), lr=0.02)
    plain = prepared("encoder-alignment", context, alpha=1.0)
    forget, retain = halves(context, 4)

    def distance() -> float:
        context.generator.manual_seed(7)
        return float(plain.objective(context, forget, None).total.detach())

    before = distance()
    for _ in range(30):
        optimiser.zero_grad()
        context.generator.manual_seed(7)
        made.objective(context, forget, retain).total.backward()  # type: ignore[no-untyped-call]  # torch's
        optimiser.step()
    assert distance() < before


def sample(count: int, seed: int, *, spread: float = 1.0, shift: float = 0.0) -> torch.Tensor:
    return spread * torch.randn(count, 6, generator=torch.Generator().manual_seed(seed)) + shift


def test_the_energy_distance_is_zero_for_one_distribution_and_not_for_a_collapse_to_its_mean() -> None:
    noise = sample(400, 0)
    alike = float(energy_distance(sample(400, 1), noise))
    collapsed = float(energy_distance(sample(400, 2, spread=1e-3), noise))
    away = float(energy_distance(sample(400, 3, shift=3.0), noise))
    assert abs(alike) < 0.02
    assert 0.2 < collapsed < away


def test_the_energy_distance_of_two_points_can_be_done_by_hand() -> None:
    one, other = torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [5.0]])
    # distances between: 1, 5, 1, 3; within: 2 and 4
    assert float(energy_distance(one, other)) == pytest.approx((2 * 10 / 4 - 2 - 4) / 4)


def test_distribution_matching_spreads_features_that_had_collapsed() -> None:
    context = new_context(Inpaint(area=0.25), retain=False)
    made = prepared("distribution-matching", context, noise_bank=64, alpha=1.0)
    forget = Batch(pictures(8, 4), torch.arange(8))
    student = counting(context.student).module.encoder.requires_grad_(True)
    with torch.no_grad():
        student.weight.mul_(1e-3)
    optimiser = torch.optim.Adam(student.parameters(), lr=1e-2)

    def spread() -> float:
        return float(student(forget.images).detach().std(dim=0).mean())

    before = spread()
    for _ in range(60):
        optimiser.zero_grad()
        made.objective(context, forget, None).total.backward()  # type: ignore[no-untyped-call]  # torch's
        optimiser.step()
    assert spread() > 3 * before
    assert forget.images.shape[-1] == SIZE
