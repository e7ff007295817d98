"""What is tried: the rows of the table, and the variants of the ablations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from compliance_unlearn.api import Inpaint, Outpaint, RandomMask, Task

Retain = Literal["dataset", "proxy", "none"]

ALIGNMENT = "encoder-alignment"


@dataclass(frozen=True)
class Trial:
    """One way to unlearn.

    Attributes:
        label: what the table calls it.
        strategy: its name.
        retain: which retain images the strategy may use.
        params: of the strategy, over those of the workspace.
        share: of the retain images that the strategy may use, in (0, 1].
        task: None takes the model's own.
    """

    label: str
    strategy: str
    retain: Retain = "dataset"
    params: Mapping[str, Any] = field(default_factory=dict)
    share: float = 1.0
    task: Task | None = None


ORIGINAL, RETRAINED = "Original", "Retrained without the forget set"

BASELINES = (
    Trial("Max Loss", "max-loss"),
    Trial("Noisy Label", "noisy-label"),
    Trial("Retain Label", "retain-label"),
    Trial("Random Encoder", "random-encoder"),
)
"""The paper's baselines."""

PAPER = Trial("Encoder Alignment", ALIGNMENT)
"""The paper's method."""

OURS = (
    Trial("Encoder Alignment, proxy retain", ALIGNMENT, retain="proxy"),
    Trial("Encoder Alignment, no retain", ALIGNMENT, retain="none"),
    Trial("ε-constrained", "epsilon-constrained"),
    Trial("Distribution Matching", "distribution-matching"),
    Trial("Output Alignment", "output-alignment"),
)

ROWS = (*BASELINES, PAPER, *OURS)
"""Rows between the original and the retrained model."""

RATIOS = (0.25, 0.5, 0.75)
TASKS = (Inpaint(area=0.25), Outpaint(area=0.75), RandomMask(ratio=0.75))

ABLATION_TASK = RandomMask(ratio=0.75)
"""What the model of the task and mask-ratio ablations is trained on: one that has seen all kinds of masks."""


@dataclass(frozen=True)
class Ablation:
    """One setting varied, all else as in the table.

    Attributes:
        name: what is varied.
        trials: one for each value.
        values: for the axis of the plot; None where they have no order.
    """

    name: str
    trials: Sequence[Trial]
    values: Sequence[float] | None

    @property
    def spans_decades(self) -> bool:
        """Whether a logarithmic axis suits the values."""
        return bool(self.values) and max(self.values or ()) > 20 * min(self.values or ())


def ablations(alphas: Sequence[float], shares: Sequence[float], tasks: Sequence[str]) -> tuple[Ablation, ...]:
    """All ablations of encoder alignment, without the tasks that a family cannot do.

    Args:
        alphas: weights of the forget term.
        shares: of the retain images.
        tasks: kinds of task that the family can do.
    """
    ratios = RATIOS if "random-mask" in tasks else ()
    known = [task for task in TASKS if ratios and task.kind in tasks]
    found = (
        Ablation("α", [Trial(f"{value:g}", ALIGNMENT, params={"alpha": value}) for value in alphas], alphas),
        Ablation("share of retain data", [Trial(f"{value:.0%}", ALIGNMENT, share=value) for value in shares], shares),
        Ablation("mask ratio", [_masked(value) for value in ratios], ratios),
        Ablation("task", [Trial(task.kind, ALIGNMENT, task=task) for task in known], None),
    )
    return tuple(ablation for ablation in found if ablation.trials)


def _masked(ratio: float) -> Trial:
    return Trial(f"{ratio:.0%}", ALIGNMENT, task=RandomMask(ratio=ratio))
