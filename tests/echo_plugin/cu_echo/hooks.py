"""What this plugin registers."""

from __future__ import annotations

from collections.abc import Sequence

from compliance_unlearn.api import (
    AdapterSpec,
    CheckSpec,
    DataSourceSpec,
    Finding,
    LineageStoreSpec,
    Plan,
    SinkSpec,
    StrategySpec,
    hookimpl,
)


@hookimpl
def cu_register_model_adapters() -> Sequence[AdapterSpec]:
    """Register the model family ``echo``."""
    return [
        AdapterSpec(
            name="echo",
            summary="two convolutions: an encoder and a decoder",
            params="cu_echo.params:EchoAdapterParams",
            factory="cu_echo.adapter:EchoAdapter",
            tasks=("inpaint", "random-mask"),
        )
    ]


@hookimpl
def cu_register_strategies() -> Sequence[StrategySpec]:
    """Register the method ``echo-alignment``."""
    return [
        StrategySpec(
            name="echo-alignment",
            summary="pulls the features of forget images to those of noise",
            params="cu_echo.params:EchoStrategyParams",
            factory="cu_echo.strategy:EchoStrategy",
            loop=(("steps", 2), ("batch", 2)),
        )
    ]


@hookimpl
def cu_register_checks() -> Sequence[CheckSpec]:
    """Register two checks; neither is mandatory, since this plugin may be installed beside others."""
    return [
        CheckSpec(
            name="echo-drift",
            summary="the candidate's outputs differ from the original's by a given amount at most",
            params="cu_echo.params:EchoCheckParams",
            factory="cu_echo.check:EchoCheck",
            tests_forgetting=True,
        ),
        CheckSpec(
            name="echo-counts",
            summary="there is something to forget",
            params="cu_echo.params:NoParams",
            factory="cu_echo.check:EchoCounts",
        ),
    ]


@hookimpl
def cu_register_data_sources() -> Sequence[DataSourceSpec]:
    """Register the source ``echo-folder``."""
    return [
        DataSourceSpec(
            name="echo-folder",
            summary="pictures named <split>/<subject>-<number>.png",
            params="cu_echo.params:NoParams",
            factory="cu_echo.source:EchoSource",
        )
    ]


@hookimpl
def cu_register_lineage_stores() -> Sequence[LineageStoreSpec]:
    """Register the store ``echo-journal``."""
    return [
        LineageStoreSpec(
            name="echo-journal",
            summary="a text file with one line for each thing that was tracked",
            params="cu_echo.params:NoParams",
            factory="cu_echo.store:EchoStore",
        )
    ]


@hookimpl
def cu_register_evidence_sinks() -> Sequence[SinkSpec]:
    """Register the sink ``echo-folder``."""
    return [
        SinkSpec(
            name="echo-folder",
            summary="copies the result of each bundle to a folder",
            params="cu_echo.params:EchoSinkParams",
            factory="cu_echo.sink:EchoSink",
        )
    ]


@hookimpl
def cu_review_plan(plan: Plan) -> Sequence[Finding]:
    """Warn about requests that ask for it by their id, and block those that ask for that."""
    severities: dict[str, Finding] = {
        "warn-": Finding(severity="warning", message="the request asked for a warning"),
        "block-": Finding(severity="block", message="the request asked to be blocked"),
    }
    return [finding for prefix, finding in severities.items() if plan.request.startswith(prefix)]
