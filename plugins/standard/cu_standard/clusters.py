"""What counts as one independent observation, and what a sample of such can show."""

from __future__ import annotations

import math

import torch
from cu_audit.records import Interval


def clusters_of(subjects: torch.Tensor) -> torch.Tensor:
    """The cluster of each record, integer ``[n]``, numbered from 0: pictures of one subject move together.

    Where only one subject is known nothing is claimed about others, and each picture is a cluster of its own.

    Args:
        subjects: integer ``[n]``, -1 where unknown.
    """
    records = torch.arange(len(subjects))
    if len(torch.unique(subjects[subjects >= 0])) < 2:
        return records
    numbered: torch.Tensor = torch.unique(torch.where(subjects >= 0, subjects, -1 - records), return_inverse=True)[1]
    return numbered


def cluster_sums(values: torch.Tensor, clusters: torch.Tensor) -> torch.Tensor:
    """Sums over the records of each cluster, ``[g, ...]``.

    Args:
        values: ``[n, ...]``.
        clusters: integer ``[n]``, see `clusters_of`.
    """
    sums = torch.zeros(int(clusters.max()) + 1, *values.shape[1:], dtype=torch.float64)
    return sums.index_add_(0, clusters, values.double())


def p_value_at_most(values: torch.Tensor, threshold: float) -> float:
    """Of Student's one-sided test against a mean of at least the threshold.

    Args:
        values: ``[g]``, independent, at least two.
        threshold: border of the null hypothesis.
    """
    from scipy.stats import t

    below = float(values.double().mean()) - threshold
    error = float(values.double().std()) / math.sqrt(len(values))
    return float(t.cdf(below / error, len(values) - 1)) if error else float(below >= 0)


def detectable(interval: Interval, threshold: float) -> float:
    """Smallest true value whose lower bound would have been above the threshold with probability 0.95.

    Args:
        interval: symmetrical, each bound one-sided at 95 %.
        threshold: border of what is allowed.
    """
    return threshold + interval.high - interval.low


def needed(count: int, interval: Interval, margin: float) -> int:
    """Records with which a value of "none" would pass with probability 0.95: precision grows with the square root.

    Args:
        count: records that the interval rests on.
        interval: symmetrical, each bound one-sided at 95 %.
        margin: distance of the threshold from "none".
    """
    return math.ceil(count * ((interval.high - interval.low) / margin) ** 2)
