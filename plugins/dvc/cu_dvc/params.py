"""Parameters of the lineage store ``dvc`` in ``workspace.yaml``."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class DvcParams(BaseModel):
    """No settings: where data goes is said in DVC's own configuration, ``.dvc/config``."""

    model_config = ConfigDict(frozen=True, extra="forbid")
