"""Figures of picture quality from embeddings of a feature network. Each means something for that network only."""

from __future__ import annotations

import torch


def frechet_distance(one: torch.Tensor, other: torch.Tensor) -> float:
    """Fréchet distance between the Gaussians fitted to two samples (Heusel et al., 2017, equation 6).

    With fewer pictures than dimensions it is far from that of the populations: compare it between samples of the same
    size only. The trace of the root of the product of both covariances is the sum of the singular values of the
    product of the centred samples, so that no root of a singular matrix is taken.

    Args:
        one: ``[n, d]``, n at least 2.
        other: ``[m, d]``.
    """
    means = [sample.double().mean(dim=0) for sample in (one, other)]
    centred = [
        (sample.double() - mean) / (len(sample) - 1) ** 0.5 for sample, mean in zip((one, other), means, strict=True)
    ]
    shared = torch.linalg.svdvals(centred[0] @ centred[1].T).sum()
    spread = centred[0].square().sum() + centred[1].square().sum()
    return max(0.0, float((means[0] - means[1]).square().sum() + spread - 2.0 * shared))


def frechet_influence(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Influence of each pair on `frechet_distance`: how much it grows as pair i gets more weight, ``[n]``, mean 0.

    The derivative by the weight of a pair. With M = A·Bᵀ = U·S·Vᵀ for centred samples A and B, the sum of S changes by
    half of (U·S·Uᵀ + V·S·Vᵀ) at i: the derivative of a nuclear norm.

    Args:
        one: ``[n, d]``, n at least 2.
        other: ``[n, d]``, row i belongs to row i of ``one``.
    """
    count = len(one)
    first, second = (sample.double() - sample.double().mean(dim=0) for sample in (one, other))
    left, roots, right = torch.linalg.svd(first @ second.T / (count - 1))
    shared = (left * roots * left).sum(dim=1) + (right.T * roots * right.T).sum(dim=1)
    spread = (first.square() + second.square()).sum(dim=1) / (count - 1)
    moved = 2.0 * (first - second) @ (one.double().mean(dim=0) - other.double().mean(dim=0))
    influence: torch.Tensor = moved + count * (spread - shared)
    return influence - influence.mean()


def paired_kernel_terms(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """What each pair adds to the kernel distance of a sample of pairs, ``[n]``; the distance is the mean.

    `kernel_distance` is unbiased for two samples drawn apart. Where row i of both belongs together, as output and truth
    do, the pairs (i, i) are left out between the samples too (Gretton et al., 2012, equation 4).

    Args:
        one: ``[n, d]``, n at least 2.
        other: ``[n, d]``.
    """
    from torchmetrics.image.kid import poly_kernel

    one, other = one.double(), other.double()
    between = poly_kernel(one, other)
    terms = poly_kernel(one, one) + poly_kernel(other, other) - between - between.T
    rows: torch.Tensor = (terms.sum(dim=1) - terms.diagonal()) / (len(one) - 1)
    return rows


def kernel_distance(one: torch.Tensor, other: torch.Tensor) -> float:
    """Kernel distance of two samples of the same size (Bińkowski et al., 2018), unbiased: around 0 for equals.

    One subset that holds everything, with the usual kernel (x·y / d + 1)³.

    Args:
        one: ``[n, d]``.
        other: ``[n, d]``.
    """
    from torchmetrics.image.kid import poly_mmd

    return float(poly_mmd(one.double(), other.double()))


def class_score(probabilities: torch.Tensor) -> float:
    """Inception-style score (Salimans et al., 2016): 1 if all pictures look alike, at most the number of classes.

    Args:
        probabilities: ``[n, classes]``, rows sum to 1.
    """
    rows = probabilities.double()
    mean = rows.mean(dim=0)
    divergence = torch.special.entr(mean).sum() - torch.special.entr(rows).sum(dim=1).mean()
    return float(divergence.exp())


def similarity(one: torch.Tensor, other: torch.Tensor) -> float:
    """Mean cosine between the embeddings of each output and of its truth, both ``[n, d]``."""
    return float(torch.nn.functional.cosine_similarity(one.double(), other.double()).mean())
