"""A sink that copies results to a folder."""

from __future__ import annotations

from pathlib import Path

from cu_audit.bundle import RESULT, Bundle
from cu_audit.records import Receipt

from compliance_unlearn.api import EvidenceSink, PublishError
from cu_echo.params import EchoSinkParams


class EchoSink(EvidenceSink):
    """One file a bundle, named by its digest: publishing twice leaves one."""

    def __init__(self, params: EchoSinkParams, root: Path) -> None:
        self.params = params
        self.folder = root / params.folder

    def _publish(self, bundle: Bundle) -> Receipt:
        if self.params.broken:
            raise PublishError("the echo sink was told to refuse")
        self.folder.mkdir(parents=True, exist_ok=True)
        copy = self.folder / f"{bundle.sha256}.json"
        copy.write_bytes((bundle.folder / RESULT).read_bytes())
        return Receipt(sink="echo-folder", bundle_sha256=bundle.sha256, run_id=bundle.sha256[:12], location=copy.name)
