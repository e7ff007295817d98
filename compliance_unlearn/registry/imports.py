"""Import strings ``package.module:name``: what specs hold so that listing them imports nothing."""

from __future__ import annotations

from importlib import import_module
from operator import attrgetter
from typing import Any

from compliance_unlearn.api import PluginError


def import_string(text: str, owner: str) -> Any:
    """The object that an import string names.

    Args:
        text: ``package.module:name``.
        owner: whose it is, for the message.

    Raises:
        PluginError: the module cannot be imported, or has no such name.
    """
    module_name, _, attribute = text.partition(":")
    try:
        return attrgetter(attribute)(import_module(module_name))
    except (Exception, SystemExit) as error:  # the plugin boundary: importing runs foreign code
        reason = " ".join(str(error).split())
        raise PluginError(f"{owner}: {text} cannot be imported: {type(error).__name__}: {reason}") from error
