"""Recognition: a network that knew the subject in the original's outputs must not know it in the candidate's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from cu_audit.records import FORGET, FORGET_ALL, FORGET_HELD_OUT, RETAIN, RETAIN_HELD_OUT, Verdict
from cu_standard.checks import recognition
from cu_standard.checks.recognition import OWN_AT_MOST, Recogniser, Recognition
from cu_standard.params import RecognitionParams

from compliance_unlearn.api import FeatureNet, Measurement, ModelError, Outputs, World, feature_net
from compliance_unlearn.engine.worlds import MeasuredWorlds
from tests.unit.engine.small import folder_of_pictures, small_model, small_worlds
from tests.unit.standard.planted import (
    HIDDEN,
    SIZE,
    Change,
    Planted,
    answers_noise,
    collapses,
    deciding,
    keeps,
    not_numbers,
    of_set,
    white,
)
from tests.unit.standard.quick_net import QuickNet


@pytest.fixture
def real_net() -> None:
    """Asks for the network that the parameters name."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "real_net" not in request.fixturenames:
        monkeypatch.setattr(recognition, "named_net", lambda params: QuickNet())


@dataclass(frozen=True)
class People(Planted):
    """Pictures of one subject are more alike than those of two."""

    def _pictures(self, subjects: torch.Tensor, name: str) -> torch.Tensor:
        cells = torch.rand(self.subjects + 1, 1, 8, 8, generator=self.generator("subjects"))
        own = cells[subjects] + 0.1 * torch.randn(len(subjects), 1, 8, 8, generator=self.generator(f"truth {name}"))
        return torch.nn.functional.interpolate(own, size=(SIZE, SIZE), mode="bilinear").clamp(0, 1)


def measured(world: Planted | MeasuredWorlds, at_most: float = 0.3) -> Measurement:
    return Recognition(RecognitionParams(at_most=at_most)).run(world)


def another_picture(original: Outputs, noise: Outputs) -> torch.Tensor:
    """The subject, but not the picture: each record is answered with what belongs to the one before."""
    return original.images.roll(1, dims=0)


@pytest.mark.parametrize("change", [collapses, answers_noise, white], ids=lambda each: each.__name__)
def test_forgotten_passes_on_all_pictures_of_the_subject(change: Change) -> None:
    measurement = measured(People(forget=change))
    assert [result.set for result in measurement.results] == [FORGET, FORGET_HELD_OUT, FORGET_ALL]
    assert deciding(measurement) == {Verdict.PASSED}
    result = of_set(measurement, FORGET_ALL)
    assert (result.verdict, result.gates, result.value, result.sample_size) == (Verdict.PASSED, True, 0.0, 10)
    assert result.interval is not None
    assert result.interval.high == pytest.approx(0.259, abs=1e-3)
    assert result.p_value == pytest.approx(0.7**10)
    assert result.detectable == pytest.approx(0.2589, abs=1e-4)
    assert [control.behaved for control in result.controls] == [True, True]
    assert "among 310 pictures, its own left out, where chance gives 2.9%" in result.reason
    assert "quick (weights 01234567, pictures at 8 × 8 pixels)" in result.reason


def test_of_few_pictures_the_parts_are_inconclusive_and_say_how_many_are_needed() -> None:
    result = of_set(measured(People()), FORGET_HELD_OUT)
    assert (result.verdict, result.gates, result.value) == (Verdict.INCONCLUSIVE, False, 0.0)
    assert "at least 9 pictures are needed" in result.reason


@pytest.mark.parametrize("change", [keeps, another_picture], ids=lambda each: each.__name__)
def test_nothing_forgotten_fails_even_if_it_is_another_picture_of_the_subject(change: Change) -> None:
    result = of_set(measured(People(forget=change)), FORGET_ALL)
    assert result.verdict is Verdict.FAILED
    assert result.value is not None
    assert result.value >= 0.9


