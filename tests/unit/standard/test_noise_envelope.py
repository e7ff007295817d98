"""Noise envelope: passes what looks like noise outputs, and only where pictures do not."""

from __future__ import annotations

import math

import pytest
import torch
from cu_audit.records import FORGET, FORGET_HELD_OUT, Histogram, Question, Verdict
from cu_standard.checks.noise_envelope import NoiseEnvelope
from cu_standard.envelope import COVERAGE, FOLDS, Borders, Envelope, Inside, folds_of
from cu_standard.params import NoiseEnvelopeParams
from cu_standard.score_histogram import RETAINED_DRAWN, score_histogram
from cu_standard.statistics import share_interval
from scipy.stats import binom

from compliance_unlearn.api import Measurement, Outputs
from tests.unit.standard.planted import (
    Change,
    Planted,
    answers_noise,
    black,
    collapses,
    deciding,
    keeps,
    negative,
    not_numbers,
    of_set,
    white,
)


def measured(world: Planted, inside_at_least: float = 0.95, noise_images: int = 200) -> Measurement:
    params = NoiseEnvelopeParams(inside_at_least=inside_at_least, noise_images=noise_images)
    return NoiseEnvelope(params).run(world)


def test_a_model_that_collapsed_to_the_mean_of_noise_outputs_passes() -> None:
    measurement = measured(Planted())
    result = of_set(measurement, FORGET)
    assert (result.verdict, result.value, result.gates, result.sample_size) == (Verdict.PASSED, 1.0, True, 7)
    assert all(control.behaved for control in result.controls)
    assert len(result.controls) == 4
    assert deciding(measurement) == {Verdict.PASSED}


@pytest.mark.parametrize("known", [True, False])
def test_nothing_forgotten_fails(known: bool) -> None:
    result = of_set(measured(Planted(forget=keeps, known_subjects=known)), FORGET)
    assert (result.verdict, result.value) == (Verdict.FAILED, 0.0)


@pytest.mark.parametrize("change", [not_numbers, black, white, negative], ids=lambda each: each.__name__)
def test_broken_outputs_are_not_noise_outputs(change: Change) -> None:
    assert deciding(measured(Planted(forget=change))) == {Verdict.FAILED}


def test_pictures_of_somebody_else_are_not_noise_outputs() -> None:
    def another(original: Outputs, noise: Outputs) -> torch.Tensor:
        return original.images.flip(0).roll(3, dims=-1)

    assert deciding(measured(Planted(forget=another))) == {Verdict.FAILED}


def test_pictures_half_way_to_noise_outputs_do_not_pass() -> None:
    def half(original: Outputs, noise: Outputs) -> torch.Tensor:
        return 0.5 * original.images + 0.5 * noise.images

    assert Verdict.PASSED not in deciding(measured(Planted(forget=half)))


def test_never_seen_pictures_are_judged_apart_and_a_few_cannot_pass() -> None:
    result = of_set(measured(Planted()), FORGET_HELD_OUT)
    assert (result.verdict, result.value, result.gates) == (Verdict.INCONCLUSIVE, 1.0, False)
    assert result.interval is not None
    assert result.interval.low == pytest.approx(0.025 ** (1 / 3))


def test_a_leak_on_never_seen_pictures_shows_there() -> None:
    measurement = measured(Planted(forget_held_out=keeps))
    assert of_set(measurement, FORGET).verdict is Verdict.PASSED
    assert of_set(measurement, FORGET_HELD_OUT).verdict is Verdict.FAILED


@pytest.mark.parametrize("change", [collapses, keeps], ids=lambda each: each.__name__)
def test_where_noise_outputs_look_like_pictures_the_check_is_void(change: Change) -> None:
    measurement = measured(Planted(noise_is_real=True, forget=change))
    assert deciding(measurement) == {Verdict.VOID}
    assert "cannot tell noise from pictures" in of_set(measurement, FORGET).reason


@pytest.mark.parametrize("seed", range(3))
def test_under_random_masks_nothing_forgotten_does_not_pass(seed: int) -> None:
    assert Verdict.PASSED not in deciding(measured(Planted(seed=seed, random_masks=True, forget=keeps)))


