"""The workspace: where the things are that policies name, and how they are changed safely."""

from compliance_unlearn.workspace.files import publish_folder, replace_symlink, write_atomic
from compliance_unlearn.workspace.model import DatasetEntry, ModelEntry, WorkspaceFile
from compliance_unlearn.workspace.schema import workspace_schema
from compliance_unlearn.workspace.versions import current_version, promote, require_promotable
from compliance_unlearn.workspace.workspace import Workspace

__all__ = [
    "DatasetEntry",
    "ModelEntry",
    "Workspace",
    "WorkspaceFile",
    "current_version",
    "promote",
    "publish_folder",
    "replace_symlink",
    "require_promotable",
    "workspace_schema",
    "write_atomic",
]
