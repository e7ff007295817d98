from __future__ import annotations

import re
from datetime import UTC, datetime
from html import unescape

import numpy as np
import pytest
from cu_audit.records import (
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

from compliance_unlearn.evidence.pictures import ReportPictures, RetainedRow
from compliance_unlearn.evidence.report import render_report
from tests.bundles import PLOTS

POLICY = """version: 1
request:
  id: gdpr-req-123
  ground: GDPR Art. 17(1)(b)
  received: 2026-11-02
forget:
  dataset: faces
  where: [redacted]
models: affected
accept:
  noise-envelope: {inside_at_least: 0.95}
"""

ORIGINAL = Control(name="original", expected="outside the envelope", value=0.01, behaved=True)
NOISE = Control(name="original on noise", expected="inside the envelope", value=0.949, behaved=True)


def check(
    name: str,
    verdict: Verdict,
    value: float | None = 0.5,
    *,
    set_name: str = "forget-all",
    unit: str = "share",
    interval: Interval | None = None,
    threshold: float | None = None,
    controls: tuple[Control, ...] = (ORIGINAL, NOISE),
    claim: str = "What the model makes of the hidden part looks like what it makes of noise.",
    reason: str = "The lower bound is above the threshold.",
    not_tested: str = "",
    gates: bool = True,
    question: Question | None = Question.FORGOTTEN,
    p_value: float | None = None,
    detectable: float | None = None,
) -> CheckResult:
    return CheckResult(
        name=name,
        set=set_name,
        question=question,
        claim=claim,
        verdict=verdict,
        gates=gates,
        value=value,
        unit=unit,
        interval=interval,
        threshold=threshold,
        sample_size=100,
        p_value=p_value,
        detectable=detectable,
        controls=controls,
        reason=reason,
        not_tested=not_tested,
    )


def good_checks() -> tuple[CheckResult, ...]:
    return (
        check(
            "noise-envelope",
            Verdict.PASSED,
            0.997,
            interval=Interval(low=0.9642, high=1.0, method="bootstrap over images"),
            threshold=0.95,
            reason="The lower bound 96.4 % lies above the threshold of 95 %.",
            not_tested="Other masks and other tasks than the one that was unlearned.",
        ),
        check(
            "retrieval-leak",
            Verdict.PASSED,
            0.0,
            interval=Interval(low=0.0, high=0.259, method="Clopper-Pearson"),
            threshold=0.30,
            claim="Nobody who has the output finds the true hidden content among 400 candidates.",
            reason="No hit in 10 images; the upper bound 25.9 % lies below the threshold of 30 %.",
            controls=(
                Control(name="original", expected="finds the hidden content", value=0.9, behaved=True),
                Control(name="original on noise", expected="finds no more than chance", value=0.0, behaved=True),
            ),
            not_tested="A feature network trained to recognise this person.",
        ),
        check(
            "retain-drift",
            Verdict.PASSED,
            0.18,
            set_name="retain",
            question=Question.RETAINED,
            p_value=0.0041,
            detectable=0.06,
            unit="dB",
            interval=Interval(low=0.121, high=0.243, method="paired bootstrap over images"),
            threshold=0.5,
            claim="For everybody else the model works as well as before.",
            reason="The upper bound of the drop, 0.243 dB, lies below the margin of 0.5 dB.",
            controls=(),
            not_tested="Retained people with fewer than two images.",
        ),
        check(
            "artefact",
            Verdict.PASSED,
            0.0,
            unit="tensors",
            threshold=0.0,
            set_name="artefact",
            question=Question.WEIGHTS,
            claim="Nothing but the encoder changed, and nothing else is in the folder.",
            reason="0 of 74 tensors outside the encoder differ.",
            controls=(),
        ),
    )


def bad_checks() -> tuple[CheckResult, ...]:
    return (
        check(
            "noise-envelope",
            Verdict.FAILED,
            0.9496,
            interval=Interval(low=0.71, high=0.97, method="bootstrap over images"),
            threshold=0.95,
            reason="The lower bound 71 % lies below the threshold of 95 %.",
        ),
        check(
            "retrieval-leak",
            Verdict.INCONCLUSIVE,
            0.1,
            interval=Interval(low=0.0025, high=0.445, method="Clopper-Pearson"),
            threshold=0.30,
            reason="With 10 images the upper bound is 44.5 %; about 25 images would decide.",
        ),
        check(
            "probe",
            Verdict.VOID,
            0.31,
            question=None,
            threshold=0.1,
            reason="The control on noise found a signal where there is none.",
            controls=(Control(name="original on noise", expected="no skill", value=0.4, behaved=False),),
        ),
        check(
            "identity", Verdict.SKIPPED, None, reason="The feature network is not installed.", gates=False, controls=()
        ),
    )


def model_result(name: str, checks: tuple[CheckResult, ...], promoted: bool) -> ModelResult:
    steps = tuple(range(0, 300, 5))
    return ModelResult(
        name=name,
        adapter="mae",
        strategy="encoder-alignment",
        parameters={"alpha": 1.0, "steps": 300, "learning_rate": 3e-4, "noise": "estimated", "seconds": None},
        source=Candidate(path="models/" + name, sha256="a" * 64, files={"model.safetensors": "b" * 64}),
        candidate=Candidate(
            path=f"candidates/gdpr-req-123/{name}",
            sha256="c" * 64,
            files={"config.json": "d" * 64, "model.safetensors": "e" * 64},
        ),
        promoted=promoted,
        counts={"forget": 7, "forget-held-out": 3, "retain": 273, "retain-held-out": 117},
        seconds={"measure-before": 3.21, "unlearn": 72.4, "measure-after": 3.4, "checks": 6.02},
        metrics={
            "psnr": {
                "forget": BeforeAfter(before=19.72, after=12.94),
                "forget-held-out": BeforeAfter(before=19.81, after=12.71),
                "retain": BeforeAfter(before=19.72, after=19.54),
                "retain-held-out": BeforeAfter(before=19.85, after=19.70),
                "retain-worst-subject": BeforeAfter(before=20.11, after=None),
            },
            "ssim": {
                "forget": BeforeAfter(before=0.612, after=0.201),
                "retain": BeforeAfter(before=0.608, after=0.597),
            },
        },
        checks=checks,
        plots=PLOTS,
        loss=LossCurve(
            steps=steps,
            terms={
                "forget": tuple(1.4 * 0.985**step + 0.02 for step in steps),
                "retain": tuple(0.004 + 0.02 * step / 300 * 0.99**step for step in steps),
            },
        ),
        notes=("Retain targets were cached for 4 views an image.",),
    )


def run_result(verdict: Outcome = Outcome.COMPLIANT, models: tuple[ModelResult, ...] | None = None) -> RunResult:
    good = verdict is Outcome.COMPLIANT
    checks = good_checks() if good else bad_checks()
    sentence = {
        Outcome.COMPLIANT: "In all tests, faces-mae now behaves on this person's images as it does on noise.",
        Outcome.NOT_COMPLIANT: "The model faces-mae did not pass all tests on this person's images.",
        Outcome.INCONCLUSIVE: "The tests on the model faces-mae do not suffice for a decision.",
    }[verdict]
    return RunResult(
        request=RequestRecord(id="gdpr-req-123", ground="GDPR Art. 17(1)(b)", received="2026-11-02", due="2026-12-02"),
        plan_digest="hmac-sha256:" + "f" * 64,
        verdict=verdict,
        sentence=sentence,
        started=datetime(2026, 11, 10, 9, 0, tzinfo=UTC),
        finished=datetime(2026, 11, 10, 9, 2, tzinfo=UTC),
        lineage=Lineage(dataset="faces", revision="9f2c4e1b7a", digest="0123456789abcdef0123456789abcdef.dir"),
        models=(model_result("faces-mae", checks, promoted=good),) if models is None else models,
        environment=Environment(
            python="3.11.9",
            platform="Linux-6.1-x86_64",
            processor="x86_64",
            threads=2,
            device="cpu",
            packages={"torch": "2.13.0", "numpy": "2.4.6"},
            plugins=(
                PluginProvenance(plugin="mae", distribution="compliance-unlearn-mae", version="0.1.0", sha256="1" * 64),
                PluginProvenance(
                    plugin="standard", distribution="compliance-unlearn-standard", version="0.1.0", sha256="2" * 64
                ),
            ),
        ),
        not_reached=("Backups of the data set made before 2026-11-02.", "Models that were exported to partners."),
    )


def pictures(forgotten: bool = False) -> ReportPictures:
    photo = np.full((8, 8), 40, dtype=np.uint8)
    made = (np.full((4, 4), 128, dtype=np.uint8),) if forgotten else ()
    return ReportPictures(retained=(RetainedRow(photo, photo, photo, photo),), forgotten_after=made)


def text(page: str) -> str:
    """What a reader sees: the page without styles and tags, white space collapsed."""
    body = page.split("</style>", 1)[1]
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())


