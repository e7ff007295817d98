"""Picture quality: figures under the network's name, and a rise that is judged by its interval."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from cu_audit.records import FORGET, RETAIN, SETS, Verdict
from cu_standard.checks import picture_quality
from cu_standard.checks.picture_quality import KERNEL_SET, PictureQuality
from cu_standard.params import PictureQualityParams

from compliance_unlearn.api import Measurement, ModelError, Outputs, World
from compliance_unlearn.engine.worlds import MeasuredWorlds
from tests.unit.engine.small import folder_of_pictures, small_model, small_worlds
from tests.unit.standard.planted import (
    Change,
    Planted,
    answers_noise,
    black,
    deciding,
    not_numbers,
    of_set,
)
from tests.unit.standard.quick_net import QuickNet

NAMES = ("frechet", "kid", "similarity", "class_score")


@pytest.fixture
def real_net() -> None:
    """Asks for the network that the parameters name."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "real_net" not in request.fixturenames:
        monkeypatch.setattr(picture_quality, "named_net", lambda params: QuickNet())


def measured(world: Planted | MeasuredWorlds, allowed: float | None = 0.10) -> Measurement:
    return PictureQuality(PictureQualityParams(frechet_rise_at_most=allowed)).run(world)


def blurred(share: float) -> Change:
    """A share of the way from the original's outputs to the mean of their neighbours."""

    def change(original: Outputs, noise: Outputs) -> torch.Tensor:
        smooth = torch.nn.functional.avg_pool2d(original.images, 3, stride=1, padding=1, count_include_pad=False)
        return original.images + share * (smooth - original.images)

    return change


def errors_times(factor: float) -> Change:
    def change(original: Outputs, noise: Outputs) -> torch.Tensor:
        return original.truth + factor * (original.images - original.truth)

    return change


def test_every_set_has_figures_under_the_name_of_the_network() -> None:
    measurement = measured(Planted())
    assert set(measurement.metrics) == {f"{name}_quick" for name in NAMES}
    for figures in measurement.metrics.values():
        assert set(figures) == set(SETS)
        assert figures[RETAIN].before == figures[RETAIN].after
        assert figures[RETAIN].before is not None
    forget = measurement.metrics["frechet_quick"][FORGET]
    assert forget.before is not None
    assert forget.after is not None
    assert forget.after > 10 * forget.before
    assert measurement.metrics["similarity_quick"][RETAIN].before == pytest.approx(1.0, abs=0.01)


def test_every_reason_says_which_weights_measured() -> None:
    for result in measured(Planted()).results:
        assert "quick (weights 01234567, pictures at 8 × 8 pixels)" in result.reason


def test_a_model_that_did_not_change_passes_with_a_rise_of_zero() -> None:
    measurement = measured(Planted())
    rise, kernel = of_set(measurement, RETAIN), of_set(measurement, KERNEL_SET)
    assert (rise.verdict, rise.value, rise.gates, rise.p_value) == (Verdict.PASSED, 0.0, True, 0.0)
    assert rise.interval is not None
    assert (rise.interval.low, rise.interval.high) == (0.0, 0.0)
    assert all(control.behaved for control in rise.controls)
    assert (kernel.value, kernel.gates) == (0.0, False)


@pytest.mark.parametrize("broken", [answers_noise, black, blurred(1.0), errors_times(3.0)])
@pytest.mark.parametrize("known", [True, False])
def test_a_model_that_is_worse_for_others_fails(broken: Change, known: bool) -> None:
    rise = of_set(measured(Planted(retain=broken, known_subjects=known)), RETAIN)
    assert rise.verdict is Verdict.FAILED
    assert rise.value is not None
    assert rise.value > 0.10
    assert rise.p_value is not None
    assert rise.p_value > 0.95


def test_a_model_that_is_a_little_better_passes() -> None:
    rise = of_set(measured(Planted(retain=errors_times(0.9))), RETAIN)
    assert rise.verdict is Verdict.PASSED
    assert rise.value is not None
    assert rise.value < 0
    assert rise.p_value is not None
    assert rise.p_value < 0.05


def test_without_a_threshold_all_is_reported_and_nothing_decides() -> None:
    measurement = measured(Planted(retain=black), allowed=None)
    assert deciding(measurement) == set()
    assert {result.verdict for result in measurement.results} == {Verdict.INCONCLUSIVE}
    assert all("reported only" in result.reason for result in measurement.results)
    assert of_set(measurement, RETAIN).interval is not None


def test_outputs_that_are_not_numbers_are_named_and_fail() -> None:
    def some(original: Outputs, noise: Outputs) -> torch.Tensor:
        images = original.images.clone()
        images[:4] = torch.nan
        return images

    for change, count in ((some, 4), (not_numbers, 210)):
        measurement = measured(Planted(retain=change))
        rise = of_set(measurement, RETAIN)
        assert (rise.verdict, rise.value, rise.interval) == (Verdict.FAILED, None, None)
        assert rise.reason.startswith(f"{count} of 210 pictures of the unlearned model are not numbers")
        assert all(measurement.metrics[f"{name}_quick"][RETAIN].after is None for name in NAMES)
        assert of_set(measurement, KERNEL_SET).value is None


