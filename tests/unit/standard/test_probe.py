"""Probe: finds what features keep, and nothing in features that keep nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import pytest
import torch
from cu_audit.records import FORGET, RETAIN, CheckResult, Question, Scatter, Verdict
from cu_standard import feature_map
from cu_standard.checks import probe
from cu_standard.checks.probe import Pictures, Probe, Skill, scores, strongest_interval
from cu_standard.feature_map import DRAWN_AT_MOST, WIDTH, principal_components, standardised
from cu_standard.params import ProbeParams

from compliance_unlearn.api import Measurement, Outputs, World
from tests.unit.standard.planted import Change, Planted, answers_noise, collapses, keeps, not_numbers


def world(forget: Change, count: int = 300, seed: int = 0, retained: int = 1) -> Planted:
    return Planted(seed=seed, subjects=retained, trained=count, held_out=0, forget=forget)


def measured(context: Planted, skill_at_most: float = 0.1) -> Measurement:
    return Probe(ProbeParams(skill_at_most=skill_at_most)).run(context)


def decided(context: Planted, skill_at_most: float = 0.1) -> CheckResult:
    (result,) = [result for result in measured(context, skill_at_most).results if result.gates]
    return result


def whispers(original: Outputs, noise: Outputs) -> torch.Tensor:
    """A thousandth of the picture on one image for all: no eye would see it in what a decoder makes of it."""
    return 0.5 + 0.001 * (original.images - 0.5)


def mumbles(original: Outputs, noise: Outputs) -> torch.Tensor:
    """A little of the picture under noise."""
    return noise.images + 0.01 * (original.images - 0.5)


def test_features_that_collapsed_pass() -> None:
    result = decided(world(collapses))
    assert (result.verdict, result.value, result.sample_size) == (Verdict.PASSED, 0.0, 300)
    assert [control.behaved for control in result.controls] == [True, True]
    assert result.p_value == pytest.approx(0.0)


def test_features_like_those_of_noise_pass() -> None:
    result = decided(world(answers_noise, count=400))
    assert result.verdict is Verdict.PASSED
    assert result.value == pytest.approx(0.0, abs=0.06)


def test_what_a_decoder_hides_is_found() -> None:
    result = decided(world(whispers, count=100))
    assert result.verdict is Verdict.FAILED
    assert result.value is not None
    assert result.value > 0.9


@pytest.fixture
def only_linear(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many draws in a short time."""
    monkeypatch.setattr(probe, "KINDS", ("linear",))


@pytest.mark.parametrize("seed", range(20))
def test_nothing_forgotten_fails(seed: int, only_linear: None) -> None:
    assert decided(world(keeps, count=40, seed=seed)).verdict is Verdict.FAILED


def test_features_of_noise_are_never_taken_for_a_leak(only_linear: None) -> None:
    verdicts = Counter(decided(world(answers_noise, count=50, seed=seed)).verdict for seed in range(20))
    assert verdicts[Verdict.FAILED] == verdicts[Verdict.VOID] == 0


def test_a_skill_at_the_margin_rarely_passes() -> None:
    """The margin is set to the mean skill over all draws."""
    found = [_skill_of(seed) for seed in range(200)]
    margin = sum(skill.correlation for skill in found) / len(found)
    passed = sum(strongest_interval({"probe": skill}).high <= margin for skill in found)
    assert 0.1 < margin < 0.3
    assert passed <= 0.09 * len(found)


def _skill_of(seed: int) -> Skill:
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randn(80, 10, generator=generator)
    predicted = 0.2 * truth + torch.randn(80, 10, generator=generator)
    pictures = Pictures(torch.empty(80, 0), truth, torch.ones(80, 10, dtype=torch.bool))
    return Skill.of(*scores(predicted, pictures), torch.arange(80))


def test_both_attackers_and_both_probes_are_told_before_and_after() -> None:
    metrics = measured(world(mumbles, count=100)).metrics
    assert sorted(metrics) == [
        f"probe_{kind}_with_{what}"
        for kind in ("linear", "neural")
        for what in ("other_pictures", "some_of_the_pictures")
    ]
    for figures in metrics.values():
        before, after = figures[FORGET].before, figures[FORGET].after
        assert before is not None
        assert after is not None
        assert before > max(0.5, after)