@pytest.mark.parametrize("verdict", list(Outcome))
def test_the_verdict_stands_first_in_one_sentence(verdict: Outcome) -> None:
    result = run_result(verdict)
    page = text(render_report(result, POLICY, {}))
    label = {"compliant": "Compliant", "not-compliant": "Not compliant", "inconclusive": "Inconclusive"}[verdict]
    assert page.index(label) < page.index(result.sentence) < page.index("What was asked")


def test_every_check_appears_with_its_verdict_reason_and_controls() -> None:
    result = run_result(Outcome.NOT_COMPLIANT, (model_result("faces-mae", good_checks() + bad_checks(), False),))
    page = render_report(result, POLICY, {})
    rows = [text("</style>" + row) for row in re.findall(r'<tbody>\s*<tr>\s*<th scope="row">.*?</tbody>', page, re.S)]
    for checked in result.models[0].checks:
        assert any(
            checked.claim in row
            and f" {checked.name} ," in row
            and checked.verdict.value.capitalize() in row
            and checked.reason in row
            and all(f"Control {control.name}" in row and control.expected in row for control in checked.controls)
            for row in rows
        ), checked.name
    assert "did not behave as expected" in text(page)


def test_the_page_tells_what_was_asked_done_measured_and_left_out() -> None:
    result = run_result()
    page = text(render_report(result, POLICY, {}))
    order = ["What was asked", "What was done", "What was measured", "What was not tested", "How to repeat it"]
    assert [page.index(f" {heading} ") for heading in order] == sorted(page.index(f" {heading} ") for heading in order)
    for expected in (
        "GDPR Art. 17(1)(b)",
        "2026-12-02 (30 days after receipt); this run ended 22 days before it",
        "noise-envelope: {inside_at_least: 0.95}",
        "c" * 64,
        result.plan_digest,
        result.lineage.digest,
        result.lineage.revision,
        "compliance-unlearn-mae 0.1.0",
        "torch 2.13.0",
        *result.not_reached,
        *(checked.not_tested for checked in result.models[0].checks),
    ):
        assert expected in page.replace("\u00a0", " ")


