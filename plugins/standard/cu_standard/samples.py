"""Pictures as rows of numbers, for statistics of a whole sample. Only generated pixels differ between rows.

Where each picture has its own mask, a position may be generated in one picture and given in another. It is kept, and a
picture in which it was given gets the mean of those in which it was generated, so that it says nothing there.
"""

from __future__ import annotations

import torch

from compliance_unlearn.api import Outputs

LEVELS = 255.0
"""Steps of an 8-bit picture: what is smaller can neither be saved nor seen."""


def generated_rows(parts: list[Outputs]) -> torch.Tensor:
    """Generated pixels of several samples on common positions, in 8-bit steps, ``[n, k]``."""
    images = torch.cat([part.images for part in parts]).mul(LEVELS).round()
    generated = torch.cat([part.generated for part in parts])
    if generated.all():
        return images.flatten(1)
    count = generated.sum(dim=0, keepdim=True)
    mean = torch.where(generated, images, 0.0).sum(dim=0, keepdim=True) / count.clamp(min=1)
    return torch.where(generated, images, mean)[:, :, count[0, 0] > 0].flatten(1)


def hidden_rows(outputs: Outputs) -> torch.Tensor:
    """True pixels at every position that was generated in some picture, ``[n, k]``."""
    return outputs.truth[:, :, outputs.generated.any(dim=0)[0]].flatten(1)


def unfinished(outputs: Outputs) -> int:
    """Pictures with a generated pixel that is not a finite number."""
    finite = torch.isfinite(outputs.images) | ~outputs.generated
    return int((~finite.flatten(1).all(dim=1)).sum())


def principal_components(rows: torch.Tensor, count: int) -> torch.Tensor:
    """Scores of the largest principal components, ``[n, c]`` with ``c <= count``; those without variance are left out.

    By the matrix of inner products, which is small where pictures are few.
    """
    centred = rows.double() - rows.double().mean(dim=0)
    values, vectors = torch.linalg.eigh(centred @ centred.T)
    values, vectors = values.flip(0)[:count], vectors.flip(1)[:, :count]
    kept = values > 1e-9 * values[:1].clamp(min=1.0)
    scores: torch.Tensor = vectors[:, kept] * values[kept].sqrt()
    return scores


def sampled(outputs: Outputs, at_most: int, generator: torch.Generator) -> Outputs:
    """A random sample of outputs where there are more; the same records for the same generator."""
    if len(outputs) <= at_most:
        return outputs
    chosen = torch.randperm(len(outputs), generator=generator)[:at_most].sort().values
    return Outputs(outputs.truth[chosen], outputs.images[chosen], outputs.generated[chosen], outputs.subjects[chosen])
