"""What a run answers: results to different questions are never merged, and nothing that stayed open is left out."""

from __future__ import annotations

from pathlib import Path

import pytest
from cu_audit.records import CheckResult, ModelResult, Outcome, Question, Verdict

from compliance_unlearn.evidence.answers import Answer, answers, not_tested, untested, without_answer
from compliance_unlearn.evidence.questions import QUESTIONS, answer_badge, answer_sentence, answer_tally
from tests.bundles import build_result

PASSED, FAILED, OPEN, SKIPPED, VOID = (
    Verdict.PASSED,
    Verdict.FAILED,
    Verdict.INCONCLUSIVE,
    Verdict.SKIPPED,
    Verdict.VOID,
)


def check(
    verdict: Verdict,
    *,
    gates: bool = True,
    question: Question | None = Question.FORGOTTEN,
    name: str = "a-check",
    reason: str = "",
    limit: str = "",
) -> CheckResult:
    return CheckResult(
        name=name,
        set="forget",
        question=question,
        claim="A claim.",
        verdict=verdict,
        gates=gates,
        value=None,
        interval=None,
        threshold=None,
        sample_size=1,
        reason=reason,
        not_tested=limit,
    )


def model(*checks: CheckResult, name: str = "face-mae") -> ModelResult:
    [result] = build_result((name,), Outcome.COMPLIANT, 2).models
    return result.model_copy(update={"checks": checks})


def answer(deciding: list[Verdict], reported: list[Verdict], question: Question = Question.FORGOTTEN) -> Answer:
    checks = [*(check(verdict) for verdict in deciding), *(check(verdict, gates=False) for verdict in reported)]
    return Answer(question, tuple(checks), ())


@pytest.mark.parametrize(
    ("deciding", "reported", "verdict"),
    [
        ([PASSED, PASSED], [], PASSED),
        ([PASSED], [FAILED], PASSED),
        ([PASSED, OPEN], [], OPEN),
        ([PASSED, VOID], [], OPEN),
        ([PASSED, SKIPPED], [], OPEN),
        ([SKIPPED], [PASSED], OPEN),
        ([PASSED, VOID, FAILED], [], FAILED),
        ([], [PASSED, SKIPPED], PASSED),
        ([], [PASSED, FAILED], FAILED),
        ([], [SKIPPED], SKIPPED),
        ([SKIPPED], [], SKIPPED),
        ([], [], SKIPPED),
    ],
)
def test_deciding_tests_make_the_answer_and_reported_ones_where_none_decides(
    deciding: list[Verdict], reported: list[Verdict], verdict: Verdict
) -> None:
    assert answer(deciding, reported).verdict is verdict


def test_the_two_goals_are_answered_apart() -> None:
    found = {
        answer.question: answer.verdict
        for answer in answers(model(check(PASSED), check(FAILED, question=Question.NEVER_SEEN)))
    }
    assert found[Question.FORGOTTEN] is PASSED
    assert found[Question.NEVER_SEEN] is FAILED


def test_every_question_is_answered_and_every_result_and_plot_belongs_to_one() -> None:
    result = model(check(PASSED, question=None), check(FAILED, question=Question.WEIGHTS), check(PASSED, gates=False))
    found = answers(result)
    assert [answer.question for answer in found] == [*Question, None]
    assert sorted(id(check) for answer in found for check in answer.checks) == sorted(map(id, result.checks))
    assert sorted(id(plot) for answer in found for plot in answer.plots) == sorted(map(id, result.plots))
    assert [answer.question for answer in answers(model())] == list(Question)


def test_deciding_tests_stand_before_those_that_are_only_reported() -> None:
    first, *_ = answers(model(check(PASSED, gates=False, name="reported"), check(PASSED, name="deciding")))
    assert [check.name for check in first.checks] == ["deciding", "reported"]


def test_all_questions_have_words_for_all_answers() -> None:
    assert set(QUESTIONS) == set(Question)
    assert all(set(QUESTIONS[question].answers) == {PASSED, FAILED, OPEN, SKIPPED} for question in Question)
    assert {question for question in Question if QUESTIONS[question].goal} == {Question.FORGOTTEN, Question.NEVER_SEEN}


@pytest.mark.parametrize(
    ("deciding", "reported", "badge", "said"),
    [
        ([PASSED], [], "Passed", "Yes, as far as these tests can see."),
        ([PASSED], [FAILED], "Passed", "Yes, as far as these tests can see. But 1 reported test failed."),
        ([PASSED], [SKIPPED] * 2, "Passed", "Yes, as far as these tests can see. 2 tests did not run."),
        ([], [PASSED], "Passed (reported)", "Yes, as far as these tests can see."),
        ([], [FAILED], "Failed (reported)", "Not by the measure that was set: a test failed."),
        ([OPEN], [], "Inconclusive", "The tests do not tell."),
        ([SKIPPED], [], "Not tested", "No test of this run asks this."),
    ],
)
def test_an_answer_is_no_stronger_than_its_tests(
    deciding: list[Verdict], reported: list[Verdict], badge: str, said: str
) -> None:
    given = answer(deciding, reported)
    assert answer_badge(given)[1] == badge
    assert answer_sentence(given).replace("\u00a0", " ") == said


def test_the_retrain_goal_says_how_it_can_be_tested() -> None:
    assert "--with-reference" in answer_sentence(answer([], [], Question.NEVER_SEEN))


def test_endings_are_counted_apart_for_deciding_and_reported_tests() -> None:
    assert (
        answer_tally(answer([PASSED, PASSED], [PASSED, VOID])) == "2 deciding: 2 passed; 2 reported: 1 passed, 1 void"
    )


def test_what_stayed_open_is_listed_once() -> None:
    models = [
        model(
            check(SKIPPED, name="identity", reason="the package is not installed"),
            check(PASSED, name="probe", limit="other masks"),
            check(VOID, name="probe", reason="The package is not installed.", limit="Other masks."),
            name=name,
        )
        for name in ("mae", "vqgan")
    ]
    assert without_answer(models) == {
        "The package is not installed.": [
            "identity of mae, skipped",
            "probe of mae, void",
            "identity of vqgan, skipped",
            "probe of vqgan, void",
        ]
    }
    assert not_tested(models[:1]) == {"Other masks.": ["probe"]}
    missing = untested(models)
    assert Question.FORGOTTEN not in missing
    assert missing[Question.NEVER_SEEN] == ["mae", "vqgan"]


def test_the_bundles_of_tests_hold_plots_of_every_kind(tmp_path: Path) -> None:
    [result] = build_result(("face-mae",), Outcome.COMPLIANT, 2).models
    assert {plot.kind for plot in result.plots} == {"histogram", "scatter", "lines"}