def test_an_attacker_who_has_only_other_pictures_is_tried_where_there_are_some() -> None:
    @dataclass(frozen=True)
    class Alone(Planted):
        @property
        def counts(self) -> dict[str, int]:
            return {FORGET: self.trained}

    metrics = measured(Alone(trained=60, held_out=0, forget=keeps)).metrics
    assert sorted(metrics) == ["probe_linear_with_some_of_the_pictures", "probe_neural_with_some_of_the_pictures"]


def test_the_strongest_probe_decides() -> None:
    strong, weak = _skill_of(0), Skill(0.0, torch.linspace(-1.0, 1.0, 80), torch.zeros(80))
    both = strongest_interval({"weak": weak, "strong": strong})
    assert both.high == strongest_interval({"strong": strong}).high
    assert both.low < strongest_interval({"strong": strong}).low


def test_matching_is_reported_and_decides_nothing() -> None:
    _, result = measured(world(keeps, count=60)).results
    assert result.name == "probe-matching"
    assert (result.gates, result.verdict, result.value, result.unit) == (False, Verdict.FAILED, 1.0, "matching")
    forgotten = measured(world(collapses, count=60)).results[1]
    assert forgotten.value == pytest.approx(0.0)


@pytest.mark.parametrize("random_masks", [False, True])
def test_only_hidden_pixels_are_scored(random_masks: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    truth, predicted = torch.randn(2, 50, 8, generator=generator)
    hidden = torch.rand(50, 8, generator=generator) < 0.5 if random_masks else (torch.arange(8) < 4).expand(50, 8)
    hidden = hidden | (torch.arange(8) == 0)
    pictures = Pictures(torch.empty(50, 0), truth, hidden)
    shown = torch.where(hidden, predicted, truth)
    products, matching = scores(shown - shown.mean(dim=0), Pictures(pictures.features, truth - truth.mean(0), hidden))
    expected = (hidden * (shown - shown.mean(dim=0)) * (truth - truth.mean(dim=0))).sum(dim=1)
    assert torch.allclose(products[:, 0], expected.double(), atol=1e-5)
    assert abs(float(matching.mean())) < 0.3
    assert float(scores(truth, pictures)[1].mean()) == 1.0


def test_random_masks_give_nothing_away_by_themselves() -> None:
    result = decided(replace(world(answers_noise, count=300), random_masks=True))
    assert result.verdict is not Verdict.FAILED
    assert decided(replace(world(keeps, count=60), random_masks=True)).verdict is Verdict.FAILED


def test_features_are_standardised_and_what_is_constant_up_to_rounding_is_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    small, constant = 1e-3 * torch.randn(50, 3, 2, 2, generator=generator), 5.0 + 1e-7 * torch.randn(50, 4)
    found = standardised((small + 1.0, constant), generator)
    assert found.shape == (50, 16)
    assert torch.allclose(found[:, :12].std(dim=0), torch.ones(12))
    assert (found[:, 12:] == 0).all()


def test_wide_features_are_hashed_so_that_angles_stay() -> None:
    generator = torch.Generator().manual_seed(0)
    wide = torch.randn(20, 3 * WIDTH, generator=generator)
    wide[1] = wide[0] + 0.3 * wide[2]
    found = standardised((wide,), generator)
    assert found.shape == (20, WIDTH)
    expected = torch.nn.functional.cosine_similarity(wide[0], wide[1], dim=0)
    assert torch.nn.functional.cosine_similarity(found[0], found[1], dim=0) == pytest.approx(float(expected), abs=0.1)


def test_ten_photos_are_inconclusive() -> None:
    result = decided(world(collapses, count=10))
    assert (result.verdict, result.value, result.gates) == (Verdict.INCONCLUSIVE, None, True)
    assert "30" in result.reason


def test_an_interval_that_is_too_wide_says_how_many_pictures_it_would_take() -> None:
    result = decided(world(answers_noise, count=60))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "pictures would settle it" in result.reason


def test_an_original_whose_features_say_nothing_makes_it_void() -> None:
    result = decided(replace(world(collapses, count=100), draws_well=False))
    assert result.verdict is Verdict.VOID
    assert not result.controls[0].behaved


def test_noise_features_that_tell_something_make_it_void() -> None:
    @dataclass(frozen=True)
    class Leaking(Planted):
        def features(self, world: World, set_name: str, rows: torch.Tensor | None = None) -> tuple[torch.Tensor, ...]:
            return super().features(World.ORIGINAL if world is World.NOISE else world, set_name, rows)

    result = decided(Leaking(subjects=1, trained=60, held_out=0))
    assert (result.verdict, [control.behaved for control in result.controls]) == (Verdict.VOID, [True, False])


@pytest.mark.parametrize("broken", [FORGET, RETAIN])
def test_features_that_are_not_numbers_are_named(broken: str) -> None:
    context = world(collapses, count=40)
    result = decided(replace(context, forget=not_numbers) if broken == FORGET else replace(context, retain=not_numbers))
    assert (result.verdict, result.value) == (Verdict.INCONCLUSIVE, None)
    assert "not numbers" in result.reason


@pytest.mark.parametrize("size", [1e5, 1e20])
def test_a_feature_of_great_size_hides_none_of_the_others(size: float) -> None:
    @dataclass(frozen=True)
    class Loudest(Planted):
        """The first feature of the candidate is as large as can be, and says nothing."""

        def features(self, world: World, set_name: str, rows: torch.Tensor | None = None) -> tuple[torch.Tensor, ...]:
            (found,) = super().features(world, set_name, rows)
            found = found.flatten(1).clone()
            if world is World.CANDIDATE:
                found[:, 0] = size
            return (found,)

    result = decided(Loudest(subjects=1, trained=60, held_out=0, forget=keeps))
    assert (result.verdict, [control.behaved for control in result.controls]) == (Verdict.FAILED, [True, True])


def test_one_picture_of_great_size_makes_no_constant_of_the_others() -> None:
    values = torch.randn(50, 40, generator=torch.Generator().manual_seed(0))
    values[7, 3] = 1e20
    found = standardised((values,), torch.Generator().manual_seed(0))
    assert torch.isfinite(found).all()
    assert (found.std(dim=0) > 0.9).all()


def test_the_same_world_gives_the_same_result() -> None:
    one, same = (measured(world(mumbles, count=60)) for _ in range(2))
    assert one == same


def test_a_probe_learns_from_a_bounded_number_of_retained_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "RETAINED_AT_MOST", 20)
    few = measured(world(keeps, count=60, retained=2)).metrics["probe_linear_with_other_pictures"][FORGET]
    monkeypatch.setattr(probe, "RETAINED_AT_MOST", 120)
    many = measured(world(keeps, count=60, retained=2)).metrics["probe_linear_with_other_pictures"][FORGET]
    assert few.after is not None
    assert many.after is not None
    assert few.after < many.after


