"""Calibration: planted worlds are what they say, and checks that are wrong are found out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from cu_audit.records import FORGET, FORGET_ALL, FORGET_HELD_OUT, RETAIN, CheckResult, Outcome, Question, Verdict
from cu_echo.adapter import EchoAdapter

from compliance_unlearn.api import Check, CheckContext, Inpaint, Measurement, ModelError, RandomMask, Task, World
from compliance_unlearn.api.plan import PlannedCheck
from compliance_unlearn.engine.calibration import Calibration, Draw, calibrate, draws
from compliance_unlearn.engine.kept_draws import KeptDraws
from compliance_unlearn.engine.planted import PlantedContext, PlantedWorld, Pool
from tests.unit.engine.small import folder_of_pictures, small_model, small_worlds

PREFIXES = {FORGET: "train/s1", FORGET_HELD_OUT: "test/s1", RETAIN: "train/s2"}


def pool_of(folder: Path, task: Task) -> Pool:
    """Over 12 + 6 + 20 pictures."""
    source = folder_of_pictures(folder, {"train/s1": 12, "test/s1": 6, "train/s2": 20})
    frozen = small_model(task)
    original = EchoAdapter(frozen.params, frozen.task)
    original.network = frozen.network
    return Pool(small_worlds(folder, source, PREFIXES, original))


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    return pool_of(tmp_path_factory.mktemp("pool"), Inpaint(area=0.25))


def rows_of(images: torch.Tensor, among: torch.Tensor) -> list[bool]:
    """Whether each image is one of the others."""
    return [bool((image == among).flatten(1).all(dim=1).any()) for image in images]


@pytest.mark.parametrize(
    ("world", "kept"),
    [
        (PlantedWorld.NOTHING_FORGOTTEN, 8),
        (PlantedWorld.HALF_FORGOTTEN, 4),
        (PlantedWorld.FORGOTTEN, 0),
        (PlantedWorld.BROKEN, 0),
    ],
)
def test_a_candidate_answers_as_the_original_or_as_it_does_to_noise(pool: Pool, world: PlantedWorld, kept: int) -> None:
    context = PlantedContext(pool, world, 8, seed=3)
    made = context.outputs(World.CANDIDATE, FORGET)
    as_before = (made.images == context.outputs(World.ORIGINAL, FORGET).images).flatten(1).all(dim=1)
    assert int(as_before.sum()) == kept
    assert all(rows_of(made.images[~as_before], pool.noise.images))
    retained = context.outputs(World.CANDIDATE, RETAIN).images
    unharmed = torch.equal(retained, context.outputs(World.ORIGINAL, RETAIN).images)
    assert unharmed == (world is not PlantedWorld.BROKEN)


def test_pictures_that_were_never_trained_on_come_from_the_held_out_set(pool: Pool) -> None:
    context = PlantedContext(pool, PlantedWorld.NEVER_TRAINED, 5, seed=0)
    never = pool.worlds.outputs(World.TRUTH, FORGET_HELD_OUT).truth
    assert all(rows_of(context.outputs(World.TRUTH, FORGET).truth, never))
    assert dict(context.counts) == {FORGET: 5, RETAIN: 20}


def test_noise_that_a_check_gets_is_not_the_noise_that_the_candidate_answered(pool: Pool) -> None:
    context = PlantedContext(pool, PlantedWorld.FORGOTTEN, 12, seed=1)
    candidate = context.outputs(World.CANDIDATE, FORGET).images
    others = [
        context.noise_outputs("one", 500),
        context.noise_outputs("two", 500),
        context.outputs(World.NOISE, FORGET),
    ]
    for outputs in others:
        assert not any(rows_of(candidate, outputs.images))
    assert not any(rows_of(others[0].images, others[1].images))
    assert context.noise_outputs("one", 500) is others[0]


def test_draws_differ_by_their_seed_and_only_by_it(pool: Pool) -> None:
    def truth(seed: int) -> torch.Tensor:
        return PlantedContext(pool, PlantedWorld.FORGOTTEN, 6, seed).outputs(World.TRUTH, FORGET).truth

    assert torch.equal(truth(1), truth(1))
    assert not torch.equal(truth(1), truth(2))


def test_sets_are_joined_and_features_follow_the_outputs(pool: Pool) -> None:
    context = PlantedContext(pool, PlantedWorld.HALF_FORGOTTEN, 12, seed=0)
    assert len(context.outputs(World.CANDIDATE, FORGET_ALL)) == 12 + 6
    outputs, before = context.outputs(World.CANDIDATE, FORGET), context.outputs(World.ORIGINAL, FORGET)
    kept = (outputs.images == before.images).flatten(1).all(dim=1)
    (features,), (of_original,) = context.features(World.CANDIDATE, FORGET), context.features(World.ORIGINAL, FORGET)
    same = torch.isclose(features, of_original, atol=1e-6).flatten(1).all(dim=1)
    assert torch.equal(same, kept)
    assert 0 < int(kept.sum()) < 12


def test_where_each_picture_has_its_own_mask_nothing_can_be_planted(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="the same pixels of each picture"):
        pool_of(tmp_path, RandomMask(ratio=0.5))


def test_sizes_that_the_data_do_not_allow_are_left_out(pool: Pool) -> None:
    planned = draws(pool, [100, 10, 4])
    assert {draw.forget for draw in planned} == {4, 10}
    assert Draw(PlantedWorld.NEVER_TRAINED, 4) in planned
    assert Draw(PlantedWorld.NEVER_TRAINED, 10) not in planned


class Says(Check):
    """Says what it was made for."""

    def __init__(self, verdict: Verdict, question: Question | None) -> None:
        self._verdict, self._question = verdict, question

    def _run(self, context: CheckContext) -> Measurement:
        result = CheckResult(
            name=f"says-{self._verdict.value}",
            set=FORGET,
            question=self._question,
            claim="A claim.",
            verdict=self._verdict,
            gates=True,
            value=None,
            interval=None,
            threshold=None,
            sample_size=context.counts[FORGET],
            reason="planted",
        )
        return Measurement(results=(result,))


class NeedsModel(Check):
    def _run(self, context: CheckContext) -> Measurement:
        context.model(World.CANDIDATE)
        return Measurement()


def calibrated(pool: Pool, *checks: Check, decides: bool = True, runs: int = 5, decides_from: int = 1) -> Calibration:
    planned = [
        (
            PlannedCheck(name=f"check-{number}", params={}, demanded=True, decides=decides, decides_from=decides_from),
            check,
        )
        for number, check in enumerate(checks)
    ]
    return calibrate(pool, planned, draws(pool, [4]), runs, lambda _: None)


def test_a_check_that_always_passes_is_found_out_and_must_not_decide(pool: Pool) -> None:
    found = calibrated(pool, Says(Verdict.PASSED, Question.FORGOTTEN))
    wrong = {rate.world: rate.wrong for rate in found.rates}
    assert wrong == {
        PlantedWorld.NOTHING_FORGOTTEN: 5,
        PlantedWorld.HALF_FORGOTTEN: None,
        PlantedWorld.NEVER_TRAINED: 5,
        PlantedWorld.FORGOTTEN: 0,
        PlantedWorld.BROKEN: 0,
    }
    assert [rate.check for rate in found.unfit] == ["says-passed"]


def test_a_check_that_passes_too_easily_does_not_pass_with_fewer_records_than_it_decides_from(pool: Pool) -> None:
    check = Says(Verdict.PASSED, Question.FORGOTTEN)
    found = calibrated(pool, check, decides_from=5)  # the draws have four
    assert {verdict for rate in found.rates for verdict in rate.verdicts} == {Verdict.INCONCLUSIVE}
    assert not found.unfit
    assert calibrated(pool, check, decides_from=4).unfit


def test_a_check_that_always_fails_is_wrong_where_everything_was_forgotten(pool: Pool) -> None:
    found = calibrated(pool, Says(Verdict.FAILED, Question.FORGOTTEN))
    assert {rate.world for rate in found.rates if rate.wrong} == {PlantedWorld.FORGOTTEN, PlantedWorld.BROKEN}
    assert not found.unfit


def test_a_check_of_retained_pictures_is_wrong_where_the_model_is_broken(pool: Pool) -> None:
    found = calibrated(pool, Says(Verdict.PASSED, Question.RETAINED))
    assert {rate.world for rate in found.rates if rate.wrong} == {PlantedWorld.BROKEN}


def test_what_nobody_knows_is_counted_and_not_called_wrong(pool: Pool) -> None:
    found = calibrated(pool, Says(Verdict.PASSED, None))
    assert {rate.wrong for rate in found.rates} == {None}
    assert {rate.runs for rate in found.rates} == {5}


def test_whole_runs_end_as_their_deciding_checks_say(pool: Pool) -> None:
    checks = Says(Verdict.PASSED, Question.FORGOTTEN), Says(Verdict.FAILED, Question.RETAINED)
    assert {outcome for each in calibrated(pool, *checks).outcomes for outcome in each.outcomes} == {
        Outcome.NOT_COMPLIANT
    }
    reported = calibrated(pool, *checks, decides=False)
    assert {outcome for each in reported.outcomes for outcome in each.outcomes} == {Outcome.INCONCLUSIVE}


def test_checks_that_change_models_are_left_out_and_named(pool: Pool) -> None:
    found = calibrated(pool, NeedsModel(), Says(Verdict.PASSED, None))
    assert found.left_out == ("check-0",)
    assert {rate.check for rate in found.rates} == {"says-passed"}


def test_a_share_has_an_exact_interval(pool: Pool) -> None:
    (rate, *_) = calibrated(pool, Says(Verdict.PASSED, Question.FORGOTTEN), runs=40).rates
    share, low, high = rate.share(0)
    assert (share, low) == (0.0, 0.0)
    assert high == pytest.approx(1 - 0.025 ** (1 / 40))


def test_a_calibration_that_was_killed_goes_on_and_finds_the_same(pool: Pool, tmp_path: Path) -> None:
    path, drawn = tmp_path / "state" / "draws.jsonl", []

    class Counts(Says):
        def _run(self, context: CheckContext) -> Measurement:
            drawn.append(1)
            return super()._run(context)

    planned = PlannedCheck(name="counts", params={}, demanded=True, decides=True, decides_from=1)
    checks = [(planned, Counts(Verdict.PASSED, Question.FORGOTTEN))]
    worlds = draws(pool, [4])

    def run(runs: int) -> Calibration:
        return calibrate(pool, checks, worlds, runs, lambda _: None, KeptDraws(path))

    run(2)
    path.write_text(path.read_text()[:-9])  # the last line is cut off
    drawn.clear()
    resumed = run(3)
    trial, new, cut = 1, len(worlds), 1
    assert len(drawn) == trial + new + cut
    assert resumed == calibrate(pool, checks, worlds, 3, lambda _: None)
