"""Settings of the optimisation loop that serves unlearning and base training."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class LoopSettings(BaseModel):
    """How a model is optimised. Two runs with equal settings on one machine end in the same bits.

    That holds unless ``seconds`` ends the loop: then the number of steps depends on the machine.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    steps: int = Field(default=300, ge=0, description="budget in optimiser steps; 0 changes nothing")
    seconds: float | None = Field(default=None, gt=0, description="budget in seconds of optimisation")
    batch: int = Field(default=16, ge=1, description="images of each half (forget, retain) in a step")
    learning_rate: float = Field(default=3e-4, gt=0)
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = Field(default=0.0, ge=0)
    clip: float | None = Field(default=3.0, gt=0, description="largest norm of the gradient")
    warmup: int = Field(default=0, ge=0, description="steps over which the learning rate rises from 0")
    schedule: Literal["constant", "cosine"] = "constant"
    precision: Literal["fp32", "bf16", "auto"] = Field(
        default="fp32", description="auto takes bf16 where the processor computes it natively"
    )
    seed: int = Field(default=0, ge=0)
    checkpoint_every: int = Field(default=50, ge=1, description="steps between checkpoints")
    early_stop_every: int | None = Field(
        default=None, ge=1, description="steps between looks at the objective on a part that is not trained on"
    )
    early_stop_patience: int = Field(default=3, ge=1, description="looks without improvement before the loop stops")
