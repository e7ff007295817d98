"""Like retrained: the second goal, measured against a model that never saw the records."""

from __future__ import annotations

import pytest
import torch
from cu_audit.records import FORGET, FORGET_HELD_OUT, RETAIN, Verdict
from cu_standard.checks.like_retrained import LikeRetrained
from cu_standard.params import LikeRetrainedParams

from compliance_unlearn.api import Measurement, Outputs
from tests.unit.standard.planted import Change, Planted, collapses, deciding, keeps, not_numbers, of_set


def blurred(original: Outputs, noise: Outputs) -> torch.Tensor:
    """Draws less well than a model that knows the pictures, and better than of noise."""
    coarse = torch.nn.functional.avg_pool2d(original.images, 4)
    return torch.nn.functional.interpolate(coarse, size=original.images.shape[-2:])


def measured(world: Planted, psnr_margin: float = 0.5) -> Measurement:
    return LikeRetrained(LikeRetrainedParams(psnr_margin=psnr_margin)).run(world)


def world(forget: Change, trained: int = 40) -> Planted:
    return Planted(forget=forget, trained=trained, retrained=blurred, subjects=5, known_subjects=False)


def test_a_candidate_that_draws_as_the_reference_passes() -> None:
    measurement = measured(world(blurred))
    assert deciding(measurement) == {Verdict.PASSED}
    assert of_set(measurement, FORGET).p_value == pytest.approx(0.0, abs=1e-9)


def test_one_that_makes_noise_of_everything_fails_and_the_figures_say_why() -> None:
    result = of_set(measured(world(collapses)), FORGET)
    assert result.verdict is Verdict.FAILED
    assert result.value is not None
    assert result.value < -0.5
    assert "candidate" in result.reason
    assert "reference" in result.reason


def test_nothing_forgotten_fails() -> None:
    result = of_set(measured(world(keeps)), FORGET)
    assert result.verdict is Verdict.FAILED
    assert result.value is not None
    assert result.value > 0.5


@pytest.mark.parametrize("seed", range(20))
def test_a_few_pictures_of_a_wide_spread_do_not_pass(seed: int) -> None:
    def uneven(original: Outputs, noise: Outputs) -> torch.Tensor:
        strength = torch.rand(len(original), 1, 1, 1, generator=torch.Generator().manual_seed(seed))
        return strength * original.images + (1 - strength) * noise.images

    assert Verdict.PASSED not in deciding(measured(world(uneven, trained=5)))


def test_one_picture_is_too_few() -> None:
    result = of_set(measured(Planted(trained=1, held_out=0, retrained=blurred)), FORGET)
    assert (result.verdict, result.interval) == (Verdict.INCONCLUSIVE, None)
    assert "at least 2" in result.reason


def test_without_a_reference_it_is_skipped_and_says_how_to_get_one() -> None:
    measurement = measured(Planted())
    assert {result.verdict for result in measurement.results} == {Verdict.SKIPPED}
    assert "--with-reference" in of_set(measurement, FORGET).reason


def test_a_reference_that_is_as_bad_as_noise_is_no_measure() -> None:
    measurement = measured(Planted(forget=collapses, trained=40, retrained=collapses, subjects=5, known_subjects=False))
    assert deciding(measurement) == {Verdict.VOID}


def test_outputs_that_are_not_numbers_do_not_pass_and_are_named() -> None:
    result = of_set(measured(world(not_numbers)), FORGET)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "candidate not finite" in result.reason


def test_sets_are_judged_apart_and_only_the_forget_set_decides() -> None:
    results = {result.set: result.gates for result in measured(world(blurred)).results}
    assert results == {FORGET: True, FORGET_HELD_OUT: False, RETAIN: False}
