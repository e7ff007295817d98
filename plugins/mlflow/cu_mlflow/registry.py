"""One version in MLflow's model registry for each model of a bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cu_audit.bundle import Bundle
from cu_audit.records import ModelResult

from cu_mlflow.content import BUNDLE_TAG
from cu_mlflow.description import describe_version

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


def register(client: MlflowClient, run: Run, bundle: Bundle, model: ModelResult) -> None:
    """Register the candidate, once however often it is called.

    The source of the version is the evidence among the run's artifacts: a server accepts no path outside of them, and
    the weights are kept by the lineage store of the workspace.
    """
    _ensure_registered(client, model.name)
    if client.search_model_versions(f"name = '{model.name}' AND tags.`{BUNDLE_TAG}` = '{bundle.sha256}'"):
        return
    client.create_model_version(
        name=model.name,
        source=f"{run.info.artifact_uri}/bundle",
        run_id=run.info.run_id,
        tags=_lineage_tags(bundle, model),
        description=describe_version(bundle, model),
        await_creation_for=0,
    )


def _ensure_registered(client: MlflowClient, name: str) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode

    try:
        client.create_registered_model(name, description="Every version was made by an erasure request.")
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
            raise


def _lineage_tags(bundle: Bundle, model: ModelResult) -> dict[str, str]:
    result = bundle.result
    return {
        BUNDLE_TAG: bundle.sha256,
        "cu.request": result.request.id,
        "cu.verdict": result.verdict.value,
        "cu.promoted": "yes" if model.promoted else "no",
        "cu.candidate": model.candidate.sha256,
        "cu.candidate.path": model.candidate.path,
        "cu.source": model.source.sha256,
        "cu.source.path": model.source.path,
        "cu.dataset": result.lineage.dataset,
        "cu.dataset.revision": result.lineage.revision,
        "cu.dataset.digest": result.lineage.digest,
        "cu.plan_digest": result.plan_digest,
    }
