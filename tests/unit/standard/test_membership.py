"""Membership: passes only what treats trained and never-seen pictures of the subject alike, both ways."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace

import pytest
import torch
from cu_audit.records import FORGET, FORGET_HELD_OUT, CheckResult, Verdict
from cu_standard.checks.membership import CALIBRATED, LOSS, Attack, Membership
from cu_standard.params import MembershipParams
from sklearn.metrics import roc_auc_score

from compliance_unlearn.api import Outputs, World
from tests.unit.standard.planted import Change, Planted, answers_noise, collapses, keeps, not_numbers


def remembers(original: Outputs, noise: Outputs) -> torch.Tensor:
    """Half of the error."""
    return original.truth + 0.5 * (original.images - original.truth)


def remembers_a_little(original: Outputs, noise: Outputs) -> torch.Tensor:
    return original.truth + 0.98 * (original.images - original.truth)


@dataclass(frozen=True)
class Referenced(Planted):
    """With a retrained model whose errors are those of the original, up to a little that is its own."""

    @property
    def worlds(self) -> frozenset[World]:
        return frozenset(World)

    def outputs(self, world: World, set_name: str) -> Outputs:
        if world is not World.RETRAINED:
            return super().outputs(world, set_name)
        original = super().outputs(World.ORIGINAL, set_name)
        own = 0.001 * torch.randn(original.images.shape, generator=self.generator(f"reference {set_name}"))
        return replace(original, images=original.images + own)


def world(forget: Change, held_out: Change | None = None, count: int = 250, seed: int = 0) -> Planted:
    return Planted(
        seed=seed, subjects=2, trained=count, held_out=count, forget=forget, forget_held_out=held_out or forget
    )


def results(context: Planted, margin: float = 0.1) -> dict[str, CheckResult]:
    return {result.name: result for result in Membership(MembershipParams(margin=margin)).run(context).results}


def loss_attack(context: Planted, margin: float = 0.1) -> CheckResult:
    return results(context, margin)[LOSS]


@pytest.mark.parametrize("change", [keeps, answers_noise, collapses], ids=lambda each: each.__name__)
def test_a_model_that_treats_both_alike_passes_whatever_it_does(change: Change) -> None:
    result = loss_attack(world(change))
    assert (result.verdict, result.gates, result.unit, result.sample_size) == (Verdict.PASSED, True, "AUC", 500)
    assert result.value == pytest.approx(0.5, abs=0.06)
    assert result.p_value is not None
    assert result.p_value < 0.05
    assert [control.behaved for control in result.controls] == [True, True, True]


def test_a_model_that_remembers_its_training_pictures_fails() -> None:
    result = loss_attack(world(remembers, keeps))
    assert (result.verdict, result.value) == (Verdict.FAILED, 1.0)
    assert result.p_value == pytest.approx(1.0)


def test_pictures_that_are_conspicuously_forgotten_betray_themselves_too() -> None:
    result = loss_attack(world(collapses, keeps))
    assert (result.verdict, result.value) == (Verdict.FAILED, 0.0)


def test_it_says_when_the_attack_finds_nothing_on_the_original_either() -> None:
    weak = loss_attack(world(keeps))
    assert weak.verdict is Verdict.PASSED
    assert "finds nothing on the original model either" in weak.reason

    @dataclass(frozen=True)
    class Overfitted(Planted):
        def _original(self, name: str) -> Outputs:
            original = super()._original(name)
            return replace(original, images=remembers(original, original)) if name == FORGET else original

    strong = loss_attack(
        Overfitted(subjects=2, trained=250, held_out=250, forget=answers_noise, forget_held_out=answers_noise)
    )
    assert strong.verdict is Verdict.PASSED
    assert "original" not in strong.reason
    assert strong.controls[1].value == 1.0


def test_error_rates_where_both_are_treated_alike() -> None:
    verdicts = Counter(loss_attack(world(keeps, count=150, seed=seed)).verdict for seed in range(40))
    assert verdicts[Verdict.FAILED] == 0
    assert verdicts[Verdict.PASSED] >= 24


def test_an_auc_at_the_margin_rarely_passes_and_rarely_fails() -> None:
    generator, judged = torch.Generator().manual_seed(0), Counter[Verdict]()
    shift = math.sqrt(2.0) * 0.2533  # the AUC of two normals is Φ(shift / √2) = 0.6
    for _ in range(600):
        members = torch.randn(100, generator=generator) + shift
        others = torch.randn(100, generator=generator)
        judged[Attack.of(members, others, torch.full((200,), -1)).judged(0.1)] += 1
    assert judged[Verdict.PASSED] <= 0.08 * 600
    assert judged[Verdict.FAILED] <= 0.08 * 600


def test_the_area_is_that_of_scikit_learn_with_ties() -> None:
    generator = torch.Generator().manual_seed(0)
    members, others = (torch.randint(6, (count,), generator=generator).double() for count in (30, 20))
    found = Attack.of(members, others, torch.full((50,), -1))
    labels = [1] * 30 + [0] * 20
    assert found.area == pytest.approx(roc_auc_score(labels, torch.cat([members, others])))


def test_pictures_of_one_subject_move_together() -> None:
    generator, shown = torch.Generator().manual_seed(0), 0
    subjects = torch.arange(20).repeat_interleave(10)
    for _ in range(200):
        scores = torch.randn(20, generator=generator)[subjects] + 0.1 * torch.randn(200, generator=generator)
        found = Attack.of(scores[:100], scores[100:], subjects)
        shown += not found.interval.low <= 0.5 <= found.interval.high
    assert shown <= 0.16 * 200
    alone = Attack.of(scores[:100], scores[100:], torch.full((200,), -1))
    assert alone.error < 0.6 * found.error


def test_one_subject_is_judged_by_its_pictures() -> None:
    scores = torch.randn(40, generator=torch.Generator().manual_seed(0))
    one, unknown = (Attack.of(scores[:20], scores[20:], torch.full((40,), number)) for number in (3, -1))
    assert one == unknown


def test_perfect_separation_of_a_few_is_not_taken_for_certainty() -> None:
    found = Attack.of(torch.ones(10), torch.zeros(10), torch.full((20,), -1))
    assert (found.area, found.interval.high) == (1.0, 1.0)
    assert found.interval.low < 0.9


def test_a_retrained_model_calibrates_the_errors() -> None:
    blind = results(Referenced(subjects=2, trained=250, held_out=250, forget=remembers_a_little, forget_held_out=keeps))
    assert blind[LOSS].verdict is not Verdict.FAILED
    assert blind[CALIBRATED].verdict is Verdict.FAILED
    assert (blind[CALIBRATED].value or 0.0) > (blind[LOSS].value or 1.0) + 0.2
    same = results(Referenced(subjects=2, trained=250, held_out=250, forget=keeps, forget_held_out=keeps))
    assert same[CALIBRATED].verdict is Verdict.PASSED
    assert same[CALIBRATED].gates


def test_without_a_retrained_model_the_second_result_says_how_to_get_one() -> None:
    skipped = results(world(keeps))[CALIBRATED]
    assert (skipped.verdict, skipped.gates, skipped.value) == (Verdict.SKIPPED, False, None)
    assert "--with-reference" in skipped.reason


def test_without_held_out_pictures_it_is_skipped_and_still_decides() -> None:
    found = results(Planted(trained=50, held_out=0))
    assert found[LOSS].verdict is found[CALIBRATED].verdict is Verdict.SKIPPED
    assert (found[LOSS].gates, found[CALIBRATED].gates) == (True, False)
    assert "held out" in found[LOSS].reason


def test_ten_photos_are_too_few() -> None:
    result = loss_attack(Planted(trained=10, held_out=5, forget=keeps))
    assert (result.verdict, result.value) == (Verdict.INCONCLUSIVE, None)
    assert "at least 10" in result.reason


def test_an_interval_that_is_too_wide_says_how_many_pictures_it_would_take() -> None:
    result = loss_attack(world(keeps, count=30))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "pictures would settle it" in result.reason


def test_held_out_pictures_of_another_kind_make_it_void() -> None:
    @dataclass(frozen=True)
    class Harder(Planted):
        def _pictures(self, subjects: torch.Tensor, name: str) -> torch.Tensor:
            pictures = super()._pictures(subjects, name)
            return pictures.round() if name == FORGET_HELD_OUT else pictures

    result = loss_attack(Harder(subjects=2, trained=100, held_out=100, forget=keeps))
    assert result.verdict is Verdict.VOID
    assert not result.controls[0].behaved
    assert "differ in kind" in result.reason


@pytest.mark.parametrize(
    ("held_out", "verdict"), [(keeps, Verdict.FAILED), (not_numbers, Verdict.INCONCLUSIVE)], ids=["forget", "both"]
)
def test_outputs_that_are_not_numbers_are_named(held_out: Change, verdict: Verdict) -> None:
    result = loss_attack(world(not_numbers, held_out, count=100))
    assert result.verdict is verdict
    assert "outputs are not numbers" in result.reason


def test_the_same_world_gives_the_same_result() -> None:
    assert results(world(answers_noise, count=30)) == results(world(answers_noise, count=30))
