"""Small but complete evidence bundles with realistic figures, for tests that need one."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from cu_audit.bundle import MANIFEST, PLAN, POLICY, REPORT, RESULT, STATEMENT, Bundle, seal
from cu_audit.canonical import canonical, keyed, sha256
from cu_audit.records import (
    FORGET,
    FORGET_ALL,
    FORGET_HELD_OUT,
    RETAIN,
    RETAIN_HELD_OUT,
    BeforeAfter,
    Candidate,
    CheckResult,
    Control,
    Environment,
    Histogram,
    Interval,
    Lineage,
    Lines,
    LossCurve,
    ModelResult,
    Outcome,
    Plot,
    PluginProvenance,
    Question,
    RequestRecord,
    RunResult,
    Scatter,
    Verdict,
)

from compliance_unlearn.api import Inpaint, LoopSettings, Plan
from compliance_unlearn.api.plan import PlannedCheck, PlannedModel
from compliance_unlearn.evidence.sealing import statement

KEY = b"a key for tests"
STARTED = datetime(2026, 11, 5, 9, 30, tzinfo=UTC)
LINEAGE = Lineage(dataset="faces", revision="3f" * 20, digest="0123456789abcdef0123456789abcdef.dir")
COUNTS = {FORGET: 7, FORGET_HELD_OUT: 3, RETAIN: 273, RETAIN_HELD_OUT: 117}
MODEL = "face-mae"

_FIGURES = {
    "psnr": {
        FORGET: (24.31, 11.42),
        FORGET_HELD_OUT: (21.87, 11.05),
        RETAIN: (24.12, 23.98),
        RETAIN_HELD_OUT: (21.6, 21.5),
    },
    "ssim": {
        FORGET: (0.812, 0.203),
        FORGET_HELD_OUT: (0.741, 0.198),
        RETAIN: (0.807, 0.801),
        RETAIN_HELD_OUT: (0.736, 0.731),
    },
}


def build_bundle(
    folder: Path,
    *,
    models: tuple[str, ...] = (MODEL,),
    outcome: Outcome = Outcome.COMPLIANT,
    steps: int = 300,
    reason: str = "",
) -> Bundle:
    """Write, seal and open a bundle in a new folder.

    Args:
        folder: where; created.
        models: names of the models of the run.
        outcome: a compliant run passes all checks, another one fails or is inconclusive in the first.
        steps: length of the loss curve.
        reason: text to put behind the reason of every check.
    """
    folder.mkdir(parents=True)
    result = build_result(models, outcome, steps, reason)
    (folder / PLAN).write_bytes(canonical(build_plan(models)))
    (folder / POLICY).write_text("version: 1\nrequest: {id: gdpr-req-123}\nforget: {dataset: faces, where: redacted}\n")
    (folder / REPORT).write_text("<!doctype html><title>Report</title><h1>gdpr-req-123</h1><p>A page for people.</p>")
    return seal_with(folder, result)


def seal_with(folder: Path, result: RunResult) -> Bundle:
    """Write the result into a folder that holds the rest, with a statement about it, and seal."""
    result_bytes = canonical(result)
    (folder / RESULT).write_bytes(result_bytes)
    (folder / STATEMENT).write_bytes(
        canonical(statement(result, sha256(result_bytes), sha256((folder / PLAN).read_bytes())))
    )
    (folder / MANIFEST).unlink(missing_ok=True)
    seal(folder)
    return Bundle(folder)


def build_result(models: tuple[str, ...], outcome: Outcome, steps: int, reason: str = "") -> RunResult:
    """The record of a run."""
    return RunResult(
        request=RequestRecord(id="gdpr-req-123", ground="GDPR Art. 17(1)(b)", received="2026-11-02", due="2026-12-02"),
        plan_digest=keyed(KEY, b"plan"),
        verdict=outcome,
        sentence=_SENTENCES[outcome],
        started=STARTED,
        finished=STARTED + timedelta(seconds=97),
        lineage=LINEAGE,
        models=tuple(_model(name, outcome, steps, reason) for name in models),
        environment=Environment(
            python="3.11.9",
            platform="linux-x86_64",
            processor="generic",
            threads=2,
            device="cpu",
            packages={"torch": "2.13.0"},
            plugins=(
                PluginProvenance(
                    plugin="mae", distribution="compliance-unlearn-mae", version="0.1.0", sha256=sha256(b"mae")
                ),
            ),
        ),
        not_reached=("backups of the data set older than the request",),
    )


def build_plan(models: tuple[str, ...]) -> Plan:
    """The plan of the same run."""
    return Plan(
        request="gdpr-req-123",
        ground="GDPR Art. 17(1)(b)",
        received=date(2026, 11, 2),
        due=date(2026, 12, 2),
        policy=keyed(KEY, b"policy"),
        retain="dataset",
        verify="standard",
        seeds=1,
        models=tuple(
            PlannedModel(
                name=name,
                adapter="mae",
                adapter_params={},
                task=Inpaint(area=0.25),
                noise="training",
                source=_weights(name, "original"),
                strategy="encoder-alignment",
                strategy_params={"alpha": 0.25},
                loop=LoopSettings(),
                reference=None,
                lineage=LINEAGE,
                retain=LINEAGE,
                counts=COUNTS,
                records={group: keyed(KEY, group.encode()) for group in COUNTS},
            )
            for name in models
        ),
        checks=(
            PlannedCheck(
                name="noise-envelope", params={"inside_at_least": 0.95}, demanded=True, decides=True, decides_from=1
            ),
        ),
        not_reached=("backups of the data set older than the request",),
    )


PLOTS: tuple[Plot, ...] = (
    Histogram(
        title="How like noise the outputs are",
        caption="What lies left of the border is like noise",
        question=Question.FORGOTTEN,
        unit="score of the classifier",
        edges=(-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5),
        counts={
            "forget before": (0, 0, 0, 1, 5, 4),
            "forget after": (2, 7, 1, 0, 0, 0),
            "noise": (110, 280, 90, 20, 0, 0),
        },
        marks={"border of the envelope": 0.1},
    ),
    Scatter(
        title="Features of the encoder",
        question=Question.FORGOTTEN,
        axes=("first principal component", "second principal component"),
        points={
            "forget after": ((-2.1, 0.3), (-1.9, 0.1), (-2.0, -0.2)),
            "noise": ((-2.2, 0.2), (-1.8, -0.3), (-2.3, -0.1)),
            "retain": ((1.4, 1.9), (2.2, -0.8), (0.3, 0.9)),
        },
    ),
    Lines(
        title="What an attacker gets back",
        question=Question.RECOVERABLE,
        axes=("step of the attack", "PSNR, dB"),
        lines={
            "unlearned": ((0.0, 11.4), (20.0, 15.2), (40.0, 17.9)),
            "never trained on them": ((0.0, 12.7), (20.0, 15.9), (40.0, 17.8)),
        },
        marks={"90 % of the original": 21.9},
    ),
)

_SENTENCES = {
    Outcome.COMPLIANT: "The model no longer reconstructs the 10 pictures of the request: all checks passed.",
    Outcome.NOT_COMPLIANT: "The model still reconstructs pictures of the request: the check noise-envelope failed.",
    Outcome.INCONCLUSIVE: "The data do not decide whether the model still reconstructs pictures of the request.",
}
_FIRST = {
    Outcome.COMPLIANT: Verdict.PASSED,
    Outcome.NOT_COMPLIANT: Verdict.FAILED,
    Outcome.INCONCLUSIVE: Verdict.INCONCLUSIVE,
}


def _model(name: str, outcome: Outcome, steps: int, reason: str) -> ModelResult:
    return ModelResult(
        name=name,
        adapter="mae",
        strategy="encoder-alignment",
        parameters={"alpha": 0.25, "steps": steps, "learning_rate": 3e-4, "precision": "fp32", "seconds": None},
        source=_weights(name, "original"),
        candidate=_weights(name, "gdpr-req-123-ab12cd34"),
        promoted=outcome is Outcome.COMPLIANT,
        counts=COUNTS,
        seconds={"measure-before": 6.2, "unlearn": 71.4, "measure-after": 6.3, "checks": 12.9},
        metrics={
            metric: {group: BeforeAfter(before=before, after=after) for group, (before, after) in sets.items()}
            for metric, sets in _FIGURES.items()
        },
        checks=_checks(_FIRST[outcome], reason),
        plots=PLOTS,
        loss=LossCurve(
            steps=tuple(range(1, steps + 1)),
            terms={
                "forget": tuple(1.8 * 0.98**step + 0.05 for step in range(steps)),
                "retain": tuple(0.02 + 0.1 * 0.97**step for step in range(steps)),
            },
        ),
    )


def _checks(first: Verdict, reason: str) -> tuple[CheckResult, ...]:
    inside, low, high = (10, 0.692, 1.0) if first is Verdict.PASSED else (1, 0.003, 0.445)
    return (
        CheckResult(
            name="noise-envelope",
            set=FORGET_ALL,
            question=Question.FORGOTTEN,
            claim="Outputs for forget records look like outputs for noise.",
            verdict=first,
            gates=True,
            value=inside / 10,
            unit="share",
            interval=Interval(low=low, high=high, method="Clopper-Pearson"),
            threshold=0.95,
            sample_size=10,
            p_value=0.012 if first is Verdict.PASSED else 0.98,
            detectable=0.741,
            controls=(
                Control(name="original", expected="fails", value=0.0, behaved=True),
                Control(name="noise", expected="passes", value=0.96, behaved=True),
            ),
            reason=f"{inside} of 10 outputs lie inside the envelope of 500 outputs for noise{reason}",
            not_tested="outputs under other masks than the task's",
        ),
        CheckResult(
            name="retain-drift",
            set=RETAIN,
            question=Question.RETAINED,
            claim="Retained records are reconstructed as well as before.",
            verdict=Verdict.PASSED,
            gates=True,
            value=0.14,
            unit="dB",
            interval=Interval(low=0.1, high=0.18, method="bootstrap over records"),
            threshold=0.5,
            sample_size=273,
            reason=f"PSNR fell by 0.14 dB, allowed are 0.5 dB{reason}",
        ),
        CheckResult(
            name="retrieval-leak",
            set=FORGET_HELD_OUT,
            question=Question.FORGOTTEN,
            claim="Outputs do not lead back to the person.",
            verdict=Verdict.SKIPPED,
            gates=False,
            value=None,
            interval=None,
            threshold=0.3,
            sample_size=3,
            reason=f"three pictures are too few to test{reason}",
            not_tested="retrieval by a face recogniser",
        ),
    )


def _weights(name: str, folder: str) -> Candidate:
    files = {"config.json": sha256(b"config"), "model.safetensors": sha256(f"{name}/{folder}".encode())}
    return Candidate(path=f"models/{name}/{folder}", sha256=sha256(canonical(files)), files=files)
