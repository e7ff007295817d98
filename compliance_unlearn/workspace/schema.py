"""JSON Schema of workspace files, for editors and for other tools."""

from __future__ import annotations

from typing import Any

from compliance_unlearn.policy.schema import file_schema
from compliance_unlearn.workspace.model import WorkspaceFile


def workspace_schema() -> dict[str, Any]:
    """The schema of a workspace file."""
    return file_schema(WorkspaceFile, "Workspace of compliance-unlearn")
