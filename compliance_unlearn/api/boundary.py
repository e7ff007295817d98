"""The wall between the core and a plugin: whatever a third party raises, only declared errors come through."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from compliance_unlearn.api.errors import ComplianceError, PluginError


@contextmanager
def plugin_boundary(kind: str, action: str, error_class: type[ComplianceError] = PluginError) -> Iterator[None]:
    """Turn any undeclared exception of a plugin into ``error_class``; the cause stays attached for ``--debug``.

    The text of the cause is left out of the message, since it may name files or subjects.

    Args:
        kind: class of the plugin object, for the message.
        action: the method that was called.
        error_class: what to raise instead.
    """
    try:
        yield
    except ComplianceError:
        raise
    except Exception as error:
        raise error_class(
            f"{kind}.{action} raised {type(error).__name__}; run again with --debug to see where"
        ) from error
