"""The plan: a policy with everything resolved and hashed. Reading it changes nothing; its digest names the run."""

from __future__ import annotations

from datetime import date
from typing import Any, Literal

from cu_audit.records import Candidate, Evidence, Keyed, Lineage
from pydantic import Field

from compliance_unlearn.api.loop import LoopSettings
from compliance_unlearn.api.specs import Profile
from compliance_unlearn.api.task import Task


class Finding(Evidence):
    """What a reviewer of a plan has to say; one that blocks stops `cu apply` before anything is changed."""

    severity: Literal["warning", "block"]
    message: str


class PlannedCheck(Evidence):
    """A check with its resolved parameters."""

    name: str
    params: dict[str, Any]
    demanded: bool = Field(description="whether the policy names it: then it must be able to run")
    decides: bool = Field(description="whether the outcome may depend on it, or it is only reported")
    decides_from: int = Field(ge=1, description="records to forget that it takes for a pass to count")


class PlannedModel(Evidence):
    """One model that the request touches."""

    name: str
    adapter: str
    adapter_params: dict[str, Any]
    task: Task = Field(discriminator="kind")
    noise: Literal["identity", "training"] = Field(description="covariance of the noise images")
    source: Candidate = Field(description="the weights to start from")
    strategy: str
    strategy_params: dict[str, Any]
    loop: LoopSettings
    reference: LoopSettings | None = Field(
        description="loop that trains a model without the records to forget, for comparison; None trains none"
    )
    lineage: Lineage
    retain: Lineage | None = Field(description="data set of the retain images, None without retain data")
    counts: dict[str, int] = Field(description="records in each set; zero counts are listed")
    records: dict[str, Keyed] = Field(description="keyed digest over the sorted ids and file digests of each set")


class Plan(Evidence):
    """Everything that decides what a run does and what counts as done."""

    format: Literal["compliance-unlearn/plan/1"] = "compliance-unlearn/plan/1"
    request: str
    ground: str
    received: date
    due: date
    policy: Keyed = Field(description="keyed digest of the policy, selectors included")
    retain: Literal["dataset", "proxy", "none"]
    verify: Profile
    seeds: int = Field(ge=1, description="unlearnings of each model; the first one makes the candidate")
    models: tuple[PlannedModel, ...]
    checks: tuple[PlannedCheck, ...]
    not_reached: tuple[str, ...]
