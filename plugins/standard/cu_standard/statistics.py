"""Intervals and image figures that several checks share. Only generated pixels are ever scored."""

from __future__ import annotations

import math

import torch
from cu_audit.records import Interval, Verdict

from compliance_unlearn.api import Outputs

BOUND_LEVEL = 0.95
"""Confidence of each single bound; an interval of two such bounds holds with 0.90."""


SSIM_WINDOW = 11
"""Edge in pixels of the Gaussian window of torchmetrics' SSIM."""


def share_interval(hits: int, count: int, level: float = BOUND_LEVEL) -> Interval:
    """Clopper-Pearson interval of a share, each bound one-sided at ``level`` (Clopper and Pearson, 1934).

    Args:
        hits: successes among ``count`` independent records, ``0 <= hits <= count``.
        count: at least 1.
        level: confidence of each bound.
    """
    from scipy.stats import beta

    low = float(beta.ppf(1 - level, hits, count - hits + 1)) if hits else 0.0
    high = float(beta.ppf(level, hits + 1, count - hits)) if hits < count else 1.0
    return Interval(low=low, high=high, level=2 * level - 1, method=f"Clopper-Pearson, each bound at {100 * level:g} %")


def share_p_value(hits: int, count: int, threshold: float) -> float:
    """Exact p-value of the claim that a share is at most ``threshold``: probability of so few hits if it were above.

    Args:
        hits: successes among ``count`` independent records.
        count: at least 1.
        threshold: border of the null hypothesis.
    """
    from scipy.stats import binom

    return float(binom.cdf(hits, count, threshold))


def percent_up(share: float) -> str:
    """A share in percent, rounded up to a tenth: an upper bound must not be shown lower than it is."""
    return f"{math.ceil(round(1000 * share, 6)) / 10:g}%"


def percent_down(share: float) -> str:
    """A share in percent, rounded down to a tenth: a lower bound must not be shown higher than it is."""
    return f"{math.floor(round(1000 * share, 6)) / 10:g}%"


def cluster_means(values: torch.Tensor, clusters: torch.Tensor) -> torch.Tensor:
    """Mean of each cluster: records of one subject move together and count as one observation.

    Args:
        values: ``[n]``, one value a record.
        clusters: integer ``[n]``; each record of the unknown cluster -1 is one of its own.
    """
    known = clusters >= 0
    _, inverse = torch.unique(clusters[known], return_inverse=True)
    sums = torch.bincount(inverse, weights=values[known].double())
    return torch.cat([sums / torch.bincount(inverse), values[~known].double()])


def mean_interval(values: torch.Tensor, lower_level: float = BOUND_LEVEL) -> Interval | None:
    """Student interval of a mean, the upper bound one-sided at 95 %.

    Args:
        values: ``[n]``, independent; see `cluster_means`.
        lower_level: confidence of the lower bound.

    Returns:
        None with fewer than two values, or if one is not finite.
    """
    from scipy.stats import t

    if len(values) < 2 or not torch.isfinite(values).all():
        return None
    error = float(values.double().std()) / math.sqrt(len(values))
    low, high = (float(t.ppf(level, len(values) - 1)) * error for level in (lower_level, BOUND_LEVEL))
    mean = float(values.double().mean())
    level = lower_level + BOUND_LEVEL - 1
    return Interval(low=mean - low, high=mean + high, level=level, method="Student t, each bound at 95 %")


def at_most(interval: Interval, threshold: float) -> Verdict:
    """Passed when the upper bound is not above the threshold, failed when the lower bound is, else inconclusive."""
    if interval.high <= threshold:
        return Verdict.PASSED
    return Verdict.FAILED if interval.low > threshold else Verdict.INCONCLUSIVE


def at_least(interval: Interval, threshold: float) -> Verdict:
    """Passed when the lower bound reaches the threshold, failed when the upper bound does not, else inconclusive."""
    if interval.low >= threshold:
        return Verdict.PASSED
    return Verdict.FAILED if interval.high < threshold else Verdict.INCONCLUSIVE


def generated_pixels(images: torch.Tensor, generated: torch.Tensor) -> torch.Tensor:
    """The scored pixels of each image, ``[n, channels * k]``, with ``k`` generated pixels an image.

    Args:
        images: ``[n, channels, height, width]``.
        generated: boolean ``[n, 1, height, width]`` with the same number of True in each image.
    """
    mask = generated.expand(-1, images.shape[1], -1, -1)
    return images[mask].view(len(images), -1)


def peak_signal_noise_ratio(outputs: Outputs) -> torch.Tensor:
    """PSNR in dB of each image over its generated pixels, ``[n]``; infinite where output and truth are equal."""
    from torchmetrics.functional.image import peak_signal_noise_ratio as psnr

    predicted = generated_pixels(outputs.images, outputs.generated)
    truth = generated_pixels(outputs.truth, outputs.generated)
    return psnr(predicted, truth, data_range=1.0, reduction="none", dim=1)


def structural_similarity(outputs: Outputs) -> torch.Tensor:
    """SSIM of each image (Wang et al., 2004; Gaussian window of 11 pixels), ``[n]``.

    Averaged over the pixels whose whole window was generated, so that no given pixel is scored; NaN where there is
    none, as with random masks of small cells.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure as ssim

    _, local = ssim(outputs.images, outputs.truth, data_range=1.0, reduction="none", return_full_image=True)
    margin = SSIM_WINDOW // 2
    given = torch.nn.functional.pad((~outputs.generated).float(), [margin] * 4)
    whole = torch.nn.functional.max_pool2d(given, SSIM_WINDOW, stride=1) == 0
    scored = torch.where(whole, local.mean(dim=1, keepdim=True), 0.0)
    return scored.flatten(1).sum(dim=1) / whole.flatten(1).sum(dim=1)


def finite_mean(values: torch.Tensor) -> float | None:
    """The mean, or None if any value is not finite: an infinite value is named, never averaged away."""
    mean = float(values.double().mean())
    return mean if torch.isfinite(values).all() else None