def test_before_and_after_are_shown_with_their_difference() -> None:
    page = text(render_report(run_result(), POLICY, {}))
    head = "Forget, trained on Forget, never seen Keep, trained on Keep, never seen Retain worst subject"
    row = "19.7 > 12.9 -6.78 19.8 > 12.7 -7.10 19.7 > 19.5 -0.18 19.9 > 19.7 -0.15 20.1 > \u2013"
    assert head in page
    assert f"(PSNR), dB {row}" in page.replace("\u2192", ">").replace("\u2212", "-")


def test_rounding_never_lifts_a_value_to_its_threshold() -> None:
    page = text(render_report(run_result(Outcome.NOT_COMPLIANT), POLICY, {})).replace("\u00a0", " ")
    assert "94.96 %" in page
    assert "threshold 95 %" in page


def test_text_from_outside_is_escaped() -> None:
    evil = "<script>alert('x')</script>"
    checks = (check("n", Verdict.FAILED, claim=evil, reason=evil, not_tested=evil, unit=evil),)
    model = model_result("faces-mae", checks, False).model_copy(update={"name": evil, "notes": (evil,)})
    loss = LossCurve(steps=(0, 1), terms={evil: (1.0, 2.0)})
    drawn: tuple[Plot, ...] = (
        Histogram(title=evil, caption=evil, unit=evil, edges=(0.0, 1.0), counts={evil: (1,)}, marks={evil: 0.5}),
        Scatter(title=evil, caption=evil, axes=(evil, evil), points={evil: ((0.0, 1.0),)}),
        Lines(title=evil, caption=evil, axes=(evil, evil), lines={evil: ((0.0, 1.0),)}, marks={evil: 0.5}),
    )
    figures = {evil: {evil: BeforeAfter(before=1.0, after=2.0)}}
    model = model.model_copy(update={"loss": loss, "metrics": figures, "plots": drawn})
    result = run_result(Outcome.NOT_COMPLIANT, (model,)).model_copy(update={"sentence": evil, "not_reached": (evil,)})
    page = render_report(result, evil, {evil: pictures()})
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 30


def test_the_page_loads_nothing_and_runs_nothing() -> None:
    page = render_report(run_result(), POLICY, {"faces-mae": pictures(forgotten=True)})
    assert "http:" not in page
    assert "https:" not in page
    assert not re.search(r"<(script|link|iframe|object|embed|base|form)\b|@import|\bon\w+=|url\(", page)
    assert {source[:22] for source in re.findall(r'\bsrc="([^"]*)"', page)} == {"data:image/png;base64,"}
    assert "default-src 'none'" in page


