"""Whiteness: figures of structure against noise outputs; reported, never decided."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from cu_audit.records import CheckResult, Verdict
from cu_standard.checks.whiteness import Whiteness, has_rectangle, lag_one_autocorrelation, spectral_flatness
from cu_standard.params import WhitenessParams

from compliance_unlearn.api import Outputs, World
from tests.unit.engine.test_worlds import measured as measured_worlds
from tests.unit.standard.planted import Change, Planted, answers_noise, black, keeps, not_numbers


def results(
    change: Change, count: int = 60, seed: int = 0, *, random_masks: bool = False
) -> tuple[CheckResult, CheckResult]:
    world = Planted(seed=seed, trained=count, held_out=0, subjects=1, forget=change, random_masks=random_masks)
    autocorrelation, flatness = Whiteness(WhitenessParams(resamples=1000)).run(world).results
    assert (autocorrelation.name, flatness.name) == ("whiteness", "whiteness-flatness")
    return autocorrelation, flatness


def outputs(images: torch.Tensor, generated: torch.Tensor | None = None) -> Outputs:
    generated = torch.ones_like(images[:, :1], dtype=torch.bool) if generated is None else generated
    return Outputs(images, images, generated, torch.full((len(images),), -1))


def white(count: int = 200, edge: int = 16, channels: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return 0.5 + 0.1 * torch.randn(count, channels, edge, edge, generator=generator)


def smooth(count: int = 50, edge: int = 16) -> torch.Tensor:
    return torch.linspace(0, 1, edge).expand(count, 1, edge, edge)


def test_pictures_are_smoother_than_noise_outputs() -> None:
    autocorrelation, flatness = results(keeps)
    for result in (autocorrelation, flatness):
        assert (result.verdict, result.gates) == (Verdict.FAILED, False)
        assert "conspicuous" in result.reason
        assert all(control.behaved for control in result.controls)
        assert result.interval is not None
        assert result.value is not None
        assert result.interval.low <= result.value <= result.interval.high
    assert autocorrelation.interval is not None
    assert autocorrelation.interval.low > 0.3
    assert flatness.interval is not None
    assert flatness.interval.high < -0.3


def test_noise_outputs_are_seldom_called_different_and_never_passed() -> None:
    verdicts = [[result.verdict for result in results(answers_noise, seed=seed)] for seed in range(40)]
    for figure in zip(*verdicts, strict=True):
        assert figure.count(Verdict.FAILED) <= 9  # an interval at 90 %
        assert figure.count(Verdict.VOID) <= 1
        assert Verdict.PASSED not in figure


def test_scattered_masks_skip_the_spectrum_and_keep_the_neighbours() -> None:
    autocorrelation, flatness = results(keeps, random_masks=True)
    assert autocorrelation.verdict is Verdict.FAILED
    assert (flatness.verdict, flatness.value) == (Verdict.SKIPPED, None)
    assert "rectangle" in flatness.reason


def test_plain_outputs_are_named() -> None:
    for result in results(black):
        assert (result.verdict, result.value) == (Verdict.INCONCLUSIVE, None)
        assert "60 of 60" in result.reason
        assert "conspicuously plain" in result.reason


def test_outputs_that_are_not_numbers_are_named() -> None:
    for result in results(not_numbers):
        assert (result.verdict, result.value) == (Verdict.INCONCLUSIVE, None)
        assert "60 of 60 outputs are not finite numbers" in result.reason


def test_few_images_are_inconclusive() -> None:
    for result in results(keeps, 9):
        assert (result.verdict, result.value) == (Verdict.INCONCLUSIVE, None)
        assert "at least 10" in result.reason


def test_an_original_that_makes_noise_of_everything_is_no_control() -> None:
    class Silent(Planted):
        def outputs(self, world: World, set_name: str) -> Outputs:
            return super().outputs(World.NOISE if world is World.ORIGINAL else world, set_name)

    for result in Whiteness(WhitenessParams()).run(Silent(trained=60, held_out=0, subjects=1)).results:
        assert result.verdict is Verdict.VOID
        assert [control.behaved for control in result.controls] == [False, True]


def test_the_same_run_gives_the_same_figures() -> None:
    assert results(answers_noise) == results(answers_noise)


def test_a_real_model_is_measured(tmp_path: Path) -> None:
    worlds = measured_worlds(tmp_path)
    worlds.add(World.CANDIDATE, worlds.model(World.ORIGINAL), tmp_path)
    autocorrelation, flatness = Whiteness(WhitenessParams()).run(worlds).results
    assert (autocorrelation.verdict, autocorrelation.sample_size) == (Verdict.INCONCLUSIVE, 5)
    assert flatness.verdict is Verdict.SKIPPED


def test_figures_of_white_noise_are_known() -> None:
    assert float(lag_one_autocorrelation(outputs(white())).mean()) == pytest.approx(0.0, abs=0.01)
    assert float(spectral_flatness(outputs(white(edge=32))).mean()) == pytest.approx(math.exp(-0.5772), abs=0.01)


def test_a_ramp_is_all_structure() -> None:
    ramp = outputs(smooth())
    assert (lag_one_autocorrelation(ramp) > 0.8).all()
    assert (spectral_flatness(ramp) < 0.01).all()


def test_given_pixels_do_not_count() -> None:
    mask = torch.zeros(200, 1, 16, 16, dtype=torch.bool)
    mask[:, :, 3:13, 2:14] = True
    one = outputs(white(), mask)
    other = replace(one, images=torch.where(mask, one.images, torch.nan))
    for figure in (lag_one_autocorrelation, spectral_flatness):
        assert torch.equal(figure(one), figure(other))
        assert torch.allclose(figure(one), figure(outputs(one.images[:, :, 3:13, 2:14])))


def test_the_mean_of_a_picture_and_of_its_channels_is_no_structure() -> None:
    coloured = white(channels=3)
    shifted = 0.5 * coloured + torch.tensor([0.0, 0.2, 0.4])[:, None, None]
    for figure in (lag_one_autocorrelation, spectral_flatness):
        assert torch.allclose(figure(outputs(coloured)), figure(outputs(shifted)), atol=1e-4)


def test_frames_and_other_masks_for_each_picture_are_no_rectangle() -> None:
    whole = torch.ones(2, 1, 16, 16, dtype=torch.bool)
    frame, moved, narrow = whole.clone(), whole.clone(), whole.clone()
    frame[:, :, 4:12, 4:12] = False
    moved[1, :, 8:] = False
    narrow[:, :, 2:] = False
    images = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    found = [has_rectangle(outputs(images, mask)) for mask in (whole, frame, moved, narrow)]
    assert found == [True, False, False, False]
