"""All errors that the tool shows to a person. Each knows its exit code; anything else that escapes is a bug of ours.

A message says what is wrong, where, and what to do. It never holds a subject, a record id or the name of a data file:
messages end up in logs that outlive the request.
"""

from __future__ import annotations


class ComplianceError(Exception):
    """Base of every error that a user can cause or mend."""

    exit_code = 1


class PolicyError(ComplianceError):
    """The command line, the policy or the workspace file is wrong."""

    exit_code = 2


class DataError(ComplianceError):
    """A data set cannot be used: missing, changed, unreadable, or it does not hold what the policy selects."""

    exit_code = 4


class ModelError(ComplianceError):
    """A model cannot be used: weights missing, truncated, unsafe, or of another architecture."""

    exit_code = 4


class WorkspaceError(ComplianceError):
    """The workspace cannot be used: in use by another run, not set up, out of space, or damaged."""

    exit_code = 4


class PluginError(ComplianceError):
    """A plugin that was asked for is absent, broken, or broke its contract."""

    exit_code = 5


class PublishError(ComplianceError):
    """Evidence is safe on disk but could not be published; `cu publish` tries again."""

    exit_code = 6