def drawn(context: Planted) -> Scatter:
    (plot,) = measured(context).plots
    assert isinstance(plot, Scatter)
    return plot


def group(plot: Scatter, name: str) -> torch.Tensor:
    return torch.tensor(plot.points[name], dtype=torch.float64)


def apart(plot: Scatter, one: str, other: str) -> float:
    """Distance of the middles of two groups."""
    return float(torch.dist(group(plot, one).mean(dim=0), group(plot, other).mean(dim=0)))


@dataclass(frozen=True)
class Loud(Planted):
    """Features of noise vary as much as those of pictures, around another place."""

    def features(self, world: World, set_name: str, rows: torch.Tensor | None = None) -> tuple[torch.Tensor, ...]:
        (found,) = super().features(world, set_name, rows)
        forgotten = world is World.CANDIDATE and set_name == FORGET and self.forget is not keeps
        if world is not World.NOISE and not forgotten:
            return (found,)
        return (0.9 + 0.1 * torch.randn(found.shape, generator=self.generator(f"loud {world} {set_name}")),)


@pytest.mark.parametrize("count", [7, 3])
def test_features_are_drawn_where_pictures_are_too_few_for_a_probe(count: int) -> None:
    context = Loud(trained=count, held_out=0, subjects=30, forget=collapses)
    plot = drawn(context)
    assert decided(context).value is None
    assert {name: len(points) for name, points in plot.points.items()} == {
        "forget after": count,
        "forget before": count,
        "noise": count,
        "retained before": min(30 * count, DRAWN_AT_MOST),
    }
    assert plot.question is Question.RECOVERABLE