def test_the_own_picture_is_left_out() -> None:
    """Each picture of the subject shows somebody else: it is like itself, and like no other of the subject."""

    @dataclass(frozen=True)
    class Unlike(People):
        def outputs(self, world: World, set_name: str) -> Outputs:
            found = super().outputs(world, set_name)
            if set_name not in (FORGET, FORGET_HELD_OUT):
                return found
            first = 1 if set_name == FORGET else 11
            truth = self._pictures(torch.arange(first, first + len(found)), set_name)
            images = truth if world in (World.ORIGINAL, World.TRUTH) else found.images
            return replace(found, truth=truth, images=images)

    for result in measured(Unlike()).results:
        assert result.verdict is Verdict.VOID
        assert result.controls[0].value == 0.0


def test_without_known_subjects_the_pictures_to_forget_are_the_subject() -> None:
    assert of_set(measured(People(known_subjects=False)), FORGET_ALL).verdict is Verdict.PASSED
    assert of_set(measured(People(known_subjects=False, forget=keeps)), FORGET_ALL).verdict is Verdict.FAILED


@dataclass(frozen=True)
class TwoSubjects(People):
    """The first records are of subject 0, the others of subject 1000, of whom there is but one picture if asked."""

    second: int = 3

    def outputs(self, world: World, set_name: str) -> Outputs:
        found = super().outputs(world, set_name)
        if set_name != FORGET:
            return found
        subjects = found.subjects.clone()
        subjects[-self.second :] = 1000
        return replace(found, subjects=subjects)


def test_a_record_without_another_picture_of_its_subject_is_left_out_and_counted() -> None:
    result = of_set(measured(TwoSubjects(second=1)), FORGET_ALL)
    assert (result.verdict, result.sample_size) == (Verdict.PASSED, 9)
    assert result.not_tested.endswith("Pictures that are the only ones of their subject: 1.")


def test_another_person_to_forget_is_another_person() -> None:
    recogniser = Recogniser(TwoSubjects(held_out=0, trained=9), QuickNet())
    assert recogniser.own([FORGET]).tolist() == [5] * 6 + [2] * 3


@dataclass(frozen=True)
class Kept(People):
    """A policy that forgets some pictures of subject 0 and keeps others."""

    def outputs(self, world: World, set_name: str) -> Outputs:
        found = super().outputs(world, set_name)
        if set_name != RETAIN:
            return found
        own = super().outputs(World.ORIGINAL, FORGET)
        parts = ((own.truth, found.truth), (own.truth, found.images), (own.subjects, found.subjects))
        truth, images, subjects = (torch.cat([mine, theirs[len(own) :]]) for mine, theirs in parts)
        return Outputs(truth, images, found.generated, subjects)


def test_pictures_of_the_subject_that_are_kept_are_pictures_of_the_subject() -> None:
    recogniser = Recogniser(Kept(), QuickNet())
    assert recogniser.own([FORGET, FORGET_HELD_OUT]).tolist() == [16] * 10


def test_one_picture_is_too_few_and_the_reason_says_so() -> None:
    (result,) = measured(People(trained=1, held_out=0)).results
    assert (result.set, result.gates, result.verdict) == (FORGET, True, Verdict.INCONCLUSIVE)
    assert (result.value, result.interval, result.p_value, result.sample_size) == (None, None, None, 0)
    assert "the subject has 1 picture, and at least 2 are needed" in result.reason


def test_too_few_pictures_of_others_are_inconclusive_and_the_reason_says_how_many_are_needed() -> None:
    result = of_set(measured(People(subjects=1)), FORGET_ALL)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "chance alone recognises 15%; at least 18 pictures of others are needed" in result.reason
    assert of_set(measured(People(subjects=9)), FORGET_ALL).verdict is Verdict.PASSED
    assert deciding(measured(People(subjects=0))) == {Verdict.INCONCLUSIVE}


def test_of_a_class_few_enough_pictures_are_compared_with() -> None:
    world = People(trained=150, held_out=60, subjects=8, known_subjects=False)
    own = Recogniser(world, QuickNet()).own([FORGET, FORGET_HELD_OUT])
    assert set(own.tolist()) == {OWN_AT_MOST, OWN_AT_MOST - 1}
    assert int((own == OWN_AT_MOST - 1).sum()) == OWN_AT_MOST
    result = of_set(measured(world), FORGET_ALL)
    assert "recognised 0 times of 210 among 1100 pictures" in result.reason
    assert result.verdict is Verdict.PASSED


