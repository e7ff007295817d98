"""What this plugin registers."""

from __future__ import annotations

from collections.abc import Sequence

from compliance_unlearn.api import SinkSpec, hookimpl


@hookimpl
def cu_register_evidence_sinks() -> Sequence[SinkSpec]:
    """Register the evidence sink ``mlflow``."""
    return [
        SinkSpec(
            name="mlflow",
            summary="shows each run in MLflow and registers the unlearned model",
            params="cu_mlflow.params:MlflowParams",
            factory="cu_mlflow.sink:MlflowSink",
        )
    ]
