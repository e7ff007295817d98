"""Retrieval of the true hidden content among that of other pictures, by Euclidean distance to what was generated."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from cu_audit.records import FORGET, FORGET_HELD_OUT, RETAIN, RETAIN_HELD_OUT

from compliance_unlearn.api import CheckContext, Outputs, World


@dataclass(frozen=True)
class Ranks:
    """Rank of each record's truth among the candidates, 1 is first: integer ``[n]``."""

    ranks: torch.Tensor

    @property
    def hits(self) -> int:
        """Records whose truth comes first."""
        return int((self.ranks == 1).sum())

    @property
    def share(self) -> float:
        """hits@1."""
        return self.hits / len(self.ranks)

    @property
    def mean_reciprocal(self) -> float:
        """Mean reciprocal rank (MRR), in (0, 1]."""
        return float((1.0 / self.ranks.double()).mean())

    @classmethod
    def of(cls, outputs: Outputs, distractors: torch.Tensor) -> Ranks:
        """Each output is compared under its own mask; of equal distances the truth comes last.

        Args:
            outputs: of a model.
            distractors: ``[m, channels, height, width]``; without any, every truth comes first.
        """
        if not len(distractors):
            return cls(torch.ones(len(outputs), dtype=torch.long))
        ranks = []
        for output, truth, mask in zip(outputs.images, outputs.truth, outputs.generated, strict=True):
            pixels = mask.expand_as(truth)
            distances = (distractors[:, pixels] - output[pixels]).norm(dim=1)
            ranks.append(1 + int((distances <= (truth[pixels] - output[pixels]).norm()).sum()))
        return cls(torch.tensor(ranks))


def pictures_to_hide_among(context: CheckContext, count: int) -> torch.Tensor:
    """At most ``count`` images of other subjects, ``[m, channels, height, width]``, in a fixed random order."""
    own, others = (
        [context.outputs(World.ORIGINAL, name) for name in names if context.counts.get(name)]
        for names in ((FORGET, FORGET_HELD_OUT), (RETAIN, RETAIN_HELD_OUT))
    )
    if not own or not others:
        return torch.empty(0)
    forgotten = torch.cat([outputs.subjects for outputs in own])
    subjects = torch.cat([outputs.subjects for outputs in others])
    # A policy may forget some pictures of a subject and keep others: truth cannot hide among those.
    images = torch.cat([outputs.truth for outputs in others])[~torch.isin(subjects, forgotten[forgotten >= 0])]
    order = torch.randperm(len(images), generator=context.generator("retrieval gallery"))
    return images[order[:count]]