def test_few_pictures_are_inconclusive_and_the_reason_says_how_many_are_needed() -> None:
    rise = of_set(measured(Planted(subjects=4, trained=2)), RETAIN)
    assert rise.verdict is Verdict.INCONCLUSIVE
    assert "at least 30 are needed" in rise.reason


def test_a_rise_near_the_threshold_is_inconclusive_and_more_pictures_are_asked_for() -> None:
    def uneven(original: Outputs, noise: Outputs) -> torch.Tensor:
        factor = 1.0 + 0.5 * torch.randn(len(original), 1, 1, 1, generator=torch.Generator().manual_seed(0)).abs()
        return original.truth + factor * (original.images - original.truth)

    exact = of_set(measured(Planted(retain=uneven)), RETAIN)
    assert exact.value is not None
    rise = of_set(measured(Planted(retain=uneven), allowed=exact.value * 1.01), RETAIN)
    assert rise.verdict is Verdict.INCONCLUSIVE
    assert "pictures would show" in rise.reason


def test_a_set_on_which_noise_outputs_are_as_good_shows_nothing() -> None:
    rise = of_set(measured(Planted(draws_well=False, noise_is_real=True)), RETAIN)
    assert rise.verdict is Verdict.VOID


def test_an_original_without_any_error_has_no_share() -> None:
    def perfect(original: Outputs, noise: Outputs) -> torch.Tensor:
        return original.truth

    class Perfect(Planted):
        def outputs(self, world: World, set_name: str) -> Outputs:
            return super().outputs(World.TRUTH if world is World.ORIGINAL else world, set_name)

    rise = of_set(measured(Perfect(retain=perfect)), RETAIN)
    assert (rise.verdict, rise.value) == (Verdict.INCONCLUSIVE, None)
    assert "no share exists" in rise.reason


def test_the_interval_holds_the_rise_that_such_samples_have_as_often_as_it_says() -> None:
    """Both bounds at 95 %, over worlds that differ in nothing but their seed."""
    found = [of_set(measured(Planted(seed=seed, retain=fresh_errors), allowed=None), RETAIN) for seed in range(80)]
    logs = torch.tensor(
        [
            [math.log1p(end) for end in (each.value, each.interval.low, each.interval.high)]
            for each in found
            if each.value is not None and each.interval is not None
        ]
    )
    assert len(logs) == 80
    centre = logs[:, 0].mean()
    above, below = int((logs[:, 1] > centre).sum()), int((logs[:, 2] < centre).sum())
    assert above <= 10
    assert below <= 10
    assert logs[:, 0].std() == pytest.approx(float((logs[:, 2] - logs[:, 1]).mean() / 3.4), rel=0.3)


def fresh_errors(original: Outputs, noise: Outputs) -> torch.Tensor:
    """Errors as large as the original's, but other ones; from the pictures, so that each world has its own."""
    seed = int(original.images.double().sum() * 1e6) % 2**31
    errors = 0.022 * torch.randn(original.truth.shape, generator=torch.Generator().manual_seed(seed))
    return (original.truth + errors).clamp(0, 1)


def test_of_a_large_set_as_many_pictures_are_drawn_as_were_asked_for() -> None:
    params = PictureQualityParams(frechet_rise_at_most=0.10, pictures=60)
    world = Planted(retain=fresh_errors)
    measurement = PictureQuality(params).run(world)
    assert {result.sample_size for result in measurement.results} == {60}
    assert of_set(measurement, RETAIN).value != of_set(measured(world), RETAIN).value
    assert measurement == PictureQuality(params).run(world)


def test_the_same_world_gives_the_same_figures() -> None:
    assert measured(Planted(retain=fresh_errors)) == measured(Planted(retain=fresh_errors))


@pytest.mark.usefixtures("real_net")
def test_with_the_default_network_on_measured_worlds(tmp_path: Path) -> None:
    prefixes = {FORGET: "train/s1", RETAIN: "train/s2"}
    source = folder_of_pictures(tmp_path, {"train/s1": 4, "train/s2": 40}, size=16)
    worlds = small_worlds(tmp_path, source, prefixes, small_model(size=16))
    worlds.add(World.CANDIDATE, small_model(size=16), tmp_path)
    measurement = measured(worlds, allowed=None)
    assert set(measurement.metrics) == {f"{name}_efficientnet-lite0" for name in NAMES}
    assert of_set(measurement, RETAIN).value == 0.0
    assert "efficientnet-lite0 (weights 57934424, pictures at 64 × 64 pixels)" in of_set(measurement, RETAIN).reason


@pytest.mark.usefixtures("real_net")
def test_a_network_that_is_not_at_hand_is_noticed_before_anything_is_measured() -> None:
    check = PictureQuality(PictureQualityParams(net="inception", net_path="absent.pth"))
    with pytest.raises(ModelError, match="name a local copy"):
        check.require()
