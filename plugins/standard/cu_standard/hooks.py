"""What this plugin offers."""

from __future__ import annotations

from collections.abc import Sequence

from compliance_unlearn.api import CheckSpec, DataSourceSpec, StrategySpec, hookimpl

PARAMS = "cu_standard.params"
CHECKS = "cu_standard.checks"


LOOP: tuple[tuple[str, str | int | float], ...] = (
    ("steps", 1200),
    ("learning_rate", 2e-3),
    ("warmup", 100),
    ("schedule", "cosine"),
    ("precision", "auto"),
    ("checkpoint_every", 100),
)
"""Of all strategies, so that comparisons give each the same budget."""


@hookimpl
def cu_register_strategies() -> Sequence[StrategySpec]:
    """The unlearning methods."""
    return (
        _strategy(
            "encoder-alignment",
            "L2 alignment of the encoder: forget towards noise, retain held (Li et al., ICLR 2024)",
            "EncoderAlignment",
        ),
        _strategy(
            "output-alignment",
            "encoder alignment with the loss taken after the frozen decoder",
            "OutputAlignment",
        ),
        _strategy(
            "distribution-matching",
            "forget features spread like noise features (energy distance): no collapse, nothing memorised",
            "DistributionMatching",
        ),
        _strategy(
            "epsilon-constrained",
            "hold retain as well as possible, subject to forgetting enough (arXiv 2408.01689)",
            "EpsilonConstrained",
            params="EpsilonConstrainedParams",
        ),
        _strategy("random-encoder", "baseline: align forget features with random numbers", "RandomEncoder"),
        *(
            _strategy(name, summary, factory, module="training_loss", params="TrainingLossParams")
            for name, summary, factory in (
                ("max-loss", "baseline: ascend the training loss on the forget set", "MaxLoss"),
                ("noisy-label", "baseline: ask for noise where a forget image is shown", "NoisyLabel"),
                ("retain-label", "baseline: ask for retain images where a forget image is shown", "RetainLabel"),
            )
        ),
    )


def _strategy(
    name: str, summary: str, factory: str, *, module: str = "", params: str = "AlignmentParams"
) -> StrategySpec:
    return StrategySpec(
        name=name,
        summary=summary,
        params=f"{PARAMS}:{params}",
        factory=f"cu_standard.strategies.{module or name.replace('-', '_')}:{factory}",
        loop=LOOP,
    )


