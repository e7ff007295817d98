"""What a run leaves behind, as frozen data: the words that the tool, the tracker and the auditor share.

Every record is a pydantic model that refuses unknown keys, so that evidence written by another version is noticed
and never half understood. Numbers are finite; a value that does not exist is ``None`` and its ``reason`` says why.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import AllowInfNan, BaseModel, ConfigDict, Field, model_validator

Finite = Annotated[float, AllowInfNan(False)]
"""A float that is neither NaN nor infinite."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 digest in lower-case hexadecimal."""

Keyed = Annotated[str, Field(pattern=r"^hmac-sha256:[0-9a-f]{64}$")]
"""An HMAC-SHA-256 under the key of the request: a name that only the holder of the key can match to a record."""

FORGET = "forget"
FORGET_HELD_OUT = "forget-held-out"
FORGET_ALL = "forget-all"
RETAIN = "retain"
RETAIN_HELD_OUT = "retain-held-out"
SETS = (FORGET, FORGET_HELD_OUT, RETAIN, RETAIN_HELD_OUT)
"""The four disjoint sets that are measured; ``forget-all`` is the union of the first two."""


class Evidence(BaseModel):
    """Base of all records: frozen, and strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Verdict(StrEnum):
    """Outcome of one check."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"
    SKIPPED = "skipped"
    VOID = "void"


class Question(StrEnum):
    """What a result helps to answer; the report groups by it."""

    FORGOTTEN = "forgotten"
    """Is it forgotten? The noise goal: outputs carry no more of the records to forget than outputs for noise."""
    RECOVERABLE = "recoverable"
    """Can it be brought back, by training or by using the model in another way?"""
    RETAINED = "retained"
    """Is everybody else unharmed?"""
    WEIGHTS = "weights"
    """Did only the encoder change?"""
    NEVER_SEEN = "never-seen"
    """Is it like a model that never saw the data? The retrain goal, never merged with the noise goal."""


class Outcome(StrEnum):
    """Outcome of one run: what the checks that gate say together."""

    COMPLIANT = "compliant"
    NOT_COMPLIANT = "not-compliant"
    INCONCLUSIVE = "inconclusive"


class Interval(Evidence):
    """A two-sided interval: ``low <= true value <= high`` with probability ``level``."""

    low: Finite
    high: Finite
    level: Finite = Field(default=0.95, gt=0, lt=1)
    method: str = Field(description="how the interval was computed, in a few words")


class Control(Evidence):
    """A world whose answer is known beforehand, measured in the same way as the claim."""

    name: str
    expected: str = Field(description="what the check must say of this world, in words")
    value: Finite | None
    behaved: bool


class CheckResult(Evidence):
    """One measured test of one claim on one set of records."""

    name: str
    set: str
    question: Question | None = Field(default=None, description="what it helps to answer; None: none of these")
    claim: str = Field(description="the claim in one sentence")
    verdict: Verdict
    gates: bool = Field(description="whether the outcome of the run depends on this result")
    value: Finite | None
    unit: str = ""
    interval: Interval | None
    threshold: Finite | None
    sample_size: int = Field(ge=0, description="number of records that the value rests on")
    p_value: Finite | None = Field(
        default=None, ge=0, le=1, description="probability of data that speak so well for the claim if it were false"
    )
    detectable: Finite | None = Field(
        default=None, description="smallest true value that this sample would have shown with probability 0.95"
    )
    controls: tuple[Control, ...] = ()
    reason: str = Field(description="why this verdict, in one sentence")
    not_tested: str = Field(default="", description="what this check does not speak about")
    trained_anew: bool = Field(
        default=False,
        description="whether it rests on a model that is trained to measure it: another machine trains another model",
    )


class BeforeAfter(Evidence):
    """A figure of the original model and of the candidate on one set; ``None`` where it does not exist."""

    before: Finite | None
    after: Finite | None


class Candidate(Evidence):
    """The unlearned weights: path relative to the workspace, SHA-256 over the sorted list of files and digests."""

    path: str
    sha256: Sha256
    files: dict[str, Sha256]


class LossCurve(Evidence):
    """Loss terms of the unlearning loop, one value a logged step; names are those of the strategy."""

    steps: tuple[int, ...]
    terms: dict[str, tuple[Finite, ...]]


class Drawing(Evidence):
    """What all plots have."""

    title: str
    caption: str = Field(default="", description="what to see in it, in plain words")
    question: Question | None = Field(default=None, description="what it helps to answer; None: none of these")