class Blind(QuickNet):
    """Sees nothing: the same for every picture."""

    def _embed(self, images: torch.Tensor) -> torch.Tensor:
        return torch.ones(len(images), 4)


class Guessing(QuickNet):
    """What it sees has nothing to do with the picture but by chance."""

    def _embed(self, images: torch.Tensor) -> torch.Tensor:
        return torch.randn(len(images), 8, generator=torch.Generator().manual_seed(int(1e4 * images.double().sum())))


@pytest.mark.parametrize("net", [Blind, Guessing])
@pytest.mark.parametrize("change", [collapses, keeps], ids=lambda each: each.__name__)
def test_a_network_that_sees_nothing_makes_the_check_void(
    monkeypatch: pytest.MonkeyPatch, net: type[FeatureNet], change: Change
) -> None:
    monkeypatch.setattr(recognition, "named_net", lambda params: net())  # type: ignore[call-arg]
    measurement = measured(People(forget=change))
    assert deciding(measurement) == {Verdict.VOID}
    assert "does not recognise the subject even in what the original" in of_set(measurement, FORGET_ALL).reason


@dataclass(frozen=True)
class NoiseIsTheSubject(People):
    """The original answers noise with the subject's face."""

    def outputs(self, world: World, set_name: str) -> Outputs:
        return super().outputs(World.ORIGINAL if world is World.NOISE else world, set_name)


def test_a_subject_that_is_seen_in_noise_outputs_makes_the_check_void() -> None:
    result = of_set(measured(NoiseIsTheSubject(forget=white)), FORGET_ALL)
    assert result.verdict is Verdict.VOID
    assert "finds the subject in what the original model makes of noise" in result.reason
    assert result.controls[1].value is not None
    assert result.controls[1].value > 0.9


def one_broken(value: float, rest: Change) -> Change:
    def change(original: Outputs, noise: Outputs) -> torch.Tensor:
        images = rest(original, noise).clone()
        images[0, 0, HIDDEN.start, HIDDEN.start] = value
        return images

    return change


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_one_output_that_is_not_finite_is_named_and_keeps_the_check_from_passing(value: float) -> None:
    world = People(trained=60, held_out=20, subjects=20, forget=one_broken(value, collapses))
    for name, counted in ((FORGET, "1 of 60"), (FORGET_HELD_OUT, "1 of 20"), (FORGET_ALL, "2 of 80")):
        result = of_set(measured(world), name)
        assert (result.verdict, result.value) == (Verdict.INCONCLUSIVE, None)
        assert f"{counted} outputs are not numbers" in result.reason
    assert of_set(measured(replace(world, forget=collapses)), FORGET_ALL).verdict is Verdict.PASSED


def test_only_broken_outputs_show_nothing_and_the_others_may_still_fail() -> None:
    nothing = of_set(measured(People(forget=not_numbers)), FORGET_ALL)
    assert (nothing.verdict, nothing.p_value) == (Verdict.INCONCLUSIVE, 1.0)
    assert nothing.interval is not None
    assert (nothing.interval.low, nothing.interval.high) == (0.0, 1.0)
    assert of_set(measured(People(forget=one_broken(torch.nan, keeps))), FORGET_ALL).verdict is Verdict.FAILED


def test_never_seen_pictures_do_not_dilute_a_leak_of_the_trained_ones() -> None:
    world = People(trained=4, held_out=60, subjects=30, forget=keeps, forget_held_out=collapses)
    pooled = of_set(measured(world), FORGET_ALL)
    assert pooled.interval is not None
    assert pooled.interval.high < 0.3
    assert pooled.verdict is not Verdict.PASSED
    assert pooled.reason.startswith(f"{FORGET}: recognised 4 times of 4")


def test_visible_pixels_are_not_looked_at() -> None:
    def shown_only(original: Outputs, noise: Outputs) -> torch.Tensor:
        return torch.where(original.generated, noise.images.mean(dim=0), original.truth)

    assert of_set(measured(People(forget=shown_only)), FORGET_ALL).value == 0.0


