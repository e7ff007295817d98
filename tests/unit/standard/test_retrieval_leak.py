"""Retrieval leak: a hidden part that can be picked out again is a leak, however it is diluted."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from cu_audit.records import FORGET, FORGET_ALL, FORGET_HELD_OUT, RETAIN, Verdict
from cu_standard.checks.retrieval_leak import RetrievalLeak
from cu_standard.params import RetrievalLeakParams
from cu_standard.retrieval import Ranks

from compliance_unlearn.api import Measurement, Outputs, World
from tests.unit.standard.planted import Planted, answers_noise, collapses, deciding, keeps, not_numbers, of_set


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


def test_outputs_that_are_not_numbers_do_not_pass() -> None:
    assert Verdict.PASSED not in deciding(measured(Planted(forget=not_numbers)))


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
    assert (ranks.hits, ranks.share, ranks.mean_reciprocal) == (2, 0.5, (1 + 0.25 + 0.5 + 1) / 4)


def test_the_p_value_and_the_smallest_leak_that_would_show_are_those_of_the_binomial() -> None:
    result = of_set(measured(Planted()), FORGET_ALL)
    assert (result.sample_size, result.value) == (10, 0.0)
    assert result.p_value == pytest.approx(0.7**10)
    assert result.detectable == pytest.approx(0.2589, abs=1e-4)


def test_a_part_with_hits_has_to_pass_by_itself() -> None:
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