def test_every_picture_and_plot_has_words_for_who_cannot_see_it() -> None:
    page = render_report(run_result(), POLICY, {"faces-mae": pictures(forgotten=True)})
    assert all(re.search(r'\balt="[^"]+"', image) for image in re.findall(r"<img\b[^>]*>", page))
    plots = re.findall(r"<svg\b[^>]*>", page)
    assert plots
    assert all(re.search(r'role="img" aria-label="[^"]+"|aria-hidden="true"', plot) for plot in plots)


@pytest.mark.parametrize("verdict", [Outcome.NOT_COMPLIANT, Outcome.INCONCLUSIVE])
def test_outputs_of_a_run_that_did_not_pass_are_withheld_and_the_page_says_so(verdict: Outcome) -> None:
    page = render_report(run_result(verdict), POLICY, {"faces-mae": pictures()})
    assert "outputs of a run that did not pass may still show what was to be forgotten" in text(page)
    assert page.count("<img") == 4


@pytest.mark.parametrize("verdict", [Outcome.NOT_COMPLIANT, Outcome.INCONCLUSIVE])
def test_pictures_of_the_forgotten_are_refused_unless_the_run_is_compliant(verdict: Outcome) -> None:
    with pytest.raises(ValueError, match="may not be shown"):
        render_report(run_result(verdict), POLICY, {"faces-mae": pictures(forgotten=True)})


def test_outputs_for_the_forgotten_are_shown_after_a_pass() -> None:
    page = render_report(run_result(), POLICY, {"faces-mae": pictures(forgotten=True)})
    assert "may still show what was to be forgotten" not in text(page)
    assert page.count("<img") == 5


def test_pictures_of_an_unknown_model_are_refused() -> None:
    with pytest.raises(ValueError, match="other-model"):
        render_report(run_result(), POLICY, {"other-model": pictures()})


def test_each_of_several_models_has_its_own_section() -> None:
    models = tuple(model_result(name, good_checks(), True) for name in ("faces-mae", "faces-vqgan"))
    page = render_report(run_result(models=models), POLICY, {"faces-vqgan": pictures()})
    for name in ("faces-mae", "faces-vqgan"):
        assert page.count(f"<h4>{name}</h4>") == page.count(f"<h3>{name}</h3>") == 1
    assert page.count("Other images, before and after (shown with permission)") == 1
    anchors = re.findall(r'\bid="([^"]+)"', page)
    assert len(anchors) == len(set(anchors))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(anchors)


def test_what_does_not_exist_is_said_and_not_drawn() -> None:
    bare = model_result("faces-mae", (), False).model_copy(
        update={"metrics": {}, "loss": LossCurve(steps=(), terms={}), "notes": (), "seconds": {}}
    )
    page = text(render_report(run_result(Outcome.INCONCLUSIVE, (bare,)), POLICY, {}))
    assert "No test ran on this model." in page
    assert "No before and after figures were measured." in page
    assert "there is no curve to draw" in page


def test_equal_results_give_equal_bytes() -> None:
    first, second = (render_report(run_result(), POLICY, {"faces-mae": pictures(True)}) for _ in range(2))
    assert first.encode() == second.encode()


def test_no_claim_is_stronger_than_the_data() -> None:
    page = text(render_report(run_result(), POLICY, {})).lower()
    assert "these tests, fixed before it ran, gave these results" in page
    assert not re.search(r"\bprov(?:es|en|ed)\b|\bguarantee|\berased\b", page)


def part(page: str, question: str) -> str:
    """What a reader sees of the section of one question of the first model."""
    found = re.search(rf'<section class="question" id="m1-{question}">.*?</section>', page, re.S)
    assert found, question
    return text("</style>" + found[0]).replace("\u00a0", " ")


def test_results_stand_under_the_question_that_they_help_to_answer() -> None:
    page = render_report(run_result(Outcome.NOT_COMPLIANT), POLICY, {})
    assert "noise-envelope" in part(page, "forgotten")
    assert "identity" in part(page, "forgotten")
    assert part(page, "other").startswith("Other checks")
    assert "probe" in part(page, "other")
    order = [page.index(f'id="m1-{question.value}"') for question in Question]
    assert [*order, page.index('id="m1-other"')] == sorted([*order, page.index('id="m1-other"')])


def test_each_of_the_two_goals_has_a_section_with_its_own_outcome() -> None:
    never_seen = check("membership", Verdict.FAILED, 0.8, question=Question.NEVER_SEEN, gates=False)
    model = model_result("faces-mae", (*good_checks(), never_seen), promoted=True)
    page = render_report(run_result(models=(model,)), POLICY, {})
    assert part(page, "forgotten").startswith("The noise goal Is it forgotten? \u2713 Passed Yes")
    title = "The retrain goal Is it like a model that never saw the data?"
    assert part(page, "never-seen").startswith(f"{title} \u2717 Failed (reported) No")
    assert "membership" not in part(page, "forgotten")


