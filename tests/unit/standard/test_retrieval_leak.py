"""Retrieval leak: a hidden part that can be picked out again is a leak, however it is diluted."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from cu_audit.records import FORGET, FORGET_ALL, FORGET_HELD_OUT, RETAIN, Verdict
from cu_standard.checks.retrieval_leak import RetrievalLeak
from cu_standard.params import RetrievalLeakParams
from cu_standard.retrieval import BROKEN, Found, Ranks

from compliance_unlearn.api import Measurement, Outputs, World
from tests.unit.standard.planted import (
    HIDDEN,
    Change,
    Planted,
    answers_noise,
    collapses,
    deciding,
    keeps,
    not_numbers,
    of_set,
    white,
)


def measured(world: Planted, at_most: float = 0.3, distractors: int = 1000) -> Measurement:
    return RetrievalLeak(RetrievalLeakParams(at_most=at_most, distractors=distractors)).run(world)


@pytest.mark.parametrize("change", [collapses, answers_noise], ids=lambda each: each.__name__)
def test_forgotten_passes_on_all_pictures_of_the_subject(change: object) -> None:
    measurement = measured(Planted(forget=change))  # type: ignore[arg-type]
    result = of_set(measurement, FORGET_ALL)
    assert (result.verdict, result.gates, result.value, result.sample_size) == (Verdict.PASSED, True, 0.0, 10)
    assert result.interval is not None
    assert result.interval.high == pytest.approx(0.259, abs=1e-3)
    assert all(control.behaved for control in result.controls)


def test_nothing_forgotten_fails() -> None:
    result = of_set(measured(Planted(forget=keeps)), FORGET_ALL)
    assert (result.verdict, result.value) == (Verdict.FAILED, 1.0)


def test_outputs_that_are_not_numbers_are_named_and_show_nothing() -> None:
    measurement = measured(Planted(forget=not_numbers))
    result = of_set(measurement, FORGET_ALL)
    assert (result.verdict, result.value, result.p_value) == (Verdict.INCONCLUSIVE, None, 1.0)
    assert result.interval is not None
    assert (result.interval.low, result.interval.high) == (0.0, 1.0)
    assert result.reason.endswith("10 of 10 outputs are not numbers: this cannot pass")
    assert measurement.metrics["retrieval_mrr"][FORGET_ALL].after is None


def one_broken(value: float, rest: Change) -> Change:
    """One output has one pixel that is not finite."""

    def change(original: Outputs, noise: Outputs) -> torch.Tensor:
        images = rest(original, noise).clone()
        images[0, 0, HIDDEN.start, HIDDEN.start] = value
        return images

    return change


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("held_out", [0, 40])
def test_one_broken_output_of_hundreds_keeps_the_check_from_passing(value: float, held_out: int) -> None:
    world = Planted(trained=200, subjects=10, held_out=held_out, forget=one_broken(value, collapses))
    for result in measured(world).results:
        assert result.verdict is Verdict.INCONCLUSIVE
        assert "outputs are not numbers" in result.reason
    whole = replace(world, forget=collapses)
    assert deciding(measured(whole)) == {Verdict.PASSED}


def test_what_is_found_in_the_other_outputs_fails_beside_a_broken_one() -> None:
    result = of_set(measured(Planted(forget=one_broken(torch.nan, keeps))), FORGET)
    assert (result.verdict, result.value) == (Verdict.FAILED, None)
    assert result.interval is not None
    assert 0.3 < result.interval.low < result.interval.high == 1.0
    assert "found first 6 times of 7" in result.reason


def test_a_pixel_that_was_given_may_be_anything() -> None:
    def change(original: Outputs, noise: Outputs) -> torch.Tensor:
        return torch.where(original.generated, collapses(original, noise), torch.nan)

    assert of_set(measured(Planted(forget=change)), FORGET_ALL).verdict is Verdict.PASSED


@dataclass(frozen=True)
class BrokenControl(Planted):
    """What one world gives is not finite."""

    broken: World = World.ORIGINAL

    def outputs(self, world: World, set_name: str) -> Outputs:
        found = super().outputs(world, set_name)
        return replace(found, images=found.images * torch.nan) if world is self.broken else found


@pytest.mark.parametrize("broken", [World.ORIGINAL, World.NOISE])
def test_a_control_that_is_not_finite_shows_nothing(broken: World) -> None:
    result = of_set(measured(BrokenControl(broken=broken, forget=white)), FORGET_ALL)
    assert result.verdict is Verdict.VOID
    assert [control.value for control in result.controls if not control.behaved] == [None]


def test_broken_outputs_count_against_the_claim_at_both_ends() -> None:
    found = Ranks(torch.tensor([1, BROKEN, 2, 5])).found
    assert found == Found(hits=1, broken=1, count=4)
    assert (found.share, found.least, found.most) == (None, 0.25, 0.5)
    assert found.interval().low == Found(1, 0, 4).interval().low
    assert found.interval().high == Found(2, 0, 4).interval().high
    assert found.p_value(0.3) == Found(2, 0, 4).p_value(0.3)
    assert Found.together([found, Found(3, 0, 5)]) == Found(4, 1, 9)


def test_few_pictures_are_inconclusive_even_without_a_hit() -> None:
    measurement = measured(Planted(trained=4, held_out=0))
    (result,) = measurement.results
    assert (result.set, result.gates, result.verdict, result.value) == (FORGET, True, Verdict.INCONCLUSIVE, 0.0)
    assert "cannot be excluded" in result.reason


def test_never_seen_pictures_do_not_dilute_a_leak_of_the_trained_ones() -> None:
    world = Planted(trained=3, held_out=60, subjects=10, forget=keeps, forget_held_out=collapses)
    measurement = measured(world)
    pooled = of_set(measurement, FORGET_ALL)
    assert pooled.interval is not None
    assert pooled.interval.high < 0.3
    assert pooled.verdict is of_set(measurement, FORGET).verdict is Verdict.FAILED
    assert FORGET in pooled.reason


def test_a_leak_of_one_part_that_may_be_chance_is_inconclusive() -> None:
    def one_of_three(original: Outputs, noise: Outputs) -> torch.Tensor:
        return torch.cat([original.images[:1], noise.images[1:]])

    world = Planted(trained=3, held_out=60, subjects=10, forget=one_of_three, forget_held_out=collapses)
    assert of_set(measured(world), FORGET_ALL).verdict is Verdict.INCONCLUSIVE


def test_too_few_distractors_are_inconclusive() -> None:
    result = of_set(measured(Planted(), at_most=0.2, distractors=9), FORGET_ALL)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "chance alone" in result.reason


def test_without_any_other_picture_nothing_can_be_said() -> None:
    measurement = measured(Planted(subjects=0))
    assert deciding(measurement) == {Verdict.INCONCLUSIVE}


@pytest.mark.parametrize(
    "world", [Planted(draws_well=False), Planted(forget=keeps, draws_well=False)], ids=["forgotten", "kept"]
)
def test_an_original_that_is_not_found_itself_makes_the_check_void(world: Planted) -> None:
    assert deciding(measured(world)) == {Verdict.VOID}


@dataclass(frozen=True)
class Kept(Planted):
    """A policy that forgets some pictures of subject 0 and keeps others, which look almost the same."""

    def outputs(self, world: World, set_name: str) -> Outputs:
        found = super().outputs(world, set_name)
        if set_name != RETAIN:
            return found
        own = super().outputs(World.ORIGINAL, FORGET)
        return Outputs(
            truth=torch.cat([own.images, found.truth[len(own) :]]),
            images=found.images,
            generated=found.generated,
            subjects=torch.cat([own.subjects, found.subjects[len(own) :]]),
        )


def test_other_pictures_of_the_same_subject_are_no_distractors() -> None:
    assert of_set(measured(Kept(forget=keeps)), FORGET).value == 1.0


def test_random_masks_are_compared_each_under_its_own() -> None:
    assert of_set(measured(Planted(forget=keeps, random_masks=True)), FORGET_ALL).verdict is Verdict.FAILED
    assert of_set(measured(Planted(forget=collapses, random_masks=True)), FORGET_ALL).verdict is Verdict.PASSED


def test_visible_pixels_are_not_scored() -> None:
    def shown_only(original: Outputs, noise: Outputs) -> torch.Tensor:
        return torch.where(original.generated, noise.images.mean(dim=0), original.truth)

    assert of_set(measured(Planted(forget=shown_only)), FORGET_ALL).value == 0.0


def test_the_reciprocal_rank_is_reported_before_and_after() -> None:
    metrics = measured(Planted()).metrics["retrieval_mrr"]
    assert set(metrics) == {FORGET, FORGET_HELD_OUT, FORGET_ALL}
    for figures in metrics.values():
        assert figures.before == 1.0
        assert figures.after is not None
        assert figures.after < 0.3


def test_ranks_count_from_one() -> None:
    ranks = Ranks(torch.tensor([1, 4, 2, 1]))
    assert (ranks.found.hits, ranks.found.share, ranks.mean_reciprocal) == (2, 0.5, (1 + 0.25 + 0.5 + 1) / 4)


def test_the_p_value_and_the_smallest_leak_that_would_show_are_those_of_the_binomial() -> None:
    result = of_set(measured(Planted()), FORGET_ALL)
    assert (result.sample_size, result.value) == (10, 0.0)
    assert result.p_value == pytest.approx(0.7**10)
    assert result.detectable == pytest.approx(0.2589, abs=1e-4)


def test_never_seen_pictures_of_which_few_are_found_need_no_bound_of_their_own() -> None:
    """Two of ten never-seen ones found, and none of ninety others: the ten alone could not pass, the hundred do."""

    def two_leak(original: Outputs, noise: Outputs) -> torch.Tensor:
        kept = torch.arange(len(original)) < 2
        return torch.where(kept[:, None, None, None], original.images, collapses(original, noise))

    measurement = measured(Planted(forget=collapses, forget_held_out=two_leak, trained=90, held_out=10))
    assert of_set(measurement, FORGET_HELD_OUT).verdict is Verdict.INCONCLUSIVE
    assert of_set(measurement, FORGET_ALL).verdict is Verdict.PASSED
    stricter = measured(Planted(forget=collapses, forget_held_out=two_leak, trained=90, held_out=10), at_most=0.15)
    assert of_set(stricter, FORGET_ALL).verdict is Verdict.INCONCLUSIVE


def test_trained_pictures_with_hits_have_to_pass_by_themselves() -> None:
    """Two of seven found, and none of ninety-three others: few enough together, and too many of the seven."""

    def two_leak(original: Outputs, noise: Outputs) -> torch.Tensor:
        kept = torch.arange(len(original)) < 2
        return torch.where(kept[:, None, None, None], original.images, collapses(original, noise))

    measurement = measured(Planted(forget=two_leak, forget_held_out=collapses, held_out=93))
    assert of_set(measurement, FORGET).verdict is Verdict.INCONCLUSIVE
    pooled = of_set(measurement, FORGET_ALL)
    assert pooled.interval is not None
    assert pooled.interval.high < 0.3
    assert pooled.verdict is Verdict.INCONCLUSIVE