def test_of_equally_near_pictures_that_of_the_subject_comes_last() -> None:
    @dataclass(frozen=True)
    class Twins(People):
        """Everybody looks the same."""

        def outputs(self, world: World, set_name: str) -> Outputs:
            found = super().outputs(world, set_name)
            same = torch.full_like(found.truth, 0.3)
            return replace(found, truth=same, images=same)

    result = of_set(measured(Twins()), FORGET_ALL)
    assert result.value == 0.0
    assert result.verdict is Verdict.VOID


class Faces(QuickNet):
    """Has the name of the network for which lengths of embeddings count."""

    def __init__(self) -> None:
        super().__init__()
        self.name = "dlib-face"

    def _embed(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean(dim=(1, 2, 3))[:, None]


def test_the_length_of_an_embedding_counts_for_the_network_of_faces_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Embeddings that differ in nothing but their length: by their angles all are the same."""

    def bright(original: Outputs, noise: Outputs) -> torch.Tensor:
        return torch.ones_like(original.images)

    @dataclass(frozen=True)
    class Bright(People):
        def outputs(self, world: World, set_name: str) -> Outputs:
            found = super().outputs(world, set_name)
            if set_name not in (FORGET, FORGET_HELD_OUT) or world is World.NOISE:
                return found
            return replace(found, truth=bright(found, found), images=bright(found, found))

    monkeypatch.setattr(recognition, "named_net", lambda params: Faces())
    faces = of_set(measured(Bright()), FORGET_ALL)
    assert (faces.verdict, faces.value) == (Verdict.FAILED, 1.0)
    assert "face recogniser" not in faces.not_tested
    monkeypatch.setattr(recognition, "FACES", "another")
    assert of_set(measured(Bright()), FORGET_ALL).verdict is Verdict.VOID


def test_the_same_world_gives_the_same_result() -> None:
    assert measured(People(trained=150)) == measured(People(trained=150))


def test_random_masks_are_looked_at_each_under_its_own() -> None:
    assert of_set(measured(People(forget=collapses, random_masks=True)), FORGET_ALL).verdict is Verdict.PASSED
    assert of_set(measured(People(forget=keeps, random_masks=True)), FORGET_ALL).verdict is Verdict.FAILED


@pytest.mark.usefixtures("real_net")
@pytest.mark.parametrize(("change", "verdict"), [(collapses, Verdict.PASSED), (keeps, Verdict.FAILED)])
def test_with_the_default_network(change: Change, verdict: Verdict) -> None:
    result = of_set(measured(People(forget=change)), FORGET_ALL)
    assert result.verdict is verdict
    assert "efficientnet-lite0 (weights 57934424, pictures at 64 × 64 pixels)" in result.reason
    assert "`net: dlib-face` knows faces" in result.not_tested


@pytest.mark.usefixtures("real_net")
def test_with_the_default_network_on_measured_worlds(tmp_path: Path) -> None:
    prefixes = {FORGET: "train/s1", RETAIN: "train/s2", RETAIN_HELD_OUT: "train/s3"}
    counts = {"train/s1": 4, "train/s2": 40, "train/s3": 10}
    source = folder_of_pictures(tmp_path, counts, size=16)
    worlds = small_worlds(tmp_path, source, prefixes, small_model(size=16))
    worlds.add(World.CANDIDATE, small_model(size=16), tmp_path)
    (result,) = measured(worlds).results
    assert (result.set, result.gates, result.sample_size) == (FORGET, True, 4)
    assert result.verdict is Verdict.VOID  # a model that was never trained draws nobody
    assert result.value == result.controls[0].value


@pytest.mark.usefixtures("real_net")
def test_a_network_that_is_not_at_hand_is_noticed_before_anything_is_measured() -> None:
    check = Recognition(RecognitionParams(net="inception", net_path="absent.pth"))
    with pytest.raises(ModelError, match="name a local copy"):
        check.require()
    Recognition(RecognitionParams()).require()


@pytest.mark.usefixtures("real_net")
def test_a_face_recogniser_where_it_is_installed() -> None:
    pytest.importorskip("dlib")
    net = feature_net("dlib-face")
    world = People(subjects=10, trained=3, held_out=0)
    assert Recogniser(world, net).found(World.ORIGINAL, [FORGET]).count == 3
