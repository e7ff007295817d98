"""The evidence sink ``mlflow``: one finished run for each bundle, however often it is published."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from cu_audit.bundle import PLAN, Bundle
from cu_audit.records import Receipt, RunResult
from pydantic import ValidationError

from compliance_unlearn.api import EvidenceSink, Plan, PublishError
from cu_mlflow import content
from cu_mlflow.database import make_database
from cu_mlflow.description import describe_run
from cu_mlflow.params import MlflowParams
from cu_mlflow.probe import probe
from cu_mlflow.registry import register
from cu_mlflow.settings import prepare_import, quiet

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Run


_Item = TypeVar("_Item")

_POINTS_A_BATCH = 1000
_NAMES_A_BATCH = 100
_AUTHOR = "compliance-unlearn"
# Makes MLflow open the experiment on its page for models, not on the one for chat traces.
_MODEL_TRAINING = {"mlflow.experimentKind": "custom_model_development"}


class MlflowSink(EvidenceSink):
    """Publishes bundles to an MLflow server or database."""

    def __init__(self, params: MlflowParams, root: Path) -> None:
        self._params = params
        self._root = root

    def _publish(self, bundle: Bundle) -> Receipt:
        prepare_import()
        with quiet(), self._refusals(bundle):
            client = self._connect()
            run = self._run_of(client, bundle)
            if run.info.status != "FINISHED":
                _fill(client, run, bundle)
            return Receipt(
                sink="mlflow",
                bundle_sha256=bundle.sha256,
                run_id=run.info.run_id,
                location=f"{self._params.shown_uri}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}",
            )

    def _connect(self) -> MlflowClient:
        from mlflow import MlflowClient

        uri = self._params.uri_in(self._root)
        probe(uri)
        make_database(uri)
        return MlflowClient(tracking_uri=uri, registry_uri=uri)

    def _run_of(self, client: MlflowClient, bundle: Bundle) -> Run:
        """The run of this bundle: the one that is there, finished or cut short, or else a new one."""
        experiment = self._experiment(client)
        found = client.search_runs([experiment], f"tags.`{content.BUNDLE_TAG}` = '{bundle.sha256}'")
        if found:
            kept, *doubles = sorted(found, key=lambda run: (run.info.status != "FINISHED", run.info.run_id))
            for double in doubles:
                client.delete_run(double.info.run_id)
            return kept
        result = bundle.result
        # Without these tags MLflow would look for a user and a program name of this machine.
        origin = {"mlflow.user": _AUTHOR, "mlflow.source.name": "cu apply", "mlflow.source.type": "LOCAL"}
        return client.create_run(
            experiment,
            start_time=_milliseconds(result.started),
            tags={content.BUNDLE_TAG: bundle.sha256, **origin},
            run_name=f"{result.request.id} {result.verdict.value}",
        )

    def _experiment(self, client: MlflowClient) -> str:
        name = self._params.experiment
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            artifacts = None if self._params.is_server else (self._root.resolve() / "mlartifacts").as_uri()
            return client.create_experiment(name, artifact_location=artifacts, tags=_MODEL_TRAINING)
        if experiment.lifecycle_stage != "active":
            raise PublishError(
                f"the MLflow experiment '{name}' was deleted; restore it with `mlflow experiments restore "
                f"-x {experiment.experiment_id}`, then run `cu publish`"
            )
        return str(experiment.experiment_id)

    @contextmanager
    def _refusals(self, bundle: Bundle) -> Iterator[None]:
        """Turn what MLflow raises into advice; its own text is left out, since it may hold passwords and paths."""
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        safe = f"the evidence is safe in the bundle {bundle.folder.name}; run `cu publish` when MLflow is back"
        where = f"MLflow at {self._params.shown_uri}"
        try:
            yield
        except MlflowException as error:
            raise PublishError(f"{where} refused or did not answer ({error.error_code}); {safe}") from error
        except (OSError, sqlite3.Error, SQLAlchemyError) as error:  # requests' errors are OSErrors
            raise PublishError(f"{where} cannot be reached ({type(error).__name__}); {safe}") from error


def _fill(client: MlflowClient, run: Run, bundle: Bundle) -> None:
    """Write everything; each part may be written twice without doubling it, and the status is written last."""
    result, plan = bundle.result, _plan_of(bundle)
    identity = run.info.run_id
    client.log_inputs(identity, datasets=_inputs(result, plan))
    _log(client, identity, bundle, plan)
    client.log_artifacts(identity, str(bundle.folder), artifact_path="bundle")
    for model in result.models:
        register(client, run, bundle, model)
    client.set_terminated(identity, status="FINISHED", end_time=_milliseconds(result.finished))


def _plan_of(bundle: Bundle) -> Plan:
    try:
        return Plan.model_validate_json((bundle.folder / PLAN).read_bytes())
    except ValidationError as error:
        raise PublishError(f"{PLAN} of the bundle {bundle.folder.name} is of another version of the tool") from error


def _log(client: MlflowClient, identity: str, bundle: Bundle, plan: Plan) -> None:
    from mlflow.entities import Metric, Param, RunTag

    result = bundle.result
    # One moment for all, so that a second try writes the same rows, which the store then drops.
    moment = _milliseconds(result.finished)
    points = [Metric(point.key, point.value, moment, point.step) for point in content.metrics(result)]
    params = [Param(key, value) for key, value in content.parameters(result, plan).items()]
    tags = [RunTag(key, value) for key, value in content.tags(bundle).items()]
    tags.append(RunTag("mlflow.note.content", describe_run(bundle)))
    for some in _batches(points, _POINTS_A_BATCH):
        client.log_batch(identity, metrics=some, synchronous=True)
    for part in _batches(params, _NAMES_A_BATCH):
        client.log_batch(identity, params=part, synchronous=True)
    for few in _batches(tags, _NAMES_A_BATCH):
        client.log_batch(identity, tags=few, synchronous=True)


def _inputs(result: RunResult, plan: Plan) -> Sequence[DatasetInput]:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    inputs = []
    for use in content.datasets(result, plan):
        lineage = use.lineage
        dataset = Dataset(
            name=lineage.dataset,
            digest=lineage.digest[: content.LONGEST_DIGEST],
            source_type="lineage",
            source=json.dumps({"dataset": lineage.dataset, "digest": lineage.digest}),
        )
        # The revision is a tag: MLflow keeps a data set once a digest, with the source that came first.
        tags = {
            "mlflow.data.context": ", ".join(use.contexts),
            "cu.revision": lineage.revision,
            "cu.digest": lineage.digest,
            **{f"cu.records.{name}": str(count) for name, count in use.counts.items()},
        }
        inputs.append(DatasetInput(dataset, [InputTag(key, value) for key, value in tags.items()]))
    return inputs


def _batches(items: Sequence[_Item], size: int) -> Iterator[Sequence[_Item]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
