"""Are two samples of pictures alike? A classifier that was not told, and distances.

Both compare rows of generated pixels, see `samples`.
"""

from __future__ import annotations

import math

import torch

from cu_standard.samples import principal_components

COMPONENTS = 16
"""Principal components that the classifier sees, and their squares: a sample that collapsed has the same mean as one
that did not, so that a classifier without squares would not see it."""

PARTS = 5
LEAST_PROBABILITY = 1e-6


def cross_fitted_probabilities(one: torch.Tensor, other: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Probability of the right sample for each row, from a classifier that did not see the row, ``[n + m]``.

    Logistic regression on standardised principal components and their squares (Lopez-Paz and Oquab, 2017).

    Args:
        one: ``[n, k]``, n at least 5.
        other: ``[m, k]``, m at least 5.
        generator: draws the seed of the split.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows = torch.cat([one, other])
    components = principal_components(rows, min(COMPONENTS, len(rows) // 4))
    labels = (torch.arange(len(rows)) >= len(one)).long()
    if not components.shape[1]:
        return torch.full((len(rows),), 0.5, dtype=torch.float64)
    standard = (components - components.mean(dim=0)) / components.std(dim=0)
    features = torch.cat([standard, standard.square()], dim=1)
    seed = int(torch.randint(2**31, (1,), generator=generator))
    predicted = cross_val_predict(
        make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000)),
        features.numpy(),
        labels.numpy(),
        cv=StratifiedKFold(PARTS, shuffle=True, random_state=seed),
        method="predict_proba",
    )
    return torch.from_numpy(predicted)[torch.arange(len(rows)), labels].double()


def jensen_shannon(probabilities: torch.Tensor) -> float:
    """Lower bound of the Jensen-Shannon divergence in nats, within [0, log 2] (Goodfellow et al., 2014, equation 6).

    Args:
        probabilities: of the right sample, for two samples of the same size; see `cross_fitted_probabilities`.
    """
    bound = math.log(2.0) + float(probabilities.clamp(LEAST_PROBABILITY).log().mean())
    return min(max(bound, 0.0), math.log(2.0))


def energy_distance(
    one: torch.Tensor, other: torch.Tensor, permutations: int, generator: torch.Generator
) -> tuple[float, float]:
    """Energy distance of two samples (Székely and Rizzo, 2013) and the p-value of a permutation test that they are one.

    All distances are computed once. With weights w = 1/n on one sample and −1/m on the other, the squared distance
    2E|X−Y| − E|X−X'| − E|Y−Y'| is −w·D·w, and a permutation changes w only.

    Args:
        one: ``[n, k]``.
        other: ``[m, k]``.
        permutations: how many; the p-value is at least 1 / (permutations + 1).
        generator: draws them.

    Returns:
        The energy coefficient, which is the squared distance divided by 2E|X−Y|: 0 for equal samples, at most 1.
    """
    rows = torch.cat([one, other]).double()
    distances = torch.cdist(rows, rows)
    is_one = torch.arange(len(rows)) < len(one)
    weights = torch.where(is_one, 1.0 / len(one), -1.0 / len(other)).double()
    orders = torch.rand(permutations, len(rows), generator=generator).argsort(dim=1)
    tried = torch.cat([weights[None], weights[orders]])
    squares = -((tried @ distances) * tried).sum(dim=1)
    between = 2.0 * float(distances[: len(one), len(one) :].mean())
    p_value = float((squares[1:] >= squares[0] - 1e-9).sum() + 1) / (permutations + 1)
    return float(squares[0]) / max(between, 1e-12), p_value