@hookimpl
def cu_register_checks() -> Sequence[CheckSpec]:
    """The checks; a profile runs those that have one, and a policy those that it names."""
    return (
        CheckSpec(
            name="artefact",
            summary="only the encoder changed, and nothing else is shipped",
            params=f"{PARAMS}:NoParams",
            factory=f"{CHECKS}.artefact:Artefact",
            profile="quick",
            decides=True,
        ),
        CheckSpec(
            name="fidelity",
            summary="PSNR and SSIM of every set, before and after; reported only",
            params=f"{PARAMS}:NoParams",
            factory=f"{CHECKS}.fidelity:Fidelity",
            profile="quick",
            decides_by=(),
        ),
        CheckSpec(
            name="noise-envelope",
            summary="forget outputs look like what the original model makes of noise",
            params=f"{PARAMS}:NoiseEnvelopeParams",
            factory=f"{CHECKS}.noise_envelope:NoiseEnvelope",
            tests_forgetting=True,
        ),
        CheckSpec(
            name="retrieval-leak",
            summary="the hidden part of forgotten pictures cannot be picked out with the model's output",
            params=f"{PARAMS}:RetrievalLeakParams",
            factory=f"{CHECKS}.retrieval_leak:RetrievalLeak",
            tests_forgetting=True,
        ),
        CheckSpec(
            name="retain-drift",
            summary="for everybody else the model is as good as before, within a margin",
            params=f"{PARAMS}:RetainDriftParams",
            factory=f"{CHECKS}.retain_drift:RetainDrift",
        ),
        CheckSpec(
            name="information",
            summary="a reader that learns from forget outputs gains next to no information about the hidden content",
            params=f"{PARAMS}:InformationParams",
            factory=f"{CHECKS}.information:Information",
            profile="standard",
        ),
        CheckSpec(
            name="same-as-noise",
            summary="forget outputs are distributed like noise outputs: classifier test and energy distance",
            params=f"{PARAMS}:SameAsNoiseParams",
            factory=f"{CHECKS}.same_as_noise:SameAsNoise",
            profile="standard",
            decides_by=("accuracy_at_most",),
        ),
        CheckSpec(
            name="whiteness",
            summary="autocorrelation and spectral flatness of forget outputs against noise outputs; reported only",
            params=f"{PARAMS}:WhitenessParams",
            factory=f"{CHECKS}.whiteness:Whiteness",
            profile="standard",
            decides_by=(),
        ),
        CheckSpec(
            name="picture-quality",
            summary="features of outputs against those of the true pictures: Fréchet and kernel distance, likeness",
            params=f"{PARAMS}:PictureQualityParams",
            factory=f"{CHECKS}.picture_quality:PictureQuality",
            profile="standard",
            decides_by=("frechet_rise_at_most",),
        ),
        CheckSpec(
            name="like-retrained",
            summary="what was forgotten is drawn as well as by a model that was trained without it (--with-reference)",
            params=f"{PARAMS}:LikeRetrainedParams",
            factory=f"{CHECKS}.like_retrained:LikeRetrained",
            profile="quick",
            reference=True,
        ),
        CheckSpec(
            name="relearning",
            summary="training on a few forgotten pictures does not bring the others back faster than a control",
            params=f"{PARAMS}:RelearningParams",
            factory=f"{CHECKS}.relearning:Relearning",
            profile="standard",
        ),
        CheckSpec(
            name="fresh-encoder",
            summary="a new encoder trained against the untouched decoder does not bring forgotten pictures back",
            params=f"{PARAMS}:FreshEncoderParams",
            factory=f"{CHECKS}.fresh_encoder:FreshEncoder",
            profile="thorough",
        ),
        CheckSpec(
            name="quantised-weights",
            summary="rounding the weights to 8 or 4 bits does not bring forgotten pictures back",
            params=f"{PARAMS}:QuantisedWeightsParams",
            factory=f"{CHECKS}.quantised_weights:QuantisedWeights",
            profile="thorough",
        ),
        CheckSpec(
            name="other-tasks",
            summary="the hidden part of forgotten pictures cannot be picked out in other tasks of the same model",
            params=f"{PARAMS}:OtherTasksParams",
            factory=f"{CHECKS}.other_tasks:OtherTasks",
            profile="thorough",
        ),
        CheckSpec(
            name="recognition",
            summary="a feature network does not recognise the subject in what the model generates",
            params=f"{PARAMS}:RecognitionParams",
            factory=f"{CHECKS}.recognition:Recognition",
            profile="thorough",
        ),
        CheckSpec(
            name="probe",
            summary="a probe cannot read the hidden content of forgotten pictures from the encoder's features",
            params=f"{PARAMS}:ProbeParams",
            factory=f"{CHECKS}.probe:Probe",
            profile="standard",
        ),
        CheckSpec(
            name="membership",
            summary="the errors do not tell which pictures of the subject the model was trained on",
            params=f"{PARAMS}:MembershipParams",
            factory=f"{CHECKS}.membership:Membership",
            profile="standard",
        ),
        CheckSpec(
            name="residual",
            summary="small changes of the input do not bring forgotten pictures back",
            params=f"{PARAMS}:ResidualParams",
            factory=f"{CHECKS}.residual:Residual",
            profile="thorough",
        ),
    )


@hookimpl
def cu_register_data_sources() -> Sequence[DataSourceSpec]:
    """The ways to list and read records."""
    return (
        DataSourceSpec(
            name="image-folder",
            summary="a folder a class, with or without train and val folders above (ImageNet, Places)",
            params="cu_standard.sources.params:ImageFolderParams",
            factory="cu_standard.sources.image_folder:ImageFolderSource",
        ),
        DataSourceSpec(
            name="manifest",
            summary="a Parquet or CSV table with path, id, subject, label, split and any other columns",
            params="cu_standard.sources.params:ManifestParams",
            factory="cu_standard.sources.manifest:ManifestSource",
        ),
    )
