"""Writing the bundle: all files into a temporary folder, sealed, then moved to its place in one rename."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cu_audit.bundle import PLAN, POLICY, REPORT, RESULT, STATEMENT, seal
from cu_audit.canonical import canonical, sha256
from cu_audit.records import RunResult

from compliance_unlearn.api import Plan
from compliance_unlearn.evidence.pictures import ReportPictures
from compliance_unlearn.evidence.report import render_report
from compliance_unlearn.workspace.files import full_disk_is_an_error, publish_folder

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:compliance-unlearn:unlearning-run:1"


def seal_bundle(
    folder: Path, *, result: RunResult, plan: Plan, policy_yaml: str, pictures: Mapping[str, ReportPictures]
) -> None:
    """Write and seal a bundle; afterwards ``folder`` exists complete, or not at all.

    Raises:
        WorkspaceError: the disk is full.
    """
    temporary = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with full_disk_is_an_error(folder.parent):
            temporary.mkdir(parents=True)
            result_bytes, plan_bytes = canonical(result), canonical(plan)
            (temporary / RESULT).write_bytes(result_bytes)
            (temporary / PLAN).write_bytes(plan_bytes)
            (temporary / POLICY).write_text(policy_yaml, encoding="utf-8")
            (temporary / STATEMENT).write_bytes(canonical(statement(result, sha256(result_bytes), sha256(plan_bytes))))
            (temporary / REPORT).write_text(render_report(result, policy_yaml, pictures), encoding="utf-8")
            seal(temporary)
            publish_folder(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def statement(result: RunResult, result_sha256: str, plan_sha256: str) -> dict[str, Any]:
    """An in-toto Statement v1 about the candidates: this procedure ran on these digests and gave these results."""
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": model.name, "digest": {"sha256": model.candidate.sha256}} for model in result.models],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "request": result.request.id,
            "planDigest": result.plan_digest,
            "planSha256": plan_sha256,
            "resultSha256": result_sha256,
            "verdict": result.verdict.value,
            "dataset": result.lineage.model_dump(),
            "sources": {model.name: model.source.sha256 for model in result.models},
            "finished": result.finished.isoformat(),
        },
    }
