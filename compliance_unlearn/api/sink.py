"""Evidence sinks: places where people look at evidence. The bundle on disk stays the proof."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import final

from cu_audit.bundle import Bundle
from cu_audit.records import Receipt

from compliance_unlearn.api.boundary import plugin_boundary
from compliance_unlearn.api.errors import PublishError


class EvidenceSink(ABC):
    """Shows bundles somewhere. Made by a factory ``(params, root) -> EvidenceSink``, ``root`` the workspace folder."""

    @final
    def publish(self, bundle: Bundle) -> Receipt:
        """Publish a bundle. Idempotent: twice leaves one record, also if the first try was killed half-way.

        Raises:
            PublishError: the place cannot be reached or refused; nothing is lost.
        """
        with plugin_boundary(type(self).__name__, "publish", PublishError):
            return self._publish(bundle)

    @abstractmethod
    def _publish(self, bundle: Bundle) -> Receipt: ...
