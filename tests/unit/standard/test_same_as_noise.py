"""Same as noise: a difference is reported in plain words, and decides only where the policy gives a threshold."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from cu_audit.records import CheckResult, Verdict
from cu_standard.checks.same_as_noise import SameAsNoise, records_needed
from cu_standard.params import SameAsNoiseParams
from cu_standard.statistics import share_interval
from cu_standard.two_sample import cross_fitted_probabilities, energy_distance, jensen_shannon
from scipy.stats import binom

from compliance_unlearn.api import Outputs, World
from tests.unit.engine.test_worlds import measured as measured_worlds
from tests.unit.standard.planted import Change, Planted, answers_noise, collapses, keeps, not_numbers

BOTH = ("same-as-noise", "same-as-noise-energy")


def results(
    change: Change,
    count: int = 60,
    seed: int = 0,
    *,
    accuracy_at_most: float | None = None,
    random_masks: bool = False,
    noise_is_real: bool = False,
) -> tuple[CheckResult, CheckResult]:
    world = Planted(
        seed=seed,
        trained=count,
        held_out=0,
        subjects=3,
        forget=change,
        random_masks=random_masks,
        noise_is_real=noise_is_real,
    )
    measurement = SameAsNoise(SameAsNoiseParams(accuracy_at_most=accuracy_at_most, permutations=199)).run(world)
    classifier, energy = measurement.results
    assert (classifier.name, energy.name) == BOTH
    return classifier, energy


@pytest.mark.parametrize("masks", [False, True])
def test_outputs_that_collapsed_to_the_mean_of_noise_are_called_conspicuous(masks: bool) -> None:
    for result in results(collapses, random_masks=masks):
        assert (result.verdict, result.gates) == (Verdict.FAILED, False)
        assert "conspicuous" in result.reason
        assert "collapse to the mean of noise" in result.reason


def test_nothing_forgotten_differs_from_noise() -> None:
    classifier, energy = results(keeps)
    assert classifier.verdict is Verdict.FAILED
    assert classifier.interval is not None
    assert classifier.interval.low > 0.9
    assert energy.verdict is Verdict.FAILED
    assert energy.value is not None
    assert 0.3 < energy.value <= 1.0


def test_no_difference_is_not_sameness() -> None:
    for result in results(answers_noise):
        assert (result.verdict, result.gates) == (Verdict.INCONCLUSIVE, False)
        assert "does not show that there is none" in result.reason


def test_noise_outputs_are_seldom_called_different() -> None:
    verdicts = [[result.verdict for result in results(answers_noise, 40, seed)] for seed in range(40)]
    for test in zip(*verdicts, strict=True):
        assert test.count(Verdict.FAILED) <= 6
        assert test.count(Verdict.VOID) <= 2


def test_a_threshold_of_the_policy_decides() -> None:
    passed, energy = results(answers_noise, 200, accuracy_at_most=0.65)
    assert (passed.verdict, passed.gates, passed.threshold) == (Verdict.PASSED, True, 0.65)
    assert passed.p_value is not None
    assert passed.p_value < 0.05
    assert not energy.gates
    failed, _ = results(collapses, 200, accuracy_at_most=0.65)
    assert (failed.verdict, failed.gates) == (Verdict.FAILED, True)
    assert "conspicuous" in failed.reason


def test_a_small_difference_is_seldom_passed() -> None:
    """Noise outputs of another strength are told apart more often than the threshold allows."""

    def fainter(original: Outputs, noise: Outputs) -> torch.Tensor:
        return 0.5 + 0.9 * (noise.images - 0.5)

    found = [results(fainter, 200, seed, accuracy_at_most=0.6)[0] for seed in range(20)]
    assert sum(result.value or 0.0 for result in found) / 20 > 0.6
    assert sum(result.verdict is Verdict.PASSED for result in found) <= 2


def test_ten_images_pass_no_threshold_and_the_reason_says_how_many_could() -> None:
    for seed in range(20):
        result, _ = results(answers_noise, 10, seed, accuracy_at_most=0.6)
        assert result.verdict is not Verdict.PASSED
        if result.verdict is Verdict.INCONCLUSIVE:
            assert f"{records_needed(0.6)} are needed" in result.reason


def test_with_the_records_that_are_needed_sameness_passes_nineteen_times_in_twenty() -> None:
    count = records_needed(0.6)
    passed = sum(
        share_interval(hits, 2 * count).high <= 0.6 for hits in binom.rvs(2 * count, 0.5, size=2000, random_state=0)
    )
    assert passed / 2000 == pytest.approx(0.95, abs=0.02)


def test_fewer_than_ten_images_are_not_measured() -> None:
    for result in results(collapses, 9):
        assert (result.verdict, result.value) == (Verdict.INCONCLUSIVE, None)
        assert "at least 10 images" in result.reason


def test_outputs_that_are_not_numbers_are_named() -> None:
    def one_broken(original: Outputs, noise: Outputs) -> torch.Tensor:
        images = noise.images.clone()
        images[3, :, 6, 6] = math.nan
        return images

    for change, said in ((not_numbers, "60 of 60"), (one_broken, "1 of 60")):
        for result in results(change, accuracy_at_most=0.6):
            assert (result.verdict, result.value) == (Verdict.INCONCLUSIVE, None)
            assert f"{said} outputs are not finite numbers" in result.reason


def test_where_noise_outputs_are_pictures_the_original_is_no_control() -> None:
    class Telling(Planted):
        def outputs(self, world: World, set_name: str) -> Outputs:
            return super().outputs(World.NOISE if world is World.ORIGINAL else world, set_name)

    for threshold in (None, 0.65):
        check = SameAsNoise(SameAsNoiseParams(accuracy_at_most=threshold, permutations=199))
        for result in check.run(Telling(trained=60, held_out=0, subjects=3)).results:
            assert result.verdict is Verdict.VOID
            assert [control.behaved for control in result.controls] == [False, True]


def test_the_same_run_gives_the_same_figures() -> None:
    assert results(answers_noise) == results(answers_noise)


def test_a_real_model_is_measured(tmp_path: Path) -> None:
    worlds = measured_worlds(tmp_path)
    worlds.add(World.CANDIDATE, worlds.model(World.ORIGINAL), tmp_path)
    measurement = SameAsNoise(SameAsNoiseParams()).run(worlds)
    assert [result.sample_size for result in measurement.results] == [5, 5]
    assert {result.verdict for result in measurement.results} == {Verdict.INCONCLUSIVE}


def rows(count: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    return shift + torch.randn(count, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_energy_distance_is_that_of_the_definition() -> None:
    one, other = rows(12, 0), rows(9, 1, 0.5)
    between, within, among = (torch.cdist(*pair).mean() for pair in ((one, other), (one, one), (other, other)))
    value, _ = energy_distance(one, other, 99, torch.Generator().manual_seed(0))
    assert value == pytest.approx(float((2 * between - within - among) / (2 * between)))


def test_p_values_of_equal_distributions_are_uniform() -> None:
    values = [
        energy_distance(rows(20, seed), rows(20, 1000 + seed), 99, torch.Generator().manual_seed(seed))[1]
        for seed in range(200)
    ]
    assert min(values) >= 0.01
    for level in (0.05, 0.5, 0.9):
        assert sum(value <= level for value in values) / 200 == pytest.approx(level, abs=0.1)


def test_the_divergence_is_zero_for_equal_samples_and_log_two_for_separate_ones() -> None:
    generator = torch.Generator().manual_seed(0)
    equal = cross_fitted_probabilities(rows(300, 0), rows(300, 1), generator)
    apart = cross_fitted_probabilities(rows(300, 0), rows(300, 1, 9.0), generator)
    assert jensen_shannon(equal) < 0.02
    assert math.log(2) - 0.1 < jensen_shannon(apart) <= math.log(2)


def test_samples_that_are_all_alike_leave_the_classifier_guessing() -> None:
    same = torch.ones(10, 4)
    assert (cross_fitted_probabilities(same, same, torch.Generator()) == 0.5).all()
