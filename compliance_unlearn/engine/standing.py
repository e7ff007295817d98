"""Standing obligations: who was forgotten by earlier requests is neither retained, shown nor measured again.

Kept in the workspace's private state as one file a bundle, as HMACs of record ids: enough to recognise a record of the
data set, and nothing to read for who finds the file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from cu_audit.canonical import canonical, keyed
from cu_audit.records import FORGET, FORGET_HELD_OUT, LedgerEntry, Outcome

from compliance_unlearn.api import RecordSet
from compliance_unlearn.workspace import Workspace
from compliance_unlearn.workspace.files import write_atomic


class StandingObligations:
    """What compliant runs of a workspace made its models forget."""

    def __init__(self, workspace: Workspace) -> None:
        self._folder = workspace.state / "forgotten"
        self._key = workspace.request_key("standing obligations")

    def remember(self, bundle: str, sets: Mapping[str, Mapping[str, RecordSet]]) -> None:
        """Store the forgotten records of each model; doing it twice changes nothing.

        Args:
            bundle: name of the bundle's folder.
            sets: model -> set -> records.
        """
        content = {
            model: sorted(self._name(record.id) for name in (FORGET, FORGET_HELD_OUT) for record in parts[name])
            for model, parts in sets.items()
        }
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._path(bundle)
        if not path.exists():
            write_atomic(path, canonical(content))

    def select(self, model: str, records: RecordSet, entries: Sequence[LedgerEntry], request: str) -> RecordSet:
        """Those of ``records`` that other requests among ``entries`` made ``model`` forget."""
        names: set[str] = set()
        for entry in entries:
            path = self._path(entry.bundle)
            if entry.verdict is Outcome.COMPLIANT and entry.request != request and path.exists():
                names.update(json.loads(path.read_bytes()).get(model, []))
        if not names:
            return RecordSet([])
        return RecordSet([record for record in records if self._name(record.id) in names])

    def _name(self, record_id: str) -> str:
        return keyed(self._key, record_id.encode())

    def _path(self, bundle: str) -> Path:
        return self._folder / f"{bundle}.json"