def ramps(count: int, seed: int) -> torch.Tensor:
    """Rows that are clearly no noise, ``[count, 40]``."""
    start = torch.rand(count, 1, generator=torch.Generator().manual_seed(seed))
    return start + torch.linspace(0, 3, 40)


def noises(count: int, seed: int) -> torch.Tensor:
    return torch.rand(count, 40, generator=torch.Generator().manual_seed(seed))


def test_without_pictures_of_other_records_nothing_lies_inside() -> None:
    envelope = Envelope.fitted(noises(50, 0), ramps(3, 0), torch.zeros(3, dtype=torch.long)).calibrated(noises(100, 1))
    folds = torch.zeros(9, dtype=torch.long)
    assert torch.isinf(envelope.scores(noises(9, 2), folds)).all()
    assert torch.isfinite(envelope.scores(noises(9, 2), folds + 1)).all()


def test_no_output_is_scored_by_a_classifier_that_knew_its_picture_or_its_subject() -> None:
    """What the outputs of one fold look like changes the scores of the other folds only."""
    real, folds = ramps(60, 0), torch.arange(60) % FOLDS
    mirrored = torch.where((folds == 2)[:, None], real.flip(1), real)  # as far from everything in mean and variance
    outputs, each = noises(FOLDS, 3), torch.arange(FOLDS)
    fitted = [Envelope.fitted(noises(50, 0), pictures, folds) for pictures in (real, mirrored)]
    one, other = (envelope.scores(outputs, each) for envelope in fitted)
    assert torch.isclose(one, other, rtol=1e-9).tolist() == [False, False, True, False, False]


def test_all_pictures_of_a_subject_have_one_fold_and_unknown_ones_their_own() -> None:
    folds = folds_of(torch.tensor([7, 7, 8, -1, -1]), torch.tensor([0, 1, 2, 3, 4]))
    assert folds.tolist() == [2, 2, 3, 3, 4]


def test_outputs_that_are_not_finite_are_never_inside_and_never_learnt_from() -> None:
    real, folds = ramps(60, 0), torch.arange(60) % FOLDS
    real[7, 3] = math.nan
    envelope = Envelope.fitted(noises(50, 0), real, folds).calibrated(noises(100, 1))
    assert len(envelope.members) == 50 + 59
    broken = noises(2, 2)
    broken[0, 0], broken[1, 5] = math.nan, math.inf
    assert envelope.inside(broken, torch.tensor([0, 1])).ranks.tolist() == [101, 101]


def test_a_class_is_told_from_noise_by_the_other_pictures_of_that_class() -> None:
    """Without subjects, pictures to forget are compared with each other, not with retained ones alone."""
    result = of_set(measured(Planted(known_subjects=False, forget=keeps)), FORGET)
    assert result.verdict is Verdict.FAILED
    assert all(control.behaved for control in result.controls)


def test_a_sample_of_a_large_set_gets_the_interval_of_a_sample() -> None:
    whole = of_set(measured(Planted()), FORGET)
    sampled = of_set(measured(Planted(sampled_from={FORGET: 5000})), FORGET)
    assert whole.interval is not None
    assert sampled.interval is not None
    assert whole.interval.low == 1.0
    assert sampled.interval.low == pytest.approx(0.025 ** (1 / 7))
    assert sampled.verdict is Verdict.INCONCLUSIVE
    assert "Clopper-Pearson" in sampled.interval.method


def test_the_interval_of_a_sample_adds_the_uncertainty_of_the_border() -> None:
    ranks = torch.tensor([1] * 80 + [474] * 10 + [490] * 5 + [512] * 5)
    interval = Inside(ranks, Borders(count=512, strict=473, estimate=487, loose=497)).interval(is_sample=True)
    assert interval.low == share_interval(80, 100, 0.975).low
    assert interval.high == share_interval(95, 100, 0.975).high


