"""Fresh encoder: what the untouched decoder still knows of the forgotten pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from cu_audit.records import FORGET, RETAIN, CheckResult, Verdict
from cu_echo.adapter import EchoAdapter
from cu_standard.checks.fresh_encoder import FreshEncoder, renew
from cu_standard.params import FreshEncoderParams

from compliance_unlearn.engine.worlds import MeasuredWorlds
from tests.unit.standard.attacked import DARK, attacked, broken, right, trained, without_encoder, wrong_if_bright

ALIKE = {FORGET: DARK, RETAIN: DARK}


def dark_only() -> EchoAdapter:
    """A decoder that cannot make bright pictures: each feature makes them darker."""
    model = trained(right).replica()
    with torch.no_grad():
        model.module.decoder.weight.abs_().neg_()
        assert model.module.decoder.bias is not None
        model.module.decoder.bias.fill_(DARK + 0.1)
    return model


def measured(worlds: MeasuredWorlds, **changed: Any) -> dict[str, CheckResult]:
    params = {"steps": 100, "learning_rate": 0.02, "loss_at_least": 6.0} | changed
    found = FreshEncoder(FreshEncoderParams(**params)).run(worlds).results
    assert all(result.gates for result in found)
    return {result.set: result for result in found}


def verdicts(worlds: MeasuredWorlds, **changed: Any) -> set[Verdict]:
    return {result.verdict for result in measured(worlds, **changed).values()}


def test_a_decoder_that_cannot_make_the_pictures_passes(tmp_path: Path) -> None:
    found = measured(attacked(tmp_path, dark_only()))
    assert set(found) == {"with-forget-pictures", "without-forget-pictures"}
    for result in found.values():
        assert result.verdict is Verdict.PASSED
        assert result.interval is not None
        assert result.interval.low >= 6.0
        assert result.interval.low < (result.value or 0.0) < result.interval.high
        assert all(control.behaved for control in result.controls)
        assert result.p_value is not None
        assert result.p_value < 0.05


@pytest.mark.parametrize("seed", range(20))
def test_a_decoder_that_is_as_it_was_fails(tmp_path: Path, seed: int) -> None:
    worlds = attacked(tmp_path, without_encoder(), brightness=ALIKE, counts={FORGET: 20, RETAIN: 40}, seed=seed)
    assert verdicts(worlds) == {Verdict.FAILED}


def test_nothing_forgotten_fails(tmp_path: Path) -> None:
    assert verdicts(attacked(tmp_path, trained(right), brightness=ALIKE)) == {Verdict.FAILED}


def test_an_attack_that_does_not_learn_retained_pictures_is_void(tmp_path: Path) -> None:
    found = measured(attacked(tmp_path, without_encoder()), steps=10, learning_rate=1e-6)
    assert {result.verdict for result in found.values()} == {Verdict.VOID}
    assert "retained pictures" in found["without-forget-pictures"].reason


def test_a_decoder_that_never_saw_the_pictures_and_makes_them_makes_it_void(tmp_path: Path) -> None:
    found = measured(attacked(tmp_path, without_encoder(), brightness=ALIKE, retrained=without_encoder()))
    assert {result.verdict for result in found.values()} == {Verdict.VOID}
    assert "never saw" in found["with-forget-pictures"].reason


def test_an_original_that_draws_noise_as_well_makes_it_void(tmp_path: Path) -> None:
    assert verdicts(attacked(tmp_path, trained(wrong_if_bright), original=trained(wrong_if_bright))) == {Verdict.VOID}


def test_too_few_pictures_are_inconclusive(tmp_path: Path) -> None:
    found = measured(attacked(tmp_path, without_encoder(), counts={FORGET: 2, RETAIN: 9}))
    assert {result.verdict for result in found.values()} == {Verdict.INCONCLUSIVE}
    assert "at least 3" in found["with-forget-pictures"].reason


def test_without_retained_pictures_it_is_skipped(tmp_path: Path) -> None:
    assert verdicts(attacked(tmp_path, without_encoder(), counts={FORGET: 9})) == {Verdict.SKIPPED}


def test_weights_that_are_not_numbers_are_named(tmp_path: Path) -> None:
    found = measured(attacked(tmp_path, broken()))
    assert {result.verdict for result in found.values()} == {Verdict.INCONCLUSIVE}
    assert "not numbers" in found["with-forget-pictures"].reason


def test_the_same_seed_gives_the_same_result(tmp_path: Path) -> None:
    worlds = attacked(tmp_path, without_encoder(), counts={FORGET: 12, RETAIN: 12})
    assert measured(worlds, steps=10) == measured(worlds, steps=10)


def test_a_fresh_tensor_has_the_mean_and_deviation_of_the_old_one() -> None:
    parameter = torch.nn.Parameter(torch.linspace(1.0, 3.0, 10_000))
    before = parameter.detach().clone()
    renew({"weight": parameter}, torch.Generator().manual_seed(0))
    after = parameter.detach()
    assert float(after.mean()) == pytest.approx(2.0, abs=0.05)
    assert float(after.std()) == pytest.approx(float(before.std()), rel=0.05)
    assert abs(float(torch.corrcoef(torch.stack([before, after]))[0, 1])) < 0.05