def test_a_goal_that_was_not_tested_says_so_and_how_it_can_be() -> None:
    page = render_report(run_result(), POLICY, {})
    assert "\u2013 Not tested Run with --with-reference" in part(page, "never-seen")
    limits = text(page).split("Limits of the tests", 1)[1]
    assert "Is it like a model that never saw the data? Not tested. Run with --with-reference" in limits


def test_the_smallest_effect_and_the_probability_stand_beside_the_result() -> None:
    page = render_report(run_result(), POLICY, {})
    said = part(page, "retained")
    assert "Smallest effect that this sample would have shown: 0.06 dB." in said
    assert "p = 0.0041" in said
    assert "Smallest effect" not in part(page, "weights")


def test_plots_of_all_kinds_are_drawn_beside_their_question() -> None:
    page = render_report(run_result(), POLICY, {})
    histogram, scatter, lines = PLOTS
    assert histogram.title in part(page, "forgotten")
    assert "What lies left of the border is like noise." in part(page, "forgotten")
    assert scatter.title in part(page, "forgotten")
    assert lines.title in part(page, "recoverable")
    shapes = [re.search(rf'<svg class="plot"[^>]*aria-label="{plot.title}:.*?</svg>', page, re.S) for plot in PLOTS]
    assert [shape is not None and shape[0].count("<path") + shape[0].count("<polyline") for shape in shapes] == [
        3,
        5,
        4,
    ], "each group, and a halo of those that lie in front of others"
    assert "nan" not in "".join(shape[0] for shape in shapes if shape)
    assert all(mark in text(page) for mark in ("border of the envelope", "90 % of the original"))


def test_a_plot_without_anything_to_draw_does_not_spoil_the_page() -> None:
    empty: tuple[Plot, ...] = (
        Histogram(title="one", unit="", edges=(0.0, 0.0), counts={"forget": (3,)}),
        Scatter(title="two", axes=("a", "b"), points={}),
        Lines(title="three", axes=("a", "b"), lines={"forget": ()}),
    )
    model = model_result("faces-mae", good_checks(), promoted=True).model_copy(update={"plots": empty})
    assert part(render_report(run_result(models=(model,)), POLICY, {}), "other").count("There is nothing to draw.") == 3


def test_only_the_largest_group_of_points_stands_back_and_the_legend_shows_it_so() -> None:
    page = render_report(run_result(), POLICY, {})
    figure = re.search(rf"<figcaption>{PLOTS[1].title}</figcaption>.*?</figure>", page, re.S)
    assert figure is not None
    drawn, legend = (re.findall(r'class="cloud[^"]*"', half) for half in figure[0].split('<ul class="legend">'))
    assert [classes.count("behind") for classes in drawn] == [1, 0, 0]
    assert sorted(drawn) == sorted(legend)


def test_a_plot_without_anything_to_draw_still_says_what_was_left_out() -> None:
    empty = Histogram(title="one", caption="7 have no score", unit="", edges=(0.0, 1.0), counts={"forget": (0,)})
    model = model_result("faces-mae", good_checks(), promoted=True).model_copy(update={"plots": (empty,)})
    page = part(render_report(run_result(models=(model,)), POLICY, {}), "other")
    assert "There is nothing to draw. 7 have no score." in page


def test_what_was_not_tested_is_said_once_for_all_models() -> None:
    models = tuple(model_result(name, good_checks(), promoted=True) for name in ("faces-mae", "faces-vqgan"))
    limits = text(render_report(run_result(models=models), POLICY, {})).split("Limits of the tests", 1)[1]
    assert limits.count("Retained people with fewer than two images.") == 1
    assert "(retain-drift of faces-mae, retain-drift of faces-vqgan)" in limits


def test_skipped_and_void_tests_are_listed_with_their_reason() -> None:
    page = text(render_report(run_result(Outcome.NOT_COMPLIANT), POLICY, {}))
    silent = page.split("Tests that gave no answer", 1)[1].split("Limits of the tests", 1)[0]
    assert "The feature network is not installed. (identity, skipped)" in silent
    assert "The control on noise found a signal where there is none. (probe, void)" in silent
    assert "The lower bound 71 %" not in silent


def test_the_page_gives_the_commands_that_repeat_the_run() -> None:
    page = text(render_report(run_result(), POLICY, {})).split("How to repeat it", 1)[1]
    for command in ("cu verify BUNDLE", "cu verify --rerun BUNDLE", "cu apply POLICY.yaml"):
        assert command in page
