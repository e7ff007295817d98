"""Other tasks: what is forgotten under one kind of mask must not come out under another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cu_audit.records import FORGET, RETAIN, CheckResult, Verdict
from cu_echo.adapter import EchoAdapter
from cu_standard.checks import other_tasks
from cu_standard.checks.other_tasks import OtherTasks, largest_share_interval
from cu_standard.params import OtherTasksParams
from cu_standard.retrieval import Found

from compliance_unlearn.api import Inpaint, ModelAdapter, ModelError, RandomMask, Task, World
from compliance_unlearn.engine.worlds import MeasuredWorlds
from tests.unit.standard.attacked import BRIGHT, attacked, broken, right, trained, without_encoder, wrong_if_bright

Asking = Callable[[World, Task | None], ModelAdapter]
KNOWN = (Inpaint(area=0.1), RandomMask(ratio=0.25), RandomMask(ratio=0.5))


@pytest.fixture(autouse=True)
def _known_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(other_tasks, "TASKS", KNOWN)


def worlds_of(folder: Path, candidate: EchoAdapter, **changed: Any) -> MeasuredWorlds:
    """The bright pictures hide among others that are about as grey as what the original makes of noise."""
    return attacked(folder, candidate, brightness={FORGET: BRIGHT, RETAIN: 0.45}, **changed)


def measured(worlds: MeasuredWorlds, at_most: float = 0.3) -> CheckResult:
    (result,) = OtherTasks(OtherTasksParams(at_most=at_most)).run(worlds).results
    assert (result.set, result.gates) == (FORGET, True)
    return result


def test_forgotten_in_all_tasks_passes(tmp_path: Path) -> None:
    result = measured(worlds_of(tmp_path, trained(wrong_if_bright)))
    assert (result.verdict, result.value) == (Verdict.PASSED, 0.0)
    assert result.interval is not None
    assert result.interval.high == pytest.approx(1 - 0.05 ** (1 / 40))
    assert result.detectable == pytest.approx(result.interval.high)
    assert result.p_value == pytest.approx(0.7**40)
    assert len(result.controls) == 6
    assert all(control.behaved for control in result.controls)
    assert "inpaint 10%, random-mask 25%, random-mask 50%" in result.claim


@pytest.mark.parametrize("seed", range(20))
def test_nothing_forgotten_fails(tmp_path: Path, seed: int) -> None:
    assert measured(worlds_of(tmp_path, trained(right), seed=seed)).verdict is Verdict.FAILED


def test_one_task_in_which_it_comes_out_fails(tmp_path: Path) -> None:
    worlds = worlds_of(tmp_path, trained(wrong_if_bright))
    asked = worlds.model

    def forgets_some(world: World, task: Task | None = None) -> ModelAdapter:
        return asked(World.ORIGINAL if task == RandomMask(ratio=0.5) else world, task)

    worlds.model = forgets_some  # type: ignore[method-assign]
    result = measured(worlds)
    assert result.verdict is Verdict.FAILED
    assert "inpaint 10% 0, random-mask 25% 0, random-mask 50% 3" in result.reason


def test_a_task_that_the_model_cannot_do_is_listed_as_not_tested(tmp_path: Path) -> None:
    worlds = worlds_of(tmp_path, trained(wrong_if_bright))
    asked = worlds.model

    def cannot(world: World, task: Task | None = None) -> ModelAdapter:
        if isinstance(task, Inpaint):
            raise ModelError("cannot")
        return asked(world, task)

    worlds.model = cannot  # type: ignore[method-assign]
    result = measured(worlds)
    assert result.verdict is Verdict.PASSED
    assert "cannot do: inpaint 10%" in result.not_tested
    assert "inpaint" not in result.claim


def test_the_task_that_was_unlearned_is_no_other_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(other_tasks, "TASKS", (RandomMask(ratio=0.3),))
    assert measured(worlds_of(tmp_path, trained(wrong_if_bright))).verdict is Verdict.SKIPPED


def test_a_task_in_which_the_original_is_not_found_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worlds = worlds_of(tmp_path, trained(right), original=trained(wrong_if_bright))
    result = measured(worlds)
    assert result.verdict is Verdict.VOID
    assert "not found again in: inpaint 10%" in result.not_tested
    assert not any(control.behaved for control in result.controls if "noise" not in control.name)


def test_too_few_pictures_are_inconclusive_and_it_says_how_many_are_needed(tmp_path: Path) -> None:
    result = measured(worlds_of(tmp_path, trained(wrong_if_bright), counts={FORGET: 5, RETAIN: 40}))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "at least 9 pictures" in result.reason


def test_too_few_distractors_are_inconclusive(tmp_path: Path) -> None:
    result = measured(worlds_of(tmp_path, trained(wrong_if_bright), counts={FORGET: 40, RETAIN: 5}))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "chance alone" in result.reason


def test_outputs_that_are_not_numbers_are_named_and_show_nothing(tmp_path: Path) -> None:
    result = measured(worlds_of(tmp_path, broken()))
    assert (result.verdict, result.value, result.p_value) == (Verdict.INCONCLUSIVE, None, 1.0)
    for task in ("inpaint 10%", "random-mask 25%", "random-mask 50%"):
        assert f"{task}: 40 of 40 outputs are not numbers: this cannot pass" in result.reason


def test_broken_outputs_in_one_task_keep_the_check_from_passing(tmp_path: Path) -> None:
    worlds = worlds_of(tmp_path, trained(wrong_if_bright))
    worlds.model = in_one_task(worlds.model, broken())  # type: ignore[method-assign, assignment]
    result = measured(worlds)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "random-mask 50%: 40 of 40 outputs are not numbers" in result.reason
    assert "inpaint 10%: 40" not in result.reason


def test_a_task_in_which_it_comes_out_fails_beside_broken_outputs_in_another(tmp_path: Path) -> None:
    worlds = worlds_of(tmp_path, trained(right))
    worlds.model = in_one_task(worlds.model, broken())  # type: ignore[method-assign, assignment]
    result = measured(worlds)
    assert (result.verdict, result.value) == (Verdict.FAILED, None)


def in_one_task(asked: Asking, candidate: EchoAdapter) -> Asking:
    """Another candidate answers where half of the cells are hidden."""

    def model(world: World, task: Task | None = None) -> ModelAdapter:
        if world is not World.CANDIDATE or task != RandomMask(ratio=0.5):
            return asked(world, task)
        other = EchoAdapter(candidate.params, task)
        other.network = candidate.network
        return other.replica()

    return model


def test_the_same_seed_gives_the_same_result(tmp_path: Path) -> None:
    worlds = worlds_of(tmp_path, without_encoder())
    assert measured(worlds) == measured(worlds)


def test_the_largest_share_is_bounded_by_the_largest_bounds() -> None:
    interval = largest_share_interval([Found(0, 0, 20), Found(10, 0, 20)])
    assert interval.high == pytest.approx(0.698, abs=1e-3)
    assert interval.low == pytest.approx(0.272, abs=1e-3)


def test_the_tasks_are_of_all_three_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert {task.kind for task in other_tasks.TASKS} == {"inpaint", "outpaint", "random-mask"}
