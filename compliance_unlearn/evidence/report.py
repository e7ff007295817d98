"""The report: one HTML page that officer, expert and auditor read from top to bottom.

It loads nothing from anywhere, runs no script, and says no more than the result does.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from functools import cache

from cu_audit.records import Outcome, RunResult
from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from compliance_unlearn.evidence import answers, numbers, plots, questions, spoken, spread, wording
from compliance_unlearn.evidence.pictures import ReportPictures, data_uri


def render_report(result: RunResult, policy_yaml: str, pictures: Mapping[str, ReportPictures]) -> str:
    """Write the page of one run. Equal arguments give equal bytes.

    Args:
        result: the whole result.
        policy_yaml: the policy with its selectors redacted.
        pictures: model name -> what may be shown of that model; a model may be absent.

    Raises:
        ValueError: pictures of forgotten records came with a run that is not compliant, or pictures belong to no model.
    """
    _refuse_pictures(result, pictures)
    return _template().render(
        result=result,
        policy_yaml=policy_yaml,
        pictures={model.name: pictures.get(model.name, ReportPictures()) for model in result.models},
        days=_days(result),
    )


def _refuse_pictures(result: RunResult, pictures: Mapping[str, ReportPictures]) -> None:
    strangers = sorted(set(pictures) - {model.name for model in result.models})
    if strangers:
        raise ValueError(f"pictures of models that the result does not hold: {', '.join(strangers)}")
    if result.verdict is not Outcome.COMPLIANT and any(shown.forgotten_after for shown in pictures.values()):
        raise ValueError(f"outputs of forgotten records may not be shown: the run is {result.verdict}")


def _days(result: RunResult) -> str:
    """Length of the legal period in words; empty if its ends are not dates."""
    try:
        length = date.fromisoformat(result.request.due) - date.fromisoformat(result.request.received)
    except ValueError:
        return ""
    return numbers.count(length.days, "day")


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("compliance_unlearn", "evidence/templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        answers=answers,
        numbers=numbers,
        plots=plots,
        questions=questions,
        spoken=spoken,
        spread=spread,
        words=wording,
        data_uri=data_uri,
    )
    return environment.get_template("report.html.j2")
