"""The hooks.

A plugin is a module with some of these functions, marked with `hookimpl`, behind the entry point group
`compliance_unlearn`. Every registering hook fires once, when the registry is built; none is ``firstresult``.
"""

from __future__ import annotations

from collections.abc import Sequence

import pluggy
from cu_audit.records import RunResult

from compliance_unlearn.api.plan import Finding, Plan
from compliance_unlearn.api.specs import (
    AdapterSpec,
    CheckSpec,
    DataSourceSpec,
    LineageStoreSpec,
    SinkSpec,
    StrategySpec,
)

PROJECT = "compliance_unlearn"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def cu_register_model_adapters() -> Sequence[AdapterSpec]:  # type: ignore[empty-body]
    """Fires when the registry is built: return the model families that this plugin can load."""


@hookspec
def cu_register_strategies() -> Sequence[StrategySpec]:  # type: ignore[empty-body]
    """Fires when the registry is built: return the unlearning methods of this plugin."""


@hookspec
def cu_register_checks() -> Sequence[CheckSpec]:  # type: ignore[empty-body]
    """Fires when the registry is built: return the checks of this plugin."""


@hookspec
def cu_register_data_sources() -> Sequence[DataSourceSpec]:  # type: ignore[empty-body]
    """Fires when the registry is built: return the ways to read records of this plugin."""


@hookspec
def cu_register_lineage_stores() -> Sequence[LineageStoreSpec]:  # type: ignore[empty-body]
    """Fires when the registry is built: return the version controls for data of this plugin."""


@hookspec
def cu_register_evidence_sinks() -> Sequence[SinkSpec]:  # type: ignore[empty-body]
    """Fires when the registry is built: return the places to publish evidence of this plugin."""


@hookspec
def cu_review_plan(plan: Plan) -> Sequence[Finding]:  # type: ignore[empty-body]
    """Fires at the end of planning, in `cu plan` and `cu apply`: warn or block; the plan itself cannot be changed."""


@hookspec
def cu_run_finished(summary: RunResult) -> None:
    """Fires after the bundle is sealed and the ledger has its entry; what it raises is shown as a warning."""