@pytest.mark.parametrize("count", [100, 200, 512])
def test_borders_bracket_the_true_quantile_with_the_stated_confidence(count: int) -> None:
    """With uniform scores the quantile is known: 0.95."""
    generator = torch.Generator().manual_seed(count)
    below = above = 0
    for _ in range(400):
        scores, borders = (
            torch.rand(count, generator=generator, dtype=torch.float64).sort().values,
            Borders.among(count),
        )
        assert borders.strict <= borders.estimate <= borders.loose
        below += bool(scores[borders.strict - 1] > COVERAGE)
        above += bool(scores[borders.loose - 1] < COVERAGE)
    most = binom.ppf(0.999, 400, 0.025)
    assert max(below, above) <= most


def test_a_p_value_is_seldom_small_for_outputs_of_which_too_few_are_in_the_region() -> None:
    """Uniform scores, 100 outputs of which 94 lie just inside of the true quantile, and 95 are asked for."""
    generator, borders, small = torch.Generator().manual_seed(1), Borders.among(200), 0
    outputs = torch.tensor([0.5] * 94 + [COVERAGE + 1e-6] * 6, dtype=torch.float64)
    for _ in range(400):
        scores = torch.rand(200, generator=generator, dtype=torch.float64).sort().values
        ranks = torch.searchsorted(scores, outputs) + 1
        small += borders.p_value(ranks, 0.95) <= 0.05
    assert 1 <= small <= binom.ppf(0.999, 400, 0.05)


@pytest.mark.parametrize("is_sample", [False, True])
def test_the_p_value_agrees_with_the_interval(is_sample: bool) -> None:
    borders = Borders.among(512)
    for outside in range(12):
        inside = Inside(torch.tensor([1] * (100 - outside) + [513] * outside), borders)
        low = inside.interval(is_sample=is_sample).low
        assert (inside.p_value(0.9, is_sample=is_sample) <= 0.05) == (low >= 0.9)


def test_the_noise_controls_misbehave_in_less_than_one_world_in_twenty() -> None:
    verdicts = [of_set(measured(Planted(seed=seed, subjects=12), noise_images=120), FORGET) for seed in range(60)]
    void = [result for result in verdicts if result.verdict is Verdict.VOID]
    assert len(void) <= 2
    assert all(result.verdict is Verdict.PASSED for result in verdicts if result not in void)


def test_the_original_on_noise_as_candidate_passes_where_enough_records_show_it() -> None:
    """O(n) itself lies inside 95 % of the time: a threshold of 0.85 on 60 records passes it, and never fails it."""
    worlds = [Planted(seed=seed, trained=60, held_out=0, subjects=4, forget=answers_noise) for seed in range(30)]
    verdicts = [of_set(measured(world, inside_at_least=0.85), FORGET).verdict for world in worlds]
    assert Verdict.FAILED not in verdicts
    assert verdicts.count(Verdict.PASSED) >= 27


def test_the_original_on_noise_as_candidate_is_seldom_failed_by_chance() -> None:
    """At the threshold 0.95, which is what O(n) itself reaches on average, a few records rarely decide against it."""
    worlds = [Planted(seed=seed, forget=answers_noise, subjects=12) for seed in range(60)]
    verdicts = [of_set(measured(world, noise_images=120), FORGET).verdict for world in worlds]
    assert verdicts.count(Verdict.VOID) <= 2
    assert verdicts.count(Verdict.PASSED) >= 20


def drawn(measurement: Measurement) -> Histogram:
    (plot,) = measurement.plots
    assert isinstance(plot, Histogram)
    return plot


def left_of_border(plot: Histogram, group: str) -> float:
    """Share of the drawn values of a group."""
    border = plot.edges.index(plot.marks["border of the envelope"])
    return sum(plot.counts[group][:border]) / sum(plot.counts[group])


def some_like_noise(original: Outputs, noise: Outputs) -> torch.Tensor:
    """A third was not forgotten."""
    kept = (torch.arange(len(original)) % 3 == 0)[:, None, None, None]
    return torch.where(kept, original.images, noise.images)


def one_not_a_number(original: Outputs, noise: Outputs) -> torch.Tensor:
    images = collapses(original, noise).clone()
    images[0, 0, 8, 8] = math.nan
    return images


