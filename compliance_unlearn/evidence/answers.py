"""What the results of a model answer: the questions of an officer, in their order, and what stayed open."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cu_audit.records import CheckResult, ModelResult, Plot, Question, Verdict

from compliance_unlearn.evidence.wording import sentence

NO_ANSWER = frozenset({Verdict.SKIPPED, Verdict.VOID, Verdict.INCONCLUSIVE})
"""Verdicts that leave the claim open."""


@dataclass(frozen=True)
class Answer:
    """All that a run says to one question; None collects what answers none of them.

    Results to different questions are never merged: a model may behave as on noise and yet not be like one that never
    saw the data.
    """

    question: Question | None
    checks: tuple[CheckResult, ...]
    plots: tuple[Plot, ...]

    @property
    def deciding(self) -> tuple[CheckResult, ...]:
        """Results on which the outcome of the run depends."""
        return tuple(check for check in self.checks if check.gates)

    @property
    def reported(self) -> tuple[CheckResult, ...]:
        """Results that inform only."""
        return tuple(check for check in self.checks if not check.gates)

    @property
    def verdict(self) -> Verdict:
        """What the deciding results say together, or where none decides, those that are reported; skipped: none ran."""
        ran = [check for check in self.checks if check.verdict is not Verdict.SKIPPED]
        found = {check.verdict for check in self.deciding or ran}
        if not ran:
            return Verdict.SKIPPED
        if Verdict.FAILED in found:
            return Verdict.FAILED
        return Verdict.PASSED if found == {Verdict.PASSED} else Verdict.INCONCLUSIVE


def answers(model: ModelResult) -> list[Answer]:
    """An answer to each question, also where nothing was tested; and what answers none, if there is any."""
    deciding_first = sorted(model.checks, key=lambda check: not check.gates)
    found = [
        Answer(
            question,
            tuple(check for check in deciding_first if check.question is question),
            tuple(plot for plot in model.plots if plot.question is question),
        )
        for question in (*Question, None)
    ]
    return [answer for answer in found if answer.question is not None or answer.checks or answer.plots]


def untested(models: Sequence[ModelResult]) -> dict[Question, list[str]]:
    """Questions that no test asked, with the models that were not asked."""
    asked = [(model.name, {check.question for check in model.checks}) for model in models]
    missing = {question: [name for name, known in asked if question not in known] for question in Question}
    return {question: names for question, names in missing.items() if names}


def without_answer(models: Sequence[ModelResult]) -> dict[str, list[str]]:
    """Why tests gave no answer: each reason once, with the tests that it stopped."""
    return _collected(
        (check.reason, f"{check.name}{_of(model, models)}, {check.verdict}")
        for model in models
        for check in model.checks
        if check.verdict in NO_ANSWER
    )


def not_tested(models: Sequence[ModelResult]) -> dict[str, list[str]]:
    """What no test speaks about: each limit once, with the tests that state it."""
    return _collected(
        (check.not_tested, f"{check.name}{_of(model, models)}")
        for model in models
        for check in model.checks
        if check.not_tested
    )


def _of(model: ModelResult, models: Sequence[ModelResult]) -> str:
    return f" of {model.name}" if len(models) > 1 else ""


def _collected(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for text, who in pairs:
        names = found.setdefault(sentence(text), [])
        if who not in names:
            names.append(who)
    return found