class Histogram(Drawing):
    """How values are distributed: for each group the number of values between neighbouring edges."""

    kind: Literal["histogram"] = "histogram"
    unit: str = Field(description="what the horizontal axis shows")
    edges: tuple[Finite, ...] = Field(min_length=2, description="ascending; one more than counts of a group")
    counts: dict[str, tuple[int, ...]] = Field(description="group -> counts")
    marks: dict[str, Finite] = Field(default={}, description="name -> position of a vertical line")

    @model_validator(mode="after")
    def _counts_fit_edges(self) -> Self:
        if any(high < low for low, high in pairwise(self.edges)):
            raise ValueError("edges must not descend")
        if any(len(counts) != len(self.edges) - 1 or min(counts) < 0 for counts in self.counts.values()):
            raise ValueError("each group needs one count, not below zero, between neighbouring edges")
        return self


class Scatter(Drawing):
    """Points in the plane, such as the first two principal components; axes have no unit."""

    kind: Literal["scatter"] = "scatter"
    axes: tuple[str, str]
    points: dict[str, tuple[tuple[Finite, Finite], ...]] = Field(description="group -> points")


class Lines(Drawing):
    """Curves, such as PSNR over steps of an attack."""

    kind: Literal["lines"] = "lines"
    axes: tuple[str, str]
    lines: dict[str, tuple[tuple[Finite, Finite], ...]] = Field(description="name -> points, from left to right")
    marks: dict[str, Finite] = Field(default={}, description="name -> height of a horizontal line")


Plot = Annotated[Histogram | Scatter | Lines, Field(discriminator="kind")]
"""Data of a small picture in the report. Never of single records to forget but by points that name nobody."""


class Repeat(Evidence):
    """Another unlearning of the same model, with another seed: its weights were measured and thrown away."""

    seed: int
    outcome: Outcome = Field(description="what its deciding results say together")
    checks: tuple[CheckResult, ...] = Field(description="results of the checks that decide")


class ModelResult(Evidence):
    """What happened to one model."""

    name: str
    adapter: str
    strategy: str
    parameters: dict[str, str | int | Finite | bool | None] = Field(description="settings of the strategy and loop")
    source: Candidate = Field(description="the weights that the run started from")
    candidate: Candidate
    promoted: bool = Field(description="whether the verdict allows that the candidate becomes the model")
    counts: dict[str, int] = Field(description="number of records in each set")
    seconds: dict[str, Finite] = Field(description="seconds by phase")
    metrics: dict[str, dict[str, BeforeAfter]] = Field(description="metric -> set -> figures")
    checks: tuple[CheckResult, ...]
    plots: tuple[Plot, ...] = ()
    repeats: tuple[Repeat, ...] = Field(default=(), description="unlearnings with other seeds, to show the spread")
    loss: LossCurve
    notes: tuple[str, ...] = ()


class Lineage(Evidence):
    """The exact state of a data set: name, git revision, and the DVC digest of its folder."""

    dataset: str
    revision: str
    digest: str


class Tracker(Evidence):
    """Where the record was published; ``run_id`` is ``None`` until then."""

    run_id: str | None = None
    published: bool = False


class RequestRecord(Evidence):
    """The request as evidence: its id, legal ground and clock, never its subject."""

    id: str
    ground: str
    received: str
    due: str


class PluginProvenance(Evidence):
    """Which code took part: distribution, version, and SHA-256 over its Python files."""

    plugin: str
    distribution: str
    version: str
    sha256: Sha256


class Environment(Evidence):
    """Where the run took place, in so far as it can change the figures."""

    python: str
    platform: str
    processor: str
    threads: int
    device: str = Field(default="unknown", description="what computed: cpu, or the name of an accelerator")
    packages: dict[str, str]
    plugins: tuple[PluginProvenance, ...]


class RunResult(Evidence):
    """The whole result of a run: ``result.json`` of the bundle."""

    format: Literal["compliance-unlearn/result/1"] = "compliance-unlearn/result/1"
    request: RequestRecord
    plan_digest: Keyed
    verdict: Outcome
    sentence: str = Field(description="the outcome in one sentence, no stronger than the data support")
    started: datetime
    finished: datetime
    lineage: Lineage
    models: tuple[ModelResult, ...]
    environment: Environment
    not_reached: tuple[str, ...] = Field(description="copies of the data that this run did not touch")
    tolerance: Finite = Field(default=1e-3, ge=0, description="relative difference granted to other machines")


class LedgerEntry(Evidence):
    """One line of the ledger: hash-chained to the line before it."""

    index: int = Field(ge=0)
    previous: Sha256 | None = Field(description="SHA-256 of the line before, None for the first")
    request: str
    plan_digest: Keyed
    verdict: Outcome
    bundle: str = Field(description="folder of the bundle, relative to the evidence folder")
    bundle_sha256: Sha256 = Field(description="SHA-256 of the bundle's manifest.json")
    recorded: datetime


class Receipt(Evidence):
    """What a sink answers after publishing: where the record can be found there."""

    sink: str
    bundle_sha256: Sha256
    run_id: str
    location: str
