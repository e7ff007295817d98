"""Intervals and figures: known values, and no stronger claim than the data support."""

from __future__ import annotations

import math

import pytest
import torch
from cu_audit.records import Interval, Verdict
from cu_standard.statistics import (
    at_least,
    at_most,
    cluster_means,
    generated_pixels,
    mean_interval,
    peak_signal_noise_ratio,
    percent_down,
    percent_up,
    share_interval,
    structural_similarity,
)
from torchmetrics.functional.image import peak_signal_noise_ratio as reference_psnr
from torchmetrics.functional.image import structural_similarity_index_measure as reference_ssim

from compliance_unlearn.api import Outputs


@pytest.mark.parametrize(("count", "bound"), [(10, 0.259), (100, 0.0295), (1000, 0.0030)])
def test_no_hit_bounds_a_leak_as_the_number_of_records_allows(count: int, bound: float) -> None:
    interval = share_interval(0, count)
    assert interval.low == 0.0
    assert interval.high == pytest.approx(bound, abs=5e-5 * (1 if count == 1000 else 10))
    assert interval.high == pytest.approx(1 - 0.05 ** (1 / count))


def test_an_interval_of_shares_is_symmetric_and_closed() -> None:
    for count in (1, 7, 50):
        assert share_interval(count, count).high == 1.0
        for hits in range(count + 1):
            one, other = share_interval(hits, count), share_interval(count - hits, count)
            assert (one.low, one.high) == pytest.approx((1 - other.high, 1 - other.low))
            assert one.low <= hits / count <= one.high


def test_each_bound_of_a_share_misses_at_most_as_often_as_it_says() -> None:
    for level in (0.95, 0.975):
        for count, share in [(10, 0.3), (40, 0.05), (40, 0.5)]:
            chances = [math.comb(count, k) * share**k * (1 - share) ** (count - k) for k in range(count + 1)]
            intervals = [share_interval(k, count, level) for k in range(count + 1)]
            above = sum(p for p, interval in zip(chances, intervals, strict=True) if interval.high < share)
            below = sum(p for p, interval in zip(chances, intervals, strict=True) if interval.low > share)
            assert max(above, below) <= 1 - level


def test_an_interval_of_a_mean_is_that_of_student() -> None:
    interval = mean_interval(torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]))
    assert interval is not None
    # t(0.95, 4) = 2.132, standard error sqrt(2.5 / 5)
    assert (interval.low, interval.high) == pytest.approx((3 - 2.1318 * 0.5**0.5, 3 + 2.1318 * 0.5**0.5), abs=1e-3)
    assert interval.level == pytest.approx(0.9)


@pytest.mark.parametrize("values", [[], [1.0], [1.0, math.nan], [1.0, math.inf], [math.inf, -math.inf]])
def test_there_is_no_interval_of_one_value_or_of_values_that_are_not_finite(values: list[float]) -> None:
    assert mean_interval(torch.tensor(values)) is None


def test_records_of_one_subject_count_as_one() -> None:
    values = torch.tensor([1.0, 3.0, 10.0, 5.0, 7.0])
    means = cluster_means(values, torch.tensor([4, 4, -1, 2, -1]))
    assert sorted(means.tolist()) == [2.0, 5.0, 7.0, 10.0]
    assert cluster_means(values, torch.full((5,), -1)).tolist() == values.tolist()
    assert cluster_means(values, torch.zeros(5, dtype=torch.long)).tolist() == [5.2]


def test_copies_of_a_subjects_pictures_make_no_interval_narrower() -> None:
    values = torch.randn(8, generator=torch.Generator().manual_seed(0))
    once = mean_interval(cluster_means(values, torch.arange(8)))
    often = mean_interval(cluster_means(values.repeat(50), torch.arange(8).repeat(50)))
    assert once is not None
    assert often is not None
    assert (often.low, often.high) == pytest.approx((once.low, once.high), abs=1e-5)


P, F, I = Verdict.PASSED, Verdict.FAILED, Verdict.INCONCLUSIVE  # noqa: E741


