"""The smallest plan and result that are valid."""

from datetime import UTC, date, datetime

from cu_audit.records import Environment, Lineage, Outcome, RequestRecord, RunResult

from compliance_unlearn.api import Plan
from compliance_unlearn.api.plan import PlannedCheck

DIGEST = "hmac-sha256:" + "0" * 64


def a_plan(request: str) -> Plan:
    """A plan without models."""
    return Plan(
        request=request,
        ground="GDPR Art. 17(1)(b)",
        received=date(2026, 11, 2),
        due=date(2026, 12, 2),
        policy=DIGEST,
        retain="none",
        verify="quick",
        seeds=1,
        models=(),
        checks=(PlannedCheck(name="echo-drift", params={"at_most": 0.5}, demanded=True, decides=True, decides_from=1),),
        not_reached=(),
    )


def a_result() -> RunResult:
    """A result without models."""
    moment = datetime(2026, 11, 3, tzinfo=UTC)
    return RunResult(
        request=RequestRecord(id="r", ground="g", received="2026-11-02", due="2026-12-02"),
        plan_digest=DIGEST,
        verdict=Outcome.INCONCLUSIVE,
        sentence="Nothing was done.",
        started=moment,
        finished=moment,
        lineage=Lineage(dataset="faces", revision="HEAD", digest="0"),
        models=(),
        environment=Environment(
            python="3", platform="p", processor="c", threads=1, device="cpu", packages={}, plugins=()
        ),
        not_reached=(),
    )
