"""Figures of picture quality with known answers."""

from __future__ import annotations

import math

import pytest
import torch
from cu_standard.scores import (
    class_score,
    frechet_distance,
    frechet_influence,
    kernel_distance,
    paired_kernel_terms,
    similarity,
)


def normal(count: int, dimensions: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dimensions, generator=generator, dtype=torch.float64)


def whitened(count: int, dimensions: int) -> torch.Tensor:
    """A sample whose mean is exactly 0 and whose covariance is exactly the identity."""
    sample = normal(count, dimensions, 0)
    sample = sample - sample.mean(dim=0)
    factor: torch.Tensor = torch.linalg.cholesky(torch.linalg.inv(torch.cov(sample.T)))
    return sample @ factor


def test_frechet_of_equal_samples_is_zero() -> None:
    sample = normal(50, 8, 0)
    assert frechet_distance(sample, sample) == pytest.approx(0.0, abs=1e-9)


def test_frechet_of_moved_gaussians_is_the_squared_distance_of_the_means() -> None:
    sample = whitened(200, 5)
    assert frechet_distance(sample, sample + torch.tensor([3.0, 4.0, 0, 0, 0])) == pytest.approx(25.0)


def test_frechet_of_scaled_gaussians_is_the_squared_distance_of_the_deviations() -> None:
    sample = whitened(200, 4)
    scales = torch.tensor([1.0, 2.0, 3.0, 0.5], dtype=torch.float64)
    assert frechet_distance(sample, sample * scales) == pytest.approx(0.0 + 1.0 + 4.0 + 0.25)


def test_frechet_of_gaussians_that_share_no_axes_is_that_of_the_matrix_formula() -> None:
    one, other = normal(300, 6, 1), normal(300, 6, 2) @ normal(6, 6, 3)
    first, second = torch.cov(one.T), torch.cov(other.T)
    root = torch.linalg.eigvals(first @ second).sqrt().real.sum()
    expected = (one.mean(0) - other.mean(0)).square().sum() + first.trace() + second.trace() - 2 * root
    assert frechet_distance(one, other) == pytest.approx(float(expected))


def test_frechet_needs_no_more_pictures_than_dimensions() -> None:
    near = frechet_distance(normal(20, 300, 1), normal(20, 300, 2))
    far = frechet_distance(normal(20, 300, 1), normal(20, 300, 2) + 1.0)
    assert 0.0 < near < far < math.inf


@pytest.mark.parametrize(("count", "dimensions"), [(40, 5), (12, 60)])
def test_the_influence_of_a_pair_is_how_the_distance_moves_with_its_weight(count: int, dimensions: int) -> None:
    one, other = normal(count, dimensions, 1), 0.7 * normal(count, dimensions, 1) + 0.3 * normal(count, dimensions, 2)
    influence = frechet_influence(one, other)
    assert float(influence.mean()) == pytest.approx(0.0, abs=1e-9)
    many = 10
    more = [torch.cat([*[sample] * many, sample[:1]]) for sample in (one, other)]
    fewer = [torch.cat([sample[1:], *[sample] * (many - 1)]) for sample in (one, other)]
    moved = (frechet_distance(*more) - frechet_distance(*fewer)) / 2
    assert moved == pytest.approx(float(influence[0]) / (many * count), rel=0.1)  # n - 1 differs


def test_the_kernel_distance_of_pairs_is_unbiased_where_output_and_truth_belong_together() -> None:
    """Two samples of one distribution whose rows are alike: the distance is 0, on average over draws."""
    terms = []
    for seed in range(200):
        shared = normal(20, 8, 2 * seed)
        noise = 0.3 * normal(20, 8, 2 * seed + 1)
        terms.append(float(paired_kernel_terms(shared + noise, shared - noise).mean()))
    found = torch.tensor(terms)
    assert abs(float(found.mean())) < 3 * float(found.std()) / math.sqrt(len(found))
    moved = normal(20, 8, 0)
    assert float(paired_kernel_terms(moved, moved + 0.5).mean()) > 0.05


def test_the_kernel_distance_of_one_distribution_is_about_zero_and_of_two_is_not() -> None:
    one, same, other = normal(400, 16, 1), normal(400, 16, 2), normal(400, 16, 3) + 0.5
    assert abs(kernel_distance(one, same)) < 0.02
    assert kernel_distance(one, other) > 0.2


def test_the_kernel_distance_of_a_set_with_itself_is_about_zero() -> None:
    sample = normal(400, 16, 1)
    assert abs(kernel_distance(sample, sample)) < 0.05


def test_the_class_score_counts_classes_that_are_told_apart() -> None:
    sure = torch.eye(10).repeat(3, 1)
    assert class_score(sure) == pytest.approx(10.0)
    assert class_score(torch.full((7, 10), 0.1)) == pytest.approx(1.0)
    assert class_score(torch.eye(10)[[4, 4, 4]]) == pytest.approx(1.0)


def test_similarity_is_the_cosine_of_each_pair() -> None:
    one = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    other = torch.tensor([[3.0, 0.0], [1.0, 0.0]])
    assert similarity(one, one) == pytest.approx(1.0)
    assert similarity(one, other) == pytest.approx(0.5)
