"""What this plugin registers."""

from __future__ import annotations

from collections.abc import Sequence

from compliance_unlearn.api import LineageStoreSpec, hookimpl


@hookimpl
def cu_register_lineage_stores() -> Sequence[LineageStoreSpec]:
    """Register the lineage store ``dvc``."""
    return [
        LineageStoreSpec(
            name="dvc",
            summary="versions data sets and models with DVC and git",
            params="cu_dvc.params:DvcParams",
            factory="cu_dvc.store:DvcLineageStore.from_params",
        )
    ]
