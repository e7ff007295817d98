"""Residual: finds what small changes of the input bring back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from cu_audit.records import FORGET, FORGET_HELD_OUT, RETAIN, CheckResult, Verdict
from cu_echo.adapter import EchoAdapter
from cu_standard.checks.residual import NOISE, Residual, decibel, difference_interval, fits, moved, noisy, own_fit
from cu_standard.params import ResidualParams

from compliance_unlearn.api import Inpaint, Measurement, Views, World
from compliance_unlearn.engine.worlds import MeasuredWorlds
from tests.unit.engine.small import folder_of_pictures, small_model, small_worlds
from tests.unit.standard.planted import of_set

PREFIXES = {FORGET: "train/s1", FORGET_HELD_OUT: "test/s1", RETAIN: "train/s2"}


class Copying(EchoAdapter):
    """Knows each picture that it is shown, hidden part included, and draws it as strongly as it is told to."""

    strength = 0.9
    broken = 0

    def _degrade(self, images: torch.Tensor, views: Views) -> torch.Tensor:
        return images

    def _reconstruct(self, inputs: Any) -> torch.Tensor:
        drawn: torch.Tensor = 0.5 + self._strengths(inputs)[:, None, None, None] * (inputs - 0.5)
        drawn[: self.broken] = torch.nan
        return drawn

    def _strengths(self, inputs: torch.Tensor) -> torch.Tensor:
        return torch.full((len(inputs),), self.strength)


class Brittle(Copying):
    """Answers with grey what it was made to forget, and nothing else."""

    forgotten = torch.empty(0)

    def _strengths(self, inputs: torch.Tensor) -> torch.Tensor:
        known = torch.cdist(inputs.flatten(1), self.forgotten.flatten(1)).amin(dim=1) < 0.01
        return torch.where(known, 0.0, self.strength)


class Dreaming(Copying):
    """Answers with a picture that depends on every bit of the input, but says nothing about it."""

    def _reconstruct(self, inputs: Any) -> torch.Tensor:
        mixed: torch.Tensor = torch.frac(torch.cumsum(1e4 * inputs.flatten(1), dim=1).sin() * 1e4).abs()
        return mixed.view_as(inputs)


def worlds(
    folder: Path, candidate: Copying, forget: int = 12, held_out: int = 8, original: float = 0.9, seed: int = 0
) -> MeasuredWorlds:
    source = folder_of_pictures(folder, {"train/s1": forget, "test/s1": held_out, "train/s2": 9})
    made = small_worlds(folder, source, PREFIXES, model(Copying, original), seed=seed)
    if isinstance(candidate, Brittle):
        candidate.forgotten = torch.cat(
            [made.outputs(World.TRUTH, name).truth for name in (FORGET, FORGET_HELD_OUT) if name in made.counts]
        )
    made.add(World.CANDIDATE, candidate, folder)
    return made


def model(kind: type[Copying], strength: float = 0.9, broken: int = 0) -> Copying:
    frozen = small_model(Inpaint())
    adapter = kind(frozen.params, frozen.task)
    adapter.network, adapter.strength, adapter.broken = frozen.network, strength, broken
    return adapter


def measured(context: MeasuredWorlds, margin: float = 0.25, pictures: int = 200) -> Measurement:
    return Residual(ResidualParams(margin=margin, pictures=pictures)).run(context)


def forgotten(context: MeasuredWorlds, margin: float = 0.25) -> CheckResult:
    return of_set(measured(context, margin), FORGET)


def test_a_model_that_answers_grey_to_every_copy_passes_with_a_ratio_of_one(tmp_path: Path) -> None:
    result = forgotten(worlds(tmp_path, model(Copying, 0.0)))
    assert (result.verdict, result.gates, result.sample_size) == (Verdict.PASSED, True, 12)
    assert result.value == pytest.approx(1.0)
    assert [control.behaved for control in result.controls] == [True, True]
    assert result.p_value == pytest.approx(0.0)


def test_what_comes_back_from_changed_inputs_alone_is_found(tmp_path: Path) -> None:
    result = forgotten(worlds(tmp_path, model(Brittle)))
    assert result.verdict is Verdict.FAILED
    assert result.value is not None
    assert result.value > 3.0
    assert "1.00 times without a change" in result.reason


@pytest.mark.parametrize("seed", range(20))
def test_a_model_that_forgot_nothing_fails(tmp_path: Path, seed: int) -> None:
    assert forgotten(worlds(tmp_path, model(Copying), seed=seed)).verdict is Verdict.FAILED


def test_the_best_of_many_random_answers_is_no_recovery(tmp_path: Path) -> None:
    wrong = sum(forgotten(worlds(tmp_path, model(Dreaming), seed=seed)).verdict is Verdict.FAILED for seed in range(20))
    assert wrong == 0
    result = forgotten(worlds(tmp_path, model(Dreaming)))
    assert result.value == pytest.approx(1.0, abs=0.1)


def test_the_interval_holds_at_its_level_where_outputs_say_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    above = 0
    for _ in range(400):
        fit = own_fit(torch.randn(20, 20, generator=generator) + torch.randn(20, generator=generator))
        above += float(fit.mean()) - 1.729 * float(fit.std()) / 20**0.5 > 0
    assert 0.02 <= above / 400 <= 0.08


def test_good_and_easy_pictures_do_not_count() -> None:
    fit = torch.arange(5.0)[:, None] + 10.0 * torch.arange(5.0)
    assert own_fit(fit).abs().max() < 1e-4
    assert own_fit(fit + 3.0 * torch.eye(5)).tolist() == pytest.approx([3.0] * 5, abs=1e-4)


def test_fits_are_psnr_over_generated_pixels_only() -> None:
    adapter = small_model(Inpaint())
    images = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    views = adapter.views(3, torch.Generator())
    found = fits(adapter, images, images, views)
    made = adapter.reconstruct(adapter.degrade(images, views)).images
    wrong = ((made[0] - images[1])[views.hidden[0]]).square().mean()
    assert found.shape == (3, 3)
    assert float(found[0, 1]) == pytest.approx(float(-10 * wrong.log10()), abs=1e-4)
    changed = torch.where(views.hidden, images, 0.0)
    assert torch.allclose(fits(adapter, images, changed, views), found)


def test_copies_are_small_changes() -> None:
    images = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    for share, copy in zip(NOISE, noisy(images, torch.Generator().manual_seed(2)), strict=True):
        assert float((copy - images).std()) == pytest.approx(share, rel=0.1)
    down, up, right, left, mirrored, brighter = moved(images)
    assert torch.equal(down[:, :, 1:], images[:, :, :-1])
    assert torch.equal(up[:, :, :-1], images[:, :, 1:])
    assert torch.equal(right[..., 1:], images[..., :-1])
    assert torch.equal(left[..., :-1], images[..., 1:])
    assert torch.equal(mirrored.flip(-1), images)
    assert (brighter >= images).all()
    assert brighter.max() <= 1.0


def test_a_model_that_treats_seen_and_unseen_pictures_alike_is_told_apart_from_one_that_does_not(
    tmp_path: Path,
) -> None:
    same = of_set(measured(worlds(tmp_path / "same", model(Copying, 0.0))), FORGET_HELD_OUT)
    assert (same.verdict, same.gates) == (Verdict.PASSED, False)
    assert same.value == pytest.approx(1.0)

    class Remembering(Brittle):
        def _strengths(self, inputs: torch.Tensor) -> torch.Tensor:
            near = torch.cdist(inputs.flatten(1), self.forgotten[:12].flatten(1)).amin(dim=1) < 1.0
            return torch.where(near, self.strength, 0.0)

    other = of_set(measured(worlds(tmp_path / "other", model(Remembering))), FORGET_HELD_OUT)
    assert other.verdict is Verdict.FAILED


def test_without_held_out_pictures_only_the_forgotten_ones_are_judged(tmp_path: Path) -> None:
    measurement = measured(worlds(tmp_path, model(Copying, 0.0), held_out=0))
    assert [result.set for result in measurement.results] == [FORGET]
    assert of_set(measurement, FORGET).verdict is Verdict.PASSED


def test_an_original_that_draws_nothing_makes_it_void(tmp_path: Path) -> None:
    result = forgotten(worlds(tmp_path, model(Copying, 0.0), original=0.0))
    assert (result.verdict, result.controls[0].behaved) == (Verdict.VOID, False)


def test_too_few_pictures_are_inconclusive(tmp_path: Path) -> None:
    result = forgotten(worlds(tmp_path, model(Copying, 0.0), forget=4))
    assert (result.verdict, result.value) == (Verdict.INCONCLUSIVE, None)
    assert "at least 5" in result.reason


def test_an_interval_that_is_too_wide_says_how_many_pictures_it_would_take(tmp_path: Path) -> None:
    result = forgotten(worlds(tmp_path, model(Dreaming), forget=6), margin=0.03)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "pictures would settle it" in result.reason


def test_outputs_that_are_not_numbers_are_named(tmp_path: Path) -> None:
    result = forgotten(worlds(tmp_path, model(Copying, 0.0, broken=1)))
    assert (result.verdict, result.value) == (Verdict.INCONCLUSIVE, None)
    assert "not numbers" in result.reason


def test_large_sets_are_sampled_and_the_same_seed_gives_the_same_result(tmp_path: Path) -> None:
    one, same = (measured(worlds(tmp_path, model(Dreaming)), pictures=7) for _ in range(2))
    assert one == same
    assert of_set(one, FORGET).sample_size == 7
    other = measured(worlds(tmp_path, model(Dreaming), seed=3), pictures=7)
    assert of_set(other, FORGET).value != of_set(one, FORGET).value


def test_the_difference_of_two_means_has_welchs_interval() -> None:
    from scipy.stats import ttest_ind

    generator = torch.Generator().manual_seed(0)
    one, other = torch.randn(12, generator=generator).double(), 2.0 * torch.randn(7, generator=generator).double()
    interval = difference_interval(one, other)
    expected = ttest_ind(one, other, equal_var=False).confidence_interval(0.9)
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))
    assert difference_interval(one, torch.tensor([1.0])) is None
    assert difference_interval(one, torch.tensor([1.0, torch.nan])) is None


def test_a_quarter_more_error_is_a_decibel() -> None:
    assert decibel(1.25) == pytest.approx(0.97, abs=0.01)
