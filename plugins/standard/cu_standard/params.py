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
    near_drop_at_most: float | None = Field(
        default=None,
        gt=0,
        description="largest upper 95 % bound of the mean drop in dB of the tenth of retained pictures that are most "
        "like those to forget; needs the feature network efficientnet-lite0. If not set, only figures and a "
        "histogram are given",
    )


class LikeRetrainedParams(Params):
    """How near to a model that never saw the records is near enough."""

    psnr_margin: float = Field(default=0.5, gt=0, description="largest mean difference in dB, to either side")


class RelearningParams(Params):
    """Budget of the attackers who train the unlearned model, and how much they may gain."""

    steps: int = Field(default=100, ge=1, description="steps of 16 pictures for each attacker")
    learning_rate: float = Field(default=3e-4, gt=0, description="of the attackers")
    gain_at_most: float = Field(
        default=0.5, gt=0, description="largest upper 95 % bound of the mean gain over the control in dB"
    )


class ProbeParams(Params):
    """How well hidden content may be read from features."""

    skill_at_most: float = Field(
        default=0.1, gt=0, lt=1, description="largest upper 95 % bound of the correlation with the hidden pixels"
    )


class MembershipParams(Params):
    """How well reconstruction errors may tell which pictures of the subject the model was trained on."""

    margin: float = Field(default=0.1, gt=0, lt=0.5, description="largest distance of the AUC from 0.5, to either side")


class ResidualParams(Params):
    """How much small changes of the input may bring back."""

    margin: float = Field(
        default=0.25, gt=0, description="how far the upper 95 % bound of the ratio of errors may lie above 1"
    )
    pictures: int = Field(default=200, ge=1, description="at most so many pictures of each set are perturbed")


class InformationParams(Params):
    """How much outputs may tell about the hidden content."""

    margin: float = Field(
        default=0.1,
        gt=0,
        description="nats beyond chance that a reader may gain; were 0.1 all, true pairs could be told in 61 % at most",
    )
    permutations: int = Field(default=100, ge=50, description="shuffles of the pairs, which show what chance gives")


class NetParams(Params):
    """Which feature network pictures are compared with."""

    net: str = Field(
        default="efficientnet-lite0",
        description="name of the feature network: efficientnet-lite0, inception, clip or dlib-face",
    )
    net_path: str | None = Field(
        default=None,
        description="file or folder of its weights, if no package brings them; absolute, or relative to the folder "
        "in which `cu` is started",
    )
    net_edge: int | None = Field(
        default=None,
        ge=32,
        description="edge in pixels to which it resizes pictures, if it leaves a choice; 64 for efficientnet-lite0",
    )


class RecognitionParams(NetParams):
    """How often a feature network may recognise the subject in what the model generates."""

    at_most: float = Field(
        default=0.30, gt=0, lt=1, description="largest upper 95 % bound of the share that is recognised"
    )


class PictureQualityParams(NetParams):
    """How much the distribution of retained outputs may move away from that of the true pictures."""

    frechet_rise_at_most: float | None = Field(
        default=None,
        gt=0,
        description="largest upper 95 % bound of the rise of the Fréchet distance on retained pictures, as a share of "
        "what it was: 0.10 for ten percent; reported only, if not set",
    )
    pictures: int = Field(
        default=500, ge=30, description="at most so many pictures of each set; with other numbers distances differ"
    )


class SameAsNoiseParams(Params):
    """How well forget outputs may be told from noise outputs."""

    accuracy_at_most: float | None = Field(
        default=None,
        gt=0.5,
        le=1,
        description="largest upper 95 % bound of a classifier's accuracy, 0.5 is guessing; reported only, if not set",
    )
    permutations: int = Field(default=999, ge=99, description="of the labels, in the test of the energy distance")


class WhitenessParams(Params):
    """How the structure of generated regions is compared."""

    resamples: int = Field(default=2000, ge=200, description="bootstrap resamples by image")


class FreshEncoderParams(Params):
    """Budget of the attacker who trains a new encoder, and how far behind the original it must stay."""

    steps: int = Field(default=400, ge=10, description="steps of 16 pictures for each attacker")
    learning_rate: float = Field(default=1e-3, gt=0, description="of the attackers")
    loss_at_least: float = Field(
        default=3.0, gt=0, description="smallest lower 95 % bound of the mean loss on forget pictures in dB"
    )


class QuantisedWeightsParams(Params):
    """How much rounding of the weights may bring back."""

    gain_at_most: float = Field(default=0.5, gt=0, description="largest upper 95 % bound of the mean gain in dB")


class OtherTasksParams(Params):
    """How often the hidden content may be found again when the model is used for something else."""

    at_most: float = Field(
        default=0.3, gt=0, lt=1, description="largest upper 95 % bound of the share that is found first, in any task"
    )
    distractors: int = Field(default=1000, ge=9, description="at most so many other images that each truth hides among")
