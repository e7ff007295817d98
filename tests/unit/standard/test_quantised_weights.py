"""Quantised weights: rounding must not undo what unlearning did."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from cu_audit.records import FORGET, RETAIN, CheckResult, Verdict
from cu_echo.adapter import EchoAdapter
from cu_standard.checks.quantised_weights import QuantisedWeights, quantised
from cu_standard.params import QuantisedWeightsParams

from compliance_unlearn.engine.worlds import MeasuredWorlds
from tests.unit.standard.attacked import attacked, broken, right, trained, wrong_if_bright


def measured(worlds: MeasuredWorlds, gain_at_most: float = 0.5) -> dict[str, CheckResult]:
    found = QuantisedWeights(QuantisedWeightsParams(gain_at_most=gain_at_most)).run(worlds).results
    assert all(result.gates for result in found)
    return {result.set: result for result in found}


def on_grid(bits: int) -> EchoAdapter:
    """The original, which rounding does not change."""
    model = trained(right).replica()
    quantised(model, bits)
    return model


def undone_by_rounding(bits: int) -> EchoAdapter:
    """Weights that lie less than half a step beside those of the original."""
    model = on_grid(bits)
    with torch.no_grad():
        for parameter in model.module.parameters():
            step = parameter.abs().max() / (2 ** (bits - 1) - 1)
            moved = parameter + 0.49 * step
            parameter.copy_(torch.where(parameter.abs() == parameter.abs().max(), parameter, moved))
    return model


def test_what_stays_forgotten_passes(tmp_path: Path) -> None:
    found = measured(attacked(tmp_path, trained(wrong_if_bright)))
    assert set(found) == {"8-bit", "4-bit"}
    eight = found["8-bit"]
    assert eight.verdict is Verdict.PASSED
    assert (eight.sample_size, len(eight.controls)) == (40, 2)
    assert all(control.behaved for control in eight.controls)
    assert eight.value is not None
    assert abs(eight.value) < 0.5


@pytest.mark.parametrize("seed", range(20))
def test_forgetting_that_rounding_undoes_fails(tmp_path: Path, seed: int) -> None:
    result = measured(attacked(tmp_path, undone_by_rounding(4), original=on_grid(4), seed=seed))["4-bit"]
    assert result.value is not None
    assert (result.verdict, result.value > 0.5) == (Verdict.FAILED, True)


def test_nothing_forgotten_is_void(tmp_path: Path) -> None:
    for result in measured(attacked(tmp_path, trained(right))).values():
        assert result.verdict is Verdict.VOID
        assert "rounded original model" in result.reason


def test_weights_that_are_not_numbers_are_named(tmp_path: Path) -> None:
    for result in measured(attacked(tmp_path, broken())).values():
        assert (result.verdict, result.value) == (Verdict.INCONCLUSIVE, None)
        assert "the unlearned model gives outputs that are not numbers" in result.reason


def test_one_picture_is_too_few(tmp_path: Path) -> None:
    found = measured(attacked(tmp_path, trained(wrong_if_bright), counts={FORGET: 1, RETAIN: 3}))
    assert found["8-bit"].verdict is Verdict.INCONCLUSIVE
    assert "at least 2" in found["8-bit"].reason


def test_the_same_seed_gives_the_same_result(tmp_path: Path) -> None:
    worlds = attacked(tmp_path, trained(wrong_if_bright))
    assert measured(worlds) == measured(worlds)


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_a_tensor_keeps_its_ends_and_has_a_symmetric_grid(bits: int) -> None:
    before = trained(right).module.decoder.weight
    after = quantised(trained(right).replica(), bits).module.get_parameter("decoder.weight")
    largest = before.abs().max()
    steps = after / largest * (2 ** (bits - 1) - 1)
    assert after.abs().max() == pytest.approx(float(largest))
    assert torch.allclose(steps, steps.round(), atol=1e-4)
    assert (after - before).abs().max() <= 0.501 * largest / (2 ** (bits - 1) - 1)


def test_a_tensor_of_zeros_stays_zero() -> None:
    model = trained(right).replica()
    with torch.no_grad():
        model.encoder_parameters()["encoder.bias"].zero_()
    assert torch.equal(quantised(model, 4).encoder_parameters()["encoder.bias"], torch.zeros(8))
