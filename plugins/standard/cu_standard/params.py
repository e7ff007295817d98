"""Parameters of the strategies and checks, with their meaning and limits. Imports nothing heavy."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Params(BaseModel):
    """Base of all parameters: frozen, strict about unknown keys, and finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class NoParams(Params):
    """Of objects that have nothing to set."""


class AlignmentParams(Params):
    """Settings of all strategies that align a student with its teacher."""

    alpha: float = Field(default=0.2, gt=0, description="weight of the forget term")
    augment: bool = Field(
        default=True, description="vary forget images, so that unseen ones follow, and mirror retain images"
    )
    forget_depths: int | None = Field(
        default=None, ge=1, description="how many of the deepest features forget; all are held on retain images"
    )
    noise_bank: int = Field(default=512, ge=16, description="noise images whose teacher features are drawn from")
    retain_views: int = Field(default=8, ge=1, description="views of a retain image with kept features, if masks vary")
    cache_megabytes: int = Field(
        default=1024, ge=0, description="largest cache of targets of each half; above it they are computed in each step"
    )


class EpsilonConstrainedParams(AlignmentParams):
    """Settings of the ε-constrained strategy."""

    alpha: float = Field(default=10.0, gt=0, description="largest weight that the forget term may reach")
    epsilon: float = Field(
        default=1.05, gt=0, description="largest forget loss, where 1 is the mean of the noise features"
    )
    barrier: float = Field(default=1.0, gt=0, description="how fast a violated constraint shall be mended (beta)")


class TrainingLossParams(Params):
    """Settings of the baselines that use the model's own training loss."""

    alpha: float = Field(default=0.2, gt=0, description="weight of the forget term")


class NoiseEnvelopeParams(Params):
    """What counts as looking like noise."""

    inside_at_least: float = Field(gt=0, le=1, description="share of forget records that must lie inside")
    noise_images: int = Field(
        default=512, ge=100, description="noise images for each of reference, calibration and control"
    )


class RetrievalLeakParams(Params):
    """How often the hidden content may be found again."""

    at_most: float = Field(gt=0, lt=1, description="largest upper 95 % bound of the share that is found first")
    distractors: int = Field(default=1000, ge=9, description="at most so many other images that each truth hides among")


class RetainDriftParams(Params):
    """How much worse the model may become for everybody else."""

    psnr_drop_at_most: float = Field(gt=0, description="largest upper 95 % bound of the mean drop in dB")
    worst_subject_drop_at_most: float | None = Field(
        default=None, gt=0, description="largest mean drop of any one subject in dB; reported only, if not set"
    )
