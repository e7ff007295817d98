"""The questions of a compliance officer in words, and the answers to them: no stronger than the tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cu_audit.records import Question, Verdict

from compliance_unlearn.evidence.answers import Answer
from compliance_unlearn.evidence.numbers import DASH, count
from compliance_unlearn.evidence.wording import VERDICTS, endings


@dataclass(frozen=True)
class QuestionWords:
    """A question to the unlearned model.

    Attributes:
        title: the question.
        goal: the name of the goal that it asks for, where it asks for one.
        meaning: what is tested.
        answers: by verdict.
    """

    title: str
    meaning: str
    answers: Mapping[Verdict, str]
    goal: str = ""


def _answers(passed: str, failed: str, skipped: str = "No test of this run asks this.") -> dict[Verdict, str]:
    return {
        Verdict.PASSED: passed,
        Verdict.FAILED: failed,
        Verdict.INCONCLUSIVE: "The tests do not tell.",
        Verdict.SKIPPED: skipped,
    }


QUESTIONS = {
    Question.FORGOTTEN: QuestionWords(
        title="Is it forgotten?",
        goal="The noise goal",
        meaning="On the records to forget, the unlearned model must answer as the original does when shown noise: then "
        "its answer tells nothing about the hidden content.",
        answers=_answers("Yes, as far as these tests can see.", "Not by the measure that was set: a test failed."),
    ),
    Question.RECOVERABLE: QuestionWords(
        title="Can it be brought back?",
        meaning="Who holds the unlearned model may train it further, or use it for another purpose. Passed means that "
        "this brought nothing back.",
        answers=_answers("Not by the means that were tested.", "Yes, at least in part, by a means that was tested."),
    ),
    Question.RETAINED: QuestionWords(
        title="Is everybody else unharmed?",
        meaning="For all other images the unlearned model should be as good as the original.",
        answers=_answers("Yes, within the margins that were set.", "No: a test found harm beyond its margin."),
    ),
    Question.WEIGHTS: QuestionWords(
        title="Did only the encoder change?",
        meaning="The files of the unlearned model, compared with those of the original.",
        answers=_answers("Yes.", "No, or the files hold something that they should not."),
    ),
    Question.NEVER_SEEN: QuestionWords(
        title="Is it like a model that never saw the data?",
        goal="The retrain goal",
        meaning="A model that was never trained on the records would still answer with a guess, not with noise. So "
        "this is another goal, with an outcome of its own: noise in place of an answer can itself tell that "
        "something was removed.",
        answers=_answers(
            "The tests could not tell them apart beyond the margins.",
            "No: a test tells them apart.",
            "Run with --with-reference: it trains a model without the records and compares with it.",
        ),
    ),
}


def answer_badge(answer: Answer) -> tuple[str, str]:
    """Mark and word of an answer."""
    if answer.verdict is Verdict.SKIPPED:
        return DASH, "Not tested"
    mark, word = VERDICTS[answer.verdict]
    return (mark, word) if answer.deciding else (mark, f"{word} (reported)")


def answer_sentence(answer: Answer) -> str:
    """The answer to a question in one sentence; what stands against a good one, or is missing from it, is added."""
    if answer.question is None:
        return ""
    said = QUESTIONS[answer.question].answers[answer.verdict]
    if answer.verdict is not Verdict.PASSED:
        return said
    failed = [check for check in answer.reported if check.verdict is Verdict.FAILED]
    skipped = [check for check in answer.checks if check.verdict is Verdict.SKIPPED]
    against = f" But {count(len(failed), 'reported test')} failed." if failed else ""
    return said + against + (f" {count(len(skipped), 'test')} did not run." if skipped else "")


def answer_tally(answer: Answer) -> str:
    """How the tests of an answer ended."""
    parts = [
        f"{len(checks)} {kind}: {endings(checks)}"
        for kind, checks in (("deciding", answer.deciding), ("reported", answer.reported))
        if checks
    ]
    return "; ".join(parts)
