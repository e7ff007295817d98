"""The page that MLflow shows first for a run and for a model version, in Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from cu_audit.bundle import Bundle
from cu_audit.records import BeforeAfter, CheckResult, ModelResult, RunResult

from cu_mlflow.content import LONGEST_TAG, prefixed

_REST = "\n\n*Cut here: MLflow holds no longer text. The rest is in `bundle/report.html`.*\n"


def describe_run(bundle: Bundle) -> str:
    """The run in Markdown, short enough for MLflow: outcome, checks, figures, limits, and how to verify."""
    result = bundle.result
    parts = [f"**{result.verdict.value.upper()}** — {_text(result.sentence)}", _request(result)]
    for prefix, model in prefixed(result):
        parts += _model(prefix, model)
    parts += [_limits(result), _verify(bundle)]
    return _fit(parts)


def describe_version(bundle: Bundle, model: ModelResult) -> str:
    """The candidate of one model in Markdown: what it is, where its weights are, and what they were made from."""
    result = bundle.result
    return "\n\n".join(
        [
            f"**{result.verdict.value.upper()}** — {_text(result.sentence)}",
            f"Made from {_code(model.source.path)} for request {_code(result.request.id)} "
            f"with strategy {_code(model.strategy)}; "
            f"{'promoted' if model.promoted else 'not promoted'}.",
            f"The weights are not uploaded: they lie in {_code(model.candidate.path)} of the workspace, "
            f"under version control. Their digest is `{model.candidate.sha256}`.",
            _table(["lineage", "digest"], _lineage_rows(result, model)),
        ]
    )


def _lineage_rows(result: RunResult, model: ModelResult) -> Iterator[Sequence[str]]:
    yield "original model", f"`{model.source.sha256}`"
    yield "this model", f"`{model.candidate.sha256}`"
    yield (
        f"data set {_text(result.lineage.dataset)}",
        f"{_code(result.lineage.digest)} at {_code(result.lineage.revision)}",
    )
    yield "plan", _code(result.plan_digest)


def _request(result: RunResult) -> str:
    request = result.request
    return (
        f"Request {_code(request.id)} · {_text(request.ground)} · received {_text(request.received)} · "
        f"due {_text(request.due)} · data set {_code(result.lineage.dataset)} at {_code(result.lineage.revision[:10])}"
    )


def _model(prefix: str, model: ModelResult) -> Iterator[str]:
    title = f" of {_text(prefix)}" if prefix else ""
    yield f"### Checks{title}\n\n" + _table(
        ["check", "set", "verdict", "value", "interval", "threshold", "records", "reason"],
        (_check_row(check) for check in model.checks),
    )
    yield f"### Before and after{title}\n\n" + _table(
        ["metric", "set", "before", "after"],
        (
            [_text(metric), _text(name), *_figures(both)]
            for metric, sets in model.metrics.items()
            for name, both in sets.items()
        ),
    )


def _check_row(check: CheckResult) -> Sequence[str]:
    interval = check.interval
    return [
        _text(check.name),
        _text(check.set),
        f"**{check.verdict.value}**{'' if check.gates else ' (informs only)'}",
        _with_unit(check.value, check.unit),
        "—" if interval is None else f"{_number(interval.low)} to {_number(interval.high)} ({interval.level:.0%})",
        _with_unit(check.threshold, check.unit),
        str(check.sample_size),
        _text(check.reason),
    ]


def _limits(result: RunResult) -> str:
    silent = {
        f"{check.name}: {check.not_tested}": None for m in result.models for check in m.checks if check.not_tested
    }
    lines = [f"- not tested — {_text(line)}" for line in silent]
    lines += [f"- not reached — {_text(copy)}" for copy in result.not_reached]
    return "### What this does not say\n\n" + ("\n".join(lines) or "- nothing was left out that the tool knows of")


def _verify(bundle: Bundle) -> str:
    return (
        "### How to verify\n\n"
        "This page can be edited; the folder `bundle/` among the artifacts is the proof. Download it: "
        "`sha256sum manifest.json` must give\n\n"
        f"`{bundle.sha256}`\n\n"
        "which is also in the ledger of the workspace, and the manifest lists the SHA-256 of every other file. "
        "`report.html` is the page for people."
    )


def _figures(both: BeforeAfter) -> tuple[str, str]:
    return _number(both.before), _number(both.after)


def _with_unit(value: float | None, unit: str) -> str:
    return f"{_number(value)} {_text(unit)}".strip()


def _number(value: float | None) -> str:
    return "—" if value is None else f"{value:.4g}"


_MARKUP = re.compile(r"[\\`*_\[\]!|~]")
_BARE_LINK = re.compile(r"(?=://|@)|(?<=www)(?=\.)", re.IGNORECASE)
_INVISIBLE = "\u200b"


def _text(text: str) -> str:
    """Text of a policy or a check, so that it stays text: no table, image or link of its own in the page of a run.

    Renderers make links of bare addresses too, whatever is escaped, so an invisible space breaks those up.
    """
    plain = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return _BARE_LINK.sub(_INVISIBLE, _MARKUP.sub(r"\\\g<0>", plain))


def _code(text: str) -> str:
    """Text as code, which it cannot end."""
    plain = " ".join(text.split()).replace("`", "'")
    return f"`{plain}`"


def _table(head: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    """A table; MLflow draws neither lines nor margins, so the cells bring their own room."""
    lines = [head, ["---"] * len(head), *rows]
    drawn = [" | ".join(cell if cell == "---" else f"{cell}&nbsp;&nbsp;" for cell in cells) for cells in lines]
    return "\n".join(f"| {line} |" for line in drawn) + "\n\n&nbsp;"


def _fit(parts: Sequence[str]) -> str:
    text = "\n\n".join(parts)
    if len(text) <= LONGEST_TAG:
        return text
    end = "\n\n" + parts[-1]
    body = text[: LONGEST_TAG - len(_REST) - len(end)]
    return body[: body.rindex("\n")] + _REST + end.lstrip("\n")