@pytest.mark.parametrize(
    ("low", "high", "most", "least"),
    [
        (0.1, 0.2, P, F),
        (0.1, 0.5, P, I),
        (0.4, 0.6, I, I),
        (0.5, 0.5, P, P),
        (0.5, 0.6, I, P),
        (0.6, 0.7, F, P),
    ],
)
def test_a_bound_must_clear_the_threshold(low: float, high: float, most: Verdict, least: Verdict) -> None:
    interval = Interval(low=low, high=high, method="given")
    assert (at_most(interval, 0.5), at_least(interval, 0.5)) == (most, least)


def random_outputs(generated: torch.Tensor, seed: int = 0) -> Outputs:
    generator = torch.Generator().manual_seed(seed)
    truth, images = (torch.rand(len(generated), 3, 24, 24, generator=generator) for _ in range(2))
    return Outputs(truth, images, generated, torch.full((len(generated),), -1))


EVERYWHERE = torch.ones(4, 1, 24, 24, dtype=torch.bool)


def centre() -> torch.Tensor:
    mask = torch.zeros(4, 1, 24, 24, dtype=torch.bool)
    mask[..., 8:16, 8:16] = True
    return mask


def test_figures_of_a_wholly_generated_image_are_those_of_torchmetrics() -> None:
    outputs = random_outputs(EVERYWHERE)
    for index in range(4):
        one, truth = outputs.images[index : index + 1], outputs.truth[index : index + 1]
        psnr = reference_psnr(one, truth, data_range=1.0)
        assert float(peak_signal_noise_ratio(outputs)[index]) == pytest.approx(float(psnr), abs=1e-4)
        similarity, full = reference_ssim(one, truth, data_range=1.0, return_full_image=True)
        assert float(structural_similarity(outputs)[index]) == pytest.approx(float(full.mean()), abs=1e-4)
        assert torch.isfinite(torch.as_tensor(similarity)).all()


def test_visible_pixels_change_no_psnr() -> None:
    one = random_outputs(centre())
    images = torch.where(one.generated, one.images, torch.rand(one.images.shape))
    other = Outputs(torch.where(one.generated, one.truth, 0.0), images, one.generated, one.subjects)
    assert torch.equal(peak_signal_noise_ratio(one), peak_signal_noise_ratio(other))


def test_visible_pixels_change_no_ssim() -> None:
    large = torch.zeros(4, 1, 24, 24, dtype=torch.bool)
    large[..., 4:20, 4:20] = True
    one = random_outputs(large)
    images, truth = torch.where(large, one.images, 1.0), torch.where(large, one.truth, 0.0)
    other = Outputs(truth, images, large, one.subjects)
    assert torch.isfinite(structural_similarity(one)).all()
    assert torch.allclose(structural_similarity(one), structural_similarity(other), atol=1e-5)


def test_ssim_does_not_exist_where_no_window_was_generated() -> None:
    assert structural_similarity(random_outputs(centre())).isnan().all()


def test_psnr_is_ten_times_the_logarithm_of_the_mean_squared_error() -> None:
    mask = centre()
    truth = torch.full((4, 1, 24, 24), 0.5)
    outputs = Outputs(truth, torch.where(mask, truth + 0.1, 0.9), mask, torch.full((4,), -1))
    assert peak_signal_noise_ratio(outputs).tolist() == pytest.approx([20.0] * 4, abs=1e-4)


def test_generated_pixels_are_those_under_the_mask() -> None:
    outputs = random_outputs(centre())
    pixels = generated_pixels(outputs.images, outputs.generated)
    assert pixels.shape == (4, 3 * 64)
    assert torch.equal(pixels.view(4, 3, 8, 8), outputs.images[..., 8:16, 8:16])


@pytest.mark.parametrize(
    ("share", "down", "up"),
    [
        (0.0, "0%", "0%"),
        (0.0118, "1.1%", "1.2%"),
        (0.29, "29%", "29%"),
        (0.99501, "99.5%", "99.6%"),
        (1.0, "100%", "100%"),
    ],
)
def test_bounds_are_rounded_outwards(share: float, down: str, up: str) -> None:
    assert (percent_down(share), percent_up(share)) == (down, up)
