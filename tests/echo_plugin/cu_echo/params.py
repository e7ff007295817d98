"""Parameters of the objects; imports nothing heavy."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class NoParams(BaseModel):
    """No parameters at all."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class EchoAdapterParams(NoParams):
    """Size of a model that is trained here."""

    size: int = Field(default=16, ge=4, description="edge of the grey images in pixels")
    width: int = Field(default=4, ge=1, description="channels of the features")


class EchoStrategyParams(NoParams):
    """Weights of the two parts of the loss."""

    forget_weight: float = Field(gt=0)
    retain_weight: float = Field(default=1.0, ge=0)


class EchoCheckParams(NoParams):
    """What still counts as no drift."""

    at_most: float = Field(default=1.0, ge=0, description="mean absolute difference of pixels")


class EchoSinkParams(NoParams):
    """Where results are copied to."""

    folder: str = "echoed"
    broken: bool = Field(default=False, description="refuse everything, as a dead server does")
