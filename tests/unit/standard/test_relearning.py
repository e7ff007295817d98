"""Relearning: how fast forgotten pictures come back is measured against a control, and told as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from cu_audit.records import FORGET, RETAIN, CheckResult, Lines, Verdict
from cu_standard.attacks import Pictures, attacked_and_others, pictures_of_others, quality
from cu_standard.checks.relearning import Relearning
from cu_standard.params import RelearningParams

from compliance_unlearn.api import Measurement, World
from compliance_unlearn.engine.worlds import MeasuredWorlds
from tests.unit.standard.attacked import (
    BRIGHT,
    attacked,
    broken,
    right,
    trained,
    without_encoder,
    wrong_if_bright,
)

ALIKE = {FORGET: BRIGHT, RETAIN: BRIGHT}


def measured(worlds: MeasuredWorlds, **changed: Any) -> Measurement:
    params = {"steps": 60, "learning_rate": 0.02} | changed
    return Relearning(RelearningParams(**params)).run(worlds)


def results(worlds: MeasuredWorlds, **changed: Any) -> dict[str, CheckResult]:
    found = {result.set.removesuffix("-attacked"): result for result in measured(worlds, **changed).results}
    assert set(found) == {"encoder", "decoder", "everything"}
    assert all(result.gates for result in found.values())
    return found


def verdicts(worlds: MeasuredWorlds, **changed: Any) -> set[Verdict]:
    return {result.verdict for result in results(worlds, **changed).values()}


def test_where_pictures_of_others_bring_as_much_back_nothing_passes_without_a_reference(tmp_path: Path) -> None:
    found = results(attacked(tmp_path, without_encoder(), brightness=ALIKE))
    for result in found.values():
        assert result.verdict is Verdict.INCONCLUSIVE
        assert "they were never far away" in result.reason
        assert result.interval is not None
        assert result.interval.high <= 0.5 == result.threshold
        assert result.p_value is not None
        assert result.p_value < 0.05
        assert "as many pictures of others" in result.claim
    assert "is back after 60 steps; with the control it is back after 60 steps" in found["decoder"].reason


def test_what_only_the_forget_pictures_bring_back_fails(tmp_path: Path) -> None:
    found = results(attacked(tmp_path, trained(wrong_if_bright)))
    for result in found.values():
        assert result.verdict is Verdict.FAILED
        assert result.value is not None
        assert result.value > 5.0
    assert "is back after 60 steps; with the control it is not back within 60 steps" in found["everything"].reason


@pytest.mark.parametrize("seed", range(20))
def test_nothing_forgotten_fails(tmp_path: Path, seed: int) -> None:
    worlds = attacked(tmp_path, trained(right), seed=seed, counts={FORGET: 20, RETAIN: 20})
    assert verdicts(worlds) == {Verdict.FAILED}
    assert "nothing to relearn" in results(worlds)["encoder"].reason


def test_a_retrained_model_is_the_control_where_there_is_one(tmp_path: Path) -> None:
    found = results(attacked(tmp_path, trained(wrong_if_bright), retrained=without_encoder()))
    assert found["decoder"].verdict is found["encoder"].verdict is Verdict.PASSED
    assert "a model that never saw them" in found["decoder"].claim
    assert [control.name for control in found["decoder"].controls][1] == "original model"


def test_the_original_fails_against_a_retrained_model(tmp_path: Path) -> None:
    assert verdicts(attacked(tmp_path, trained(right), retrained=without_encoder())) == {Verdict.FAILED}


def test_a_retrained_model_as_good_as_the_original_makes_it_void(tmp_path: Path) -> None:
    found = results(attacked(tmp_path, without_encoder(), retrained=trained(right)))
    assert {result.verdict for result in found.values()} == {Verdict.VOID}
    assert "original model" in found["encoder"].reason


def test_an_original_that_knows_no_more_than_of_noise_makes_it_void(tmp_path: Path) -> None:
    worlds = attacked(tmp_path, trained(wrong_if_bright), original=trained(wrong_if_bright))
    assert verdicts(worlds) == {Verdict.VOID}


def test_an_attack_that_does_not_even_learn_its_own_pictures_is_void(tmp_path: Path) -> None:
    found = results(attacked(tmp_path, trained(wrong_if_bright)), steps=2, learning_rate=1e-6)
    assert {result.verdict for result in found.values()} == {Verdict.VOID}
    assert "more steps" in found["encoder"].reason


def test_too_few_pictures_are_inconclusive_and_it_says_how_many_are_needed(tmp_path: Path) -> None:
    found = results(attacked(tmp_path, without_encoder(), counts={FORGET: 2, RETAIN: 5}))
    assert {result.verdict for result in found.values()} == {Verdict.INCONCLUSIVE}
    assert "at least 3 pictures" in found["encoder"].reason


def test_without_anything_to_compare_with_it_is_skipped(tmp_path: Path) -> None:
    found = results(attacked(tmp_path, without_encoder(), counts={FORGET: 20}))
    assert {result.verdict for result in found.values()} == {Verdict.SKIPPED}
    assert "--with-reference" in found["encoder"].reason


def test_weights_that_are_not_numbers_are_named(tmp_path: Path) -> None:
    found = results(attacked(tmp_path, broken()))
    assert {result.verdict for result in found.values()} == {Verdict.INCONCLUSIVE}
    assert "not numbers" in found["encoder"].reason


def test_an_attack_that_diverges_is_not_an_attack_that_found_nothing(tmp_path: Path) -> None:
    worlds = attacked(tmp_path, trained(wrong_if_bright))
    (encoder, *_) = measured(worlds, learning_rate=1e30).results
    assert encoder.verdict in (Verdict.INCONCLUSIVE, Verdict.VOID)
    assert encoder.value is None


def test_the_curves_end_where_the_pictures_are_back(tmp_path: Path) -> None:
    (plot,) = measured(attacked(tmp_path, trained(wrong_if_bright)), steps=200).plots
    assert isinstance(plot, Lines)
    assert len(plot.lines) == 6
    (height,) = plot.marks.values()
    attack, control = plot.lines["everything attacked"], plot.lines["everything, control"]
    assert attack[0] == control[0]
    assert attack[-1][1] >= height > attack[-2][1]
    assert control[-1][0] > attack[-1][0]
    assert [value for _, value in control] == sorted(value for _, value in control)


def test_the_attacker_is_judged_on_pictures_that_it_does_not_have(tmp_path: Path) -> None:
    worlds = attacked(tmp_path, without_encoder())
    own, others = attacked_and_others(worlds, samples=False)
    assert (len(own), len(others)) == (4, 36)
    assert not (own.images[:, None] == others.images[None]).flatten(2).all(dim=2).any()
    assert len(attacked_and_others(worlds, samples=True)[1]) == 16


def test_pictures_of_the_forgotten_subject_are_nobody_elses(tmp_path: Path) -> None:
    worlds = attacked(tmp_path, without_encoder(), counts={FORGET: 5, RETAIN: 9})
    assert len(pictures_of_others(worlds)) == 9
    assert len(pictures_of_others(worlds, 4)) == 4
    worlds.outputs(World.ORIGINAL, RETAIN).subjects[:3] = 0
    assert len(pictures_of_others(worlds)) == 6


def test_quality_is_measured_under_the_fixed_views(tmp_path: Path) -> None:
    worlds = attacked(tmp_path, without_encoder())
    pictures = Pictures.of(worlds, FORGET)
    assert torch.equal(quality(worlds.model(World.ORIGINAL), pictures), quality(trained(right), pictures))
    assert torch.equal(pictures[:5].views.hidden, worlds.views(FORGET).hidden[:5])


def test_the_same_seed_gives_the_same_result_and_the_worlds_stay_as_they_were(tmp_path: Path) -> None:
    worlds = attacked(tmp_path, without_encoder(), counts={FORGET: 12, RETAIN: 12})
    before = worlds.model(World.CANDIDATE).module.state_dict()
    one, other = measured(worlds, steps=10), measured(worlds, steps=10)
    assert one == other
    assert all(torch.equal(tensor, before[name]) for name, tensor in without_encoder().module.state_dict().items())
    assert all(
        torch.equal(value, worlds.model(World.CANDIDATE).module.state_dict()[key]) for key, value in before.items()
    )
