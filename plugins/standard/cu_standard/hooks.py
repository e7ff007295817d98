"""What this plugin offers."""

from __future__ import annotations

from collections.abc import Sequence

from compliance_unlearn.api import CheckSpec, DataSourceSpec, StrategySpec, hookimpl

PARAMS = "cu_standard.params"
CHECKS = "cu_standard.checks"


@hookimpl
def cu_register_strategies() -> Sequence[StrategySpec]:
    """The unlearning methods."""
    return (
        StrategySpec(
            name="encoder-alignment",
            summary="L2 alignment of the encoder: forget towards noise, retain held (Li et al., ICLR 2024)",
            params=f"{PARAMS}:EncoderAlignmentParams",
            factory="cu_standard.strategies.encoder_alignment:EncoderAlignment",
            loop=(
                ("steps", 1200),
                ("learning_rate", 2e-3),
                ("warmup", 100),
                ("schedule", "cosine"),
                ("precision", "auto"),
                ("checkpoint_every", 100),
            ),
        ),
    )


@hookimpl
def cu_register_checks() -> Sequence[CheckSpec]:
    """The checks; those without a threshold run always."""
    return (
        CheckSpec(
            name="artefact",
            summary="only the encoder changed, and nothing else is shipped",
            params=f"{PARAMS}:NoParams",
            factory=f"{CHECKS}.artefact:Artefact",
            mandatory=True,
        ),
        CheckSpec(
            name="fidelity",
            summary="PSNR and SSIM of every set, before and after; reported only",
            params=f"{PARAMS}:NoParams",
            factory=f"{CHECKS}.fidelity:Fidelity",
            mandatory=True,
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
