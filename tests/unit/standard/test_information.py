"""Information: passes only where a planted leak would have been seen, and finds leaks that no eye would."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from cu_audit.records import FORGET, FORGET_HELD_OUT, RETAIN, CheckResult, Histogram, Verdict
from cu_standard.checks.information import Information
from cu_standard.mutual_information import PairedSample
from cu_standard.params import InformationParams

from compliance_unlearn.api import Outputs, World
from tests.unit.engine.test_worlds import measured as measured_worlds
from tests.unit.standard.planted import Change, Planted, answers_noise, collapses, keeps, negative, not_numbers, of_set

MARGIN = 0.1


def check(margin: float = MARGIN) -> Information:
    return Information(InformationParams(margin=margin, permutations=50))


def forgets(change: Change, count: int = 300, seed: int = 0, *, random_masks: bool = False) -> CheckResult:
    world = Planted(seed=seed, trained=count, held_out=0, subjects=1, forget=change, random_masks=random_masks)
    return of_set(check().run(world), FORGET)


def faint_copy(original: Outputs, noise: Outputs) -> torch.Tensor:
    """A tenth of what was drawn before, on top of noise outputs."""
    return noise.images + 0.1 * (original.images - original.images.mean(dim=0))


@pytest.mark.parametrize("change", [collapses, answers_noise], ids=lambda each: each.__name__)
def test_outputs_without_information_pass_where_there_are_enough(change: Change) -> None:
    result = forgets(change)
    assert (result.verdict, result.gates, result.sample_size) == (Verdict.PASSED, True, 300)
    assert result.interval is not None
    assert result.threshold is not None
    assert result.interval.high <= result.threshold
    assert result.p_value is not None
    assert result.p_value < 0.05
    assert result.detectable is None  # a lower bound shows no smallest leak that would have been seen
    assert [control.behaved for control in result.controls] == [True, True, True]


@pytest.mark.parametrize("change", [keeps, negative, faint_copy], ids=lambda each: each.__name__)
def test_outputs_that_tell_of_their_content_fail(change: Change) -> None:
    result = forgets(change)
    assert result.verdict is Verdict.FAILED
    assert result.interval is not None
    assert result.threshold is not None
    assert result.interval.low > result.threshold


def test_a_leak_seldom_passes_and_its_absence_seldom_fails() -> None:
    leaking = Counter(forgets(faint_copy, 120, seed).verdict for seed in range(20))
    silent = Counter(forgets(answers_noise, 120, seed).verdict for seed in range(20))
    assert leaking[Verdict.PASSED] == 0
    assert leaking[Verdict.FAILED] >= 18
    assert silent[Verdict.FAILED] <= 1


def test_what_a_pass_does_not_exclude_is_said() -> None:
    """A complete leak of every twentieth record goes unseen: a limit of the estimator that the result must own."""

    def a_few(original: Outputs, noise: Outputs) -> torch.Tensor:
        leaking = (torch.arange(len(noise)) % 20 == 1)[:, None, None, None]
        return torch.where(leaking, original.images, noise.images)

    result = forgets(a_few)
    assert result.verdict is not Verdict.FAILED
    assert "a leak of a few records among many, even if complete" in result.not_tested


@pytest.mark.parametrize("change", [collapses, answers_noise, keeps, faint_copy], ids=lambda each: each.__name__)
def test_ten_images_are_too_few_and_the_reason_says_how_many_are_needed(change: Change) -> None:
    for seed in range(8):
        result = forgets(change, 10, seed)
        assert result.verdict is Verdict.INCONCLUSIVE
        assert "10 images are too few" in result.reason
        assert "images are needed" in result.reason


def test_fewer_than_ten_images_are_not_measured() -> None:
    result = forgets(collapses, 6)
    assert (result.verdict, result.value) == (Verdict.INCONCLUSIVE, None)
    assert "about 200 are needed" in result.reason


def test_outputs_that_are_not_numbers_are_named() -> None:
    def one_broken(original: Outputs, noise: Outputs) -> torch.Tensor:
        images = noise.images.clone()
        images[3] = math.inf
        return images

    assert "300 of 300 outputs are not finite" in forgets(not_numbers).reason
    result = forgets(one_broken)
    assert (result.verdict, result.value) == (Verdict.INCONCLUSIVE, None)
    assert "1 of 300 outputs are not finite" in result.reason


def test_an_original_that_tells_nothing_itself_makes_the_check_void() -> None:
    @dataclass(frozen=True)
    class Silent(Planted):
        def outputs(self, world: World, set_name: str) -> Outputs:
            return super().outputs(World.NOISE if world is World.ORIGINAL else world, set_name)

    result = of_set(check().run(Silent(trained=300, held_out=0, subjects=1)), FORGET)
    assert result.verdict is not Verdict.PASSED
    assert not result.controls[0].behaved


def test_noise_outputs_that_tell_of_the_records_make_the_check_void() -> None:
    @dataclass(frozen=True)
    class Telling(Planted):
        def outputs(self, world: World, set_name: str) -> Outputs:
            return super().outputs(World.ORIGINAL if world is World.NOISE else world, set_name)

    result = of_set(check().run(Telling(trained=300, held_out=0, subjects=1, forget=keeps)), FORGET)
    assert result.verdict is Verdict.VOID
    assert [control.behaved for control in result.controls][:2] == [True, False]


@pytest.mark.parametrize(("change", "verdict"), [(answers_noise, Verdict.PASSED), (keeps, Verdict.FAILED)])
def test_masks_of_their_own_carry_no_information(change: Change, verdict: Verdict) -> None:
    assert forgets(change, 400, random_masks=True).verdict is verdict


def test_what_an_8_bit_picture_cannot_show_does_not_count() -> None:
    def whisper(original: Outputs, noise: Outputs) -> torch.Tensor:
        return torch.full_like(original.images, 128 / 255) + 1e-4 * original.images

    result = forgets(whisper)
    assert (result.verdict, result.value) == (Verdict.PASSED, 0.0)


def test_visible_pixels_are_not_scored() -> None:
    def shown_only(original: Outputs, noise: Outputs) -> torch.Tensor:
        return torch.where(original.generated, noise.images, original.truth)

    assert forgets(shown_only).verdict is Verdict.PASSED


def test_never_seen_pictures_are_reported_apart() -> None:
    world = Planted(trained=300, held_out=200, subjects=1, forget=answers_noise, forget_held_out=keeps)
    measurement = check().run(world)
    held_out = of_set(measurement, FORGET_HELD_OUT)
    assert (held_out.verdict, held_out.gates) == (Verdict.FAILED, False)
    assert of_set(measurement, FORGET).verdict is Verdict.PASSED


def test_the_objective_of_the_paper_is_reported_as_measured() -> None:
    metrics = check().run(Planted(trained=200, held_out=0, subjects=1, forget=answers_noise)).metrics
    kept, told = metrics["information"][RETAIN], metrics["information"][FORGET]
    apart, objective = metrics["divergence_from_noise"][FORGET], metrics["information_objective"][FORGET]
    assert kept.before == kept.after
    assert kept.before is not None
    assert kept.before > 2
    assert told.before is not None
    assert told.after is not None
    assert told.before > 2 > 0.1 > told.after
    assert apart.before == pytest.approx(math.log(2), abs=0.1)
    assert apart.after == pytest.approx(0.0, abs=0.1)
    assert objective.after is not None
    assert apart.after is not None
    assert objective.after == pytest.approx((kept.after or 0) + math.log(2) - apart.after)


def test_the_plot_shows_chance_with_what_was_measured() -> None:
    measurement = check().run(Planted(trained=60, held_out=0, subjects=1, forget=answers_noise))
    (plot,) = measurement.plots
    assert isinstance(plot, Histogram)
    assert sum(plot.counts["shuffled pairs"]) == 50
    assert plot.marks["measured"] == of_set(measurement, FORGET).value


def test_the_same_run_gives_the_same_figures() -> None:
    world = Planted(trained=60, held_out=12, subjects=2)
    assert check().run(world) == check().run(world)


def test_a_real_model_that_did_not_change_does_not_pass(tmp_path: Path) -> None:
    worlds = measured_worlds(tmp_path)
    worlds.add(World.CANDIDATE, worlds.model(World.ORIGINAL), tmp_path)
    result = of_set(check().run(worlds), FORGET)
    assert (result.verdict, result.sample_size) == (Verdict.INCONCLUSIVE, 5)


def gaussian_pairs(count: int, correlation: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Two numbers a side, of which the first are correlated: information −log(1 − ρ²) / 2."""
    generator = torch.Generator().manual_seed(seed)
    one, other = torch.randn(2, count, 2, generator=generator, dtype=torch.float64)
    other[:, 0] = correlation * one[:, 0] + math.sqrt(1 - correlation**2) * other[:, 0]
    return one, other


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.8, 0.95])
def test_the_estimate_is_a_lower_bound_for_gaussians(correlation: float) -> None:
    truth = -0.5 * math.log(1 - correlation**2)
    estimates = [
        float(
            PairedSample(*gaussian_pairs(300, correlation, seed), torch.Generator().manual_seed(seed))
            .contributions()
            .mean()
        )
        for seed in range(20)
    ]
    mean = sum(estimates) / len(estimates)
    assert 0.6 * truth - 0.05 < mean < truth + 0.02


def test_shuffled_pairs_and_equal_outputs_tell_nothing() -> None:
    contents, outputs = gaussian_pairs(400, 0.9, 1)
    pairs = PairedSample(contents, outputs, torch.Generator().manual_seed(0))
    assert pairs.shuffled(50, torch.Generator().manual_seed(1)).max() < 0.1 < pairs.contributions().mean()
    constant = PairedSample(contents, torch.ones(400, 3), torch.Generator().manual_seed(0))
    assert not constant.contributions().any()


def test_a_sample_of_records_is_the_same_in_every_world(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cu_standard.checks.information.RECORDS_AT_MOST", 250)
    result = forgets(keeps)
    assert (result.verdict, result.sample_size) == (Verdict.FAILED, 250)


def test_a_wider_margin_allows_more() -> None:
    world = Planted(trained=300, held_out=0, subjects=1, forget=faint_copy)
    assert of_set(check(margin=1e-3).run(world), FORGET).verdict is not Verdict.PASSED
    assert of_set(check().run(replace(world, forget=answers_noise)), FORGET).verdict is Verdict.PASSED
