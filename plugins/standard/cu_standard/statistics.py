"""Intervals and image figures that several checks share. Only generated pixels are ever scored."""

from __future__ import annotations

import math

import torch
from cu_audit.records import Interval, Verdict

from compliance_unlearn.api import Outputs

BOUND_LEVEL = 0.95
"""Confidence of each single bound; an interval of two such bounds holds with 0.90."""


def share_interval(hits: int, count: int) -> Interval:
    """Clopper-Pearson interval of a share, each bound one-sided at 95 % (Clopper and Pearson, 1934).

    Args:
        hits: successes among ``count`` independent records, ``0 <= hits <= count``.
        count: at least 1.
    """
    from scipy.stats import beta

    low = float(beta.ppf(1 - BOUND_LEVEL, hits, count - hits + 1)) if hits else 0.0
    high = float(beta.ppf(BOUND_LEVEL, hits + 1, count - hits)) if hits < count else 1.0
    return Interval(low=low, high=high, level=0.9, method="Clopper-Pearson, each bound at 95 %")


def mean_interval(values: torch.Tensor, clusters: torch.Tensor | None = None) -> Interval | None:
    """Student interval of a mean, each bound one-sided at 95 %; None with fewer than two independent values.

    Args:
        values: ``[n]``, one value a record.
        clusters: integer ``[n]``; records of one cluster (one subject) are averaged first, since they move together.
    """
    from scipy.stats import t

    if clusters is not None:
        values = torch.stack([values[clusters == cluster].mean() for cluster in torch.unique(clusters)])
    if len(values) < 2:
        return None
    error = float(values.double().std()) / math.sqrt(len(values))
    margin = float(t.ppf(BOUND_LEVEL, len(values) - 1)) * error
    mean = float(values.double().mean())
    return Interval(low=mean - margin, high=mean + margin, level=0.9, method="Student t, each bound at 95 %")


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
    """SSIM of each image (Wang et al., 2004; Gaussian window of 11 pixels), averaged over generated pixels, ``[n]``."""
    from torchmetrics.functional.image import structural_similarity_index_measure as ssim

    _, local = ssim(outputs.images, outputs.truth, data_range=1.0, reduction="none", return_full_image=True)
    return generated_pixels(local, outputs.generated).mean(dim=1)