def test_two_pictures_are_not_drawn() -> None:
    assert measured(Planted(trained=2, held_out=0)).plots == ()


@pytest.mark.parametrize("count", [7, 60])
def test_forgotten_pictures_lie_where_noise_lies_and_others_where_they_lay(count: int, only_linear: None) -> None:
    forgotten = drawn(Loud(trained=count, held_out=0, subjects=3, forget=collapses))
    moved = apart(forgotten, "forget after", "forget before")
    assert moved > 4 * apart(forgotten, "forget after", "noise")
    kept = drawn(Loud(trained=count, held_out=0, subjects=3, forget=keeps))
    assert kept.points["forget after"] == kept.points["forget before"]
    assert apart(kept, "forget after", "noise") == pytest.approx(moved, rel=0.3)


def test_the_axes_do_not_depend_on_the_candidate(only_linear: None) -> None:
    one, other = (drawn(world(change, count=40)) for change in (collapses, mumbles))
    for name in ("forget before", "noise", "retained before"):
        assert torch.allclose(group(one, name), group(other, name))
    assert not torch.allclose(group(one, "forget after"), group(other, "forget after"))


def test_at_most_so_many_pictures_of_a_group_are_drawn(monkeypatch: pytest.MonkeyPatch, only_linear: None) -> None:
    monkeypatch.setattr(feature_map, "DRAWN_AT_MOST", 20)
    plot = drawn(world(keeps, count=40))
    assert {len(points) for points in plot.points.values()} == {20}
    assert plot.points["forget after"] == plot.points["forget before"], "the same pictures before and after"


def test_pictures_whose_features_are_not_numbers_are_counted_in_words() -> None:
    def one_broken(original: Outputs, noise: Outputs) -> torch.Tensor:
        images = original.images.clone()
        images[2, 0, 8, 8] = torch.nan
        return images

    plot = drawn(world(one_broken, count=7))
    assert len(plot.points["forget after"]) == 6
    assert len(plot.points["forget before"]) == 7
    assert plot.caption.endswith("Not drawn, since their features are not finite: 1 of forget after.")
    assert not drawn(world(not_numbers, count=7)).points["forget after"]


def test_the_picture_of_the_features_is_the_same_each_time() -> None:
    one, same = (drawn(Planted(forget=mumbles)) for _ in range(2))
    assert one == same


def test_principal_components_are_the_directions_that_vary_most_with_a_sign_of_their_own() -> None:
    generator = torch.Generator().manual_seed(0)
    scale = torch.tensor([0.1, 5.0, 0.1, 2.0])
    features = 3.0 + scale * torch.randn(400, 4, generator=generator)
    points, share = principal_components(features, 300)
    assert torch.allclose(points.abs(), (features[:, [1, 3]] - 3.0).abs().double(), atol=1.0)
    assert torch.corrcoef(torch.stack([points[:, 0], features[:, 1].double()]))[0, 1] > 0.99
    assert torch.corrcoef(torch.stack([points[:, 1], features[:, 3].double()]))[0, 1] > 0.99
    assert share == pytest.approx(29.0 / 29.02, abs=0.001)
    assert torch.allclose(points[:300].mean(dim=0), torch.zeros(2, dtype=torch.float64), atol=1e-9)


@pytest.mark.parametrize("width", [1, 5])
def test_features_of_one_number_or_all_alike_can_be_drawn(width: int) -> None:
    points, share = principal_components(torch.ones(6, width), 4)
    assert (points == 0).all()
    assert share == 0.0


def test_the_first_rows_can_set_mean_and_deviation_for_all() -> None:
    generator = torch.Generator().manual_seed(0)
    known, others = torch.randn(50, 3, generator=generator), 10.0 + torch.randn(20, 3, generator=generator)
    found = standardised((torch.cat([known, others]),), generator, known=50)
    assert torch.allclose(found[:50], standardised((known,), generator))
    assert torch.allclose(found[50:], (others - known.mean(dim=0)) / known.std(dim=0), atol=1e-5)