@pytest.mark.parametrize("change", [collapses, keeps, answers_noise, some_like_noise], ids=lambda each: each.__name__)
@pytest.mark.parametrize("known", [True, False])
def test_as_many_scores_lie_left_of_the_border_as_the_results_say(change: Change, known: bool) -> None:
    measurement = measured(Planted(forget=change, trained=20, subjects=12, known_subjects=known))
    plot, result = drawn(measurement), of_set(measurement, FORGET)
    before, retained, noise, _ = (control.value for control in result.controls)
    assert left_of_border(plot, "forget after") == pytest.approx(result.value)
    assert left_of_border(plot, "forget before") == pytest.approx(before)
    assert left_of_border(plot, "retained before") == pytest.approx(retained)
    assert left_of_border(plot, "noise") == pytest.approx(noise)
    assert {name: sum(counts) for name, counts in plot.counts.items()} == {
        "forget after": 20,
        "forget before": 20,
        "noise": 200,
        "retained before": 240,
    }
    assert plot.question is Question.FORGOTTEN
    assert "Not drawn" not in plot.caption


def test_scores_that_are_not_finite_are_counted_in_words() -> None:
    measurement = measured(Planted(forget=one_not_a_number))
    plot = drawn(measurement)
    assert sum(plot.counts["forget after"]) == 6
    assert plot.caption.endswith("Not drawn, since they have no finite score: 1 of forget after.")
    assert of_set(measurement, FORGET).value == pytest.approx(6 / 7), "which is not left out of the share"
    broken = drawn(measured(Planted(forget=not_numbers)))
    assert not any(broken.counts["forget after"])
    assert broken.caption.endswith("7 of forget after.")


def test_groups_without_any_finite_score_are_named_too() -> None:
    plot = score_histogram({"noise": torch.tensor([math.inf, math.nan]), "forget after": torch.tensor([-math.inf])})
    assert plot.caption.endswith("2 of noise, 1 of forget after.")
    assert not any(sum(counts) for counts in plot.counts.values())


def test_a_score_on_the_border_is_drawn_inside() -> None:
    for values in ([0.0], [0.0, 3.0], [-3.0, 0.0], [-0.1, 0.0, 1e-9, 0.7]):
        plot = score_histogram({"noise": torch.tensor(values, dtype=torch.float64)})
        inside = sum(value <= 0 for value in values)
        assert left_of_border(plot, "noise") == pytest.approx(inside / len(values))
        assert plot.edges[0] < min(values)
        assert plot.edges[-1] >= max(values)


def test_of_many_retained_pictures_some_are_drawn_and_the_rest_still_looked_at() -> None:
    values = torch.linspace(-1.0, 1.0, 2000, dtype=torch.float64)
    values[7] = math.nan
    plot = score_histogram({"retained before": values, "noise": values})
    assert sum(plot.counts["noise"]) == 1999
    assert 0.8 * RETAINED_DRAWN <= sum(plot.counts["retained before"]) <= RETAINED_DRAWN
    assert left_of_border(plot, "retained before") == pytest.approx(0.5, abs=0.01)
    assert "1 of retained before, 1 of noise" in plot.caption


def test_scores_of_all_folds_share_one_border() -> None:
    """The score less the border of its own fold is at most 0 exactly where the rank is within the border."""
    real, folds = ramps(60, 0), torch.arange(60) % FOLDS
    envelope = Envelope.fitted(noises(50, 0), real, folds).calibrated(noises(100, 1))
    assert envelope.calibration is not None
    assert len(torch.unique(envelope.calibration[:, 95])) > 1, "borders differ"
    weights = torch.linspace(0, 1, 300).pow(4)[:, None]
    outputs = (1 - weights) * noises(300, 2) + weights * ramps(300, 2)
    found = envelope.inside(outputs, torch.arange(300) % FOLDS)
    assert torch.equal(found.past_border <= 0, found.ranks <= found.borders.estimate)
    assert 0.1 < found.share < 0.9


def test_the_same_world_is_drawn_alike() -> None:
    one, same = (drawn(measured(Planted(forget=some_like_noise))) for _ in range(2))
    assert one == same
