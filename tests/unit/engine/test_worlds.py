"""The measured worlds: computed once, under the same masks, reproducible from the seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from cu_audit.records import FORGET, FORGET_ALL, FORGET_HELD_OUT, RETAIN
from cu_echo.adapter import EchoAdapter

from compliance_unlearn.api import FeatureNet, RandomMask, Views, World
from compliance_unlearn.engine import worlds as worlds_module
from compliance_unlearn.engine.images import RecordImages
from compliance_unlearn.engine.noise import identity_noise
from compliance_unlearn.engine.outputs_on_disk import OutputsOnDisk
from compliance_unlearn.engine.worlds import MeasuredWorlds, reconstruct
from tests.unit.engine.small import folder_of_pictures, small_model, small_worlds

PREFIXES = {FORGET: "train/s1", FORGET_HELD_OUT: "test/s1", RETAIN: "train/s2"}


class CountingAdapter(EchoAdapter):
    """Counts the images that it reconstructed."""

    reconstructed = 0

    def _reconstruct(self, inputs: Any) -> torch.Tensor:
        self.reconstructed += len(inputs)
        return super()._reconstruct(inputs)


class WholeImageAdapter(EchoAdapter):
    """Makes all of the image anew, as a VQ-GAN does."""

    def _generated(self, hidden: torch.Tensor) -> torch.Tensor:
        return torch.ones_like(hidden)


def measured(
    folder: Path,
    seed: int = 0,
    sets: tuple[str, ...] = tuple(PREFIXES),
    model: type[EchoAdapter] = EchoAdapter,
    kept: OutputsOnDisk | None = None,
) -> MeasuredWorlds:
    """Worlds over 5 + 2 + 9 pictures."""
    source = folder_of_pictures(folder, {"train/s1": 5, "test/s1": 2, "train/s2": 9})
    frozen = small_model(RandomMask(ratio=0.5))
    original = model(frozen.params, frozen.task)
    original.network = frozen.network
    return small_worlds(folder, source, {name: PREFIXES[name] for name in sets}, original, seed=seed, kept=kept)


@pytest.fixture
def worlds(tmp_path: Path) -> MeasuredWorlds:
    made = measured(tmp_path)
    made.add(World.CANDIDATE, small_model(RandomMask(ratio=0.5), seed=1), tmp_path / "candidate")
    return made


def test_counts_are_those_of_the_sets_and_absent_sets_are_not_listed(worlds: MeasuredWorlds) -> None:
    assert dict(worlds.counts) == {FORGET: 5, FORGET_HELD_OUT: 2, RETAIN: 9}
    assert worlds.encoder_tensors == {"encoder.weight", "encoder.bias"}


def test_each_world_is_computed_once(tmp_path: Path) -> None:
    worlds = measured(tmp_path)
    frozen = small_model(RandomMask(ratio=0.5), seed=1)
    candidate = CountingAdapter(frozen.params, frozen.task)
    candidate.network = frozen.network
    worlds.add(World.CANDIDATE, candidate, tmp_path)
    done: list[int] = []
    worlds.measure(World.CANDIDATE, done.append)
    first = worlds.outputs(World.CANDIDATE, FORGET)
    assert worlds.outputs(World.CANDIDATE, FORGET) is first
    worlds.outputs(World.CANDIDATE, FORGET_ALL)
    assert (candidate.reconstructed, sum(done)) == (16, 16)


def test_masks_truth_and_subjects_are_the_same_in_every_world(worlds: MeasuredWorlds) -> None:
    for name in (*PREFIXES, FORGET_ALL):
        one, *others = [worlds.outputs(world, name) for world in sorted(worlds.worlds)]
        for other in others:
            assert torch.equal(one.generated, other.generated)
            assert torch.equal(one.truth, other.truth)
            assert torch.equal(one.subjects, other.subjects)
            assert not torch.equal(one.images, other.images)


def test_outputs_are_what_the_model_makes_of_the_masked_pictures(worlds: MeasuredWorlds) -> None:
    found = worlds.outputs(World.CANDIDATE, RETAIN)
    model = small_model(RandomMask(ratio=0.5), seed=1)
    views = Views(found.generated, torch.zeros(len(found), dtype=torch.long))
    expected = model.reconstruct(model.degrade(found.truth, views)).images
    assert torch.equal(found.images, expected)
    assert [record.id.split("-")[0] for record in worlds.records(RETAIN)] == ["train/s2"] * 9


def test_chunks_do_not_show_in_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model()
    images = torch.rand(10, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    views = model.views(10, torch.Generator())
    whole = reconstruct(model, images, views)
    monkeypatch.setattr(worlds_module, "CHUNK", 3)
    chunked = reconstruct(model, images, views)
    assert torch.allclose(chunked.images, whole.images, atol=1e-6)
    assert torch.equal(chunked.generated, views.hidden)
    assert not chunked.images.requires_grad


def test_pixels_that_count_as_generated_are_those_that_the_model_names(tmp_path: Path) -> None:
    worlds = measured(tmp_path, model=WholeImageAdapter)
    for made in (
        worlds.outputs(World.ORIGINAL, FORGET),
        worlds.outputs(World.NOISE, RETAIN),
        worlds.noise_outputs("one", 3),
    ):
        assert made.generated.shape == (len(made), 1, 8, 8)
        assert made.generated.all()


def test_forget_all_is_the_union_of_both_forget_sets(worlds: MeasuredWorlds) -> None:
    union = worlds.outputs(World.CANDIDATE, FORGET_ALL)
    parts = [worlds.outputs(World.CANDIDATE, name) for name in (FORGET, FORGET_HELD_OUT)]
    for field in ("truth", "images", "generated", "subjects"):
        assert torch.equal(getattr(union, field), torch.cat([getattr(part, field) for part in parts]))


def test_forget_all_is_the_forget_set_where_nothing_was_held_out(tmp_path: Path) -> None:
    worlds = measured(tmp_path, sets=(FORGET, RETAIN))
    assert worlds.outputs(World.ORIGINAL, FORGET_ALL) is worlds.outputs(World.ORIGINAL, FORGET)


def test_the_noise_world_of_a_set_depends_on_no_picture_of_it(tmp_path: Path, worlds: MeasuredWorlds) -> None:
    here = worlds.outputs(World.NOISE, FORGET)
    model = small_model(RandomMask(ratio=0.5))
    for path in (tmp_path / "train").iterdir():
        path.unlink()
    fed = identity_noise(model).sample(5, worlds.generator(f"noise in place of {FORGET}"))
    views = Views(here.generated, torch.zeros(5, dtype=torch.long))
    assert torch.equal(here.images, reconstruct(model, fed, views).images)


def test_parts_of_noise_share_nothing_and_come_back_the_same(tmp_path: Path, worlds: MeasuredWorlds) -> None:
    one, other = worlds.noise_outputs("one", 20), worlds.noise_outputs("other", 20)
    assert len(one) == 20
    assert not torch.isclose(one.truth[:, None], other.truth[None]).flatten(2).all(dim=2).any()
    assert not torch.equal(one.generated, other.generated)
    assert (one.subjects == -1).all()
    again = measured(tmp_path).noise_outputs("one", 20)
    assert torch.equal(one.images, again.images)
    assert not torch.equal(one.truth, measured(tmp_path, seed=1).noise_outputs("one", 20).truth)
    assert worlds.noise_outputs("one", 20) is one


def test_noise_parts_are_what_the_original_makes_of_them(worlds: MeasuredWorlds) -> None:
    part = worlds.noise_outputs("one", 6)
    model = small_model(RandomMask(ratio=0.5))
    views = Views(part.generated, torch.zeros(6, dtype=torch.long))
    assert torch.equal(part.images, reconstruct(model, part.truth, views).images)


def test_a_large_set_is_sampled_by_the_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worlds_module, "MEASURED_AT_MOST", 4)
    one, same, other = (measured(tmp_path, seed=seed) for seed in (0, 0, 5))
    assert dict(one.counts) == {FORGET: 4, FORGET_HELD_OUT: 2, RETAIN: 4}
    assert len(one.outputs(World.ORIGINAL, RETAIN)) == len(one.records(RETAIN)) == 4
    assert one.records(RETAIN) == same.records(RETAIN)
    assert one.records(RETAIN) != other.records(RETAIN)
    for record, truth in zip(one.records(RETAIN), one.outputs(World.ORIGINAL, RETAIN).truth, strict=True):
        source = folder_of_pictures(tmp_path, {})
        own = RecordImages(source, [record], small_model().image_shape).all()[0]
        assert torch.equal(own, truth)


def test_a_sampled_set_says_how_large_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worlds_module, "MEASURED_AT_MOST", 4)
    worlds = measured(tmp_path)
    assert dict(worlds.totals) == {FORGET: 5, FORGET_HELD_OUT: 2, RETAIN: 9}


def weights(folder: Path, content: bytes) -> Path:
    """A folder of weights, as far as its digest goes."""
    folder.mkdir(exist_ok=True)
    (folder / "echo.safetensors").write_bytes(content)
    return folder


def test_outputs_of_a_killed_run_are_read_and_not_computed_again(tmp_path: Path) -> None:
    state, pictures = tmp_path / "state", tmp_path / "pictures"
    first = measured(pictures, kept=OutputsOnDisk(state, "run"))
    known = [first.outputs(World.ORIGINAL, FORGET), first.noise_outputs("part", 7)]
    again = measured(pictures, model=CountingAdapter, kept=OutputsOnDisk(state, "run"))
    read = [again.outputs(World.ORIGINAL, FORGET), again.noise_outputs("part", 7)]
    for one, other in zip(known, read, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.generated, other.generated)
    counting = again._models[World.ORIGINAL]
    assert isinstance(counting, CountingAdapter)
    assert counting.reconstructed == 0
    again.outputs(World.ORIGINAL, RETAIN)
    assert counting.reconstructed == 9


def test_outputs_of_other_weights_another_run_or_a_broken_file_are_not_taken(tmp_path: Path) -> None:
    state, pictures = tmp_path / "state", tmp_path / "pictures"

    def reconstructed(kept: OutputsOnDisk, folder: Path) -> int:
        worlds = measured(pictures, kept=kept)
        frozen = small_model(RandomMask(ratio=0.5), seed=1)
        candidate = CountingAdapter(frozen.params, frozen.task)
        candidate.network = frozen.network
        worlds.add(World.CANDIDATE, candidate, folder)
        worlds.outputs(World.CANDIDATE, FORGET)
        return candidate.reconstructed

    one, other = weights(tmp_path / "one", b"one"), weights(tmp_path / "other", b"other")
    run = OutputsOnDisk(state, "run")
    assert [reconstructed(run, one), reconstructed(run, one)] == [5, 0]
    assert reconstructed(run, other) == 5
    assert reconstructed(OutputsOnDisk(state, "another run"), one) == 5
    for file in state.iterdir():
        file.write_bytes(file.read_bytes()[:-10])
    assert reconstructed(run, one) == 5


class Wide(EchoAdapter):
    """Tells many features at a first depth, and few at a second."""

    def _encode(self, inputs: Any) -> tuple[torch.Tensor, ...]:
        (features,) = super()._encode(inputs)
        places = torch.arange(2000.0).view(2, 1000)
        return features.mean(dim=(1, 2, 3))[:, None, None] + places, features


def test_of_wide_features_some_places_are_kept_the_same_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = measured(tmp_path, model=Wide).features(World.ORIGINAL, RETAIN)
    assert whole[0].shape == (9, 2000)
    monkeypatch.setattr(worlds_module, "FEATURES_AT_MOST", 500)
    some = measured(tmp_path, model=Wide)
    wide, narrow = some.features(World.ORIGINAL, RETAIN)
    assert torch.equal(narrow, whole[1])
    assert wide.shape == (9, 500)
    places = [row.tolist() for row in wide - wide[:, :1]]
    assert all(row == pytest.approx(places[0], abs=1e-2) for row in places)
    offsets = (wide[0] - whole[0][0, 0]).round()
    assert len(set(offsets.tolist())) == 500
    assert torch.allclose(wide, whole[0][:, offsets.long()])
    noise = some.features(World.NOISE, FORGET)[0]
    assert torch.allclose(noise - noise[:, :1], (wide - wide[:, :1])[:5], atol=1e-2)
    rows = torch.tensor([7, 2])
    assert torch.allclose(measured(tmp_path, model=Wide).features(World.ORIGINAL, RETAIN, rows)[0], wide[rows])


def test_a_number_that_is_not_finite_shows_although_its_place_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(Wide):
        """One picture has one feature that is infinite."""

        def _encode(self, inputs: Any) -> tuple[torch.Tensor, ...]:
            wide, narrow = super()._encode(inputs)
            wide[3, 1, 17] = torch.inf
            return wide, narrow

    monkeypatch.setattr(worlds_module, "FEATURES_AT_MOST", 1)
    wide, narrow = measured(tmp_path, model=Broken).features(World.ORIGINAL, RETAIN)
    assert torch.isnan(wide).flatten().tolist() == [row == 3 for row in range(9)]
    assert torch.isfinite(narrow).all()


class CountingNet(FeatureNet):
    """Mean and deviation of each picture; counts the pictures that it saw."""

    seen = 0

    def _embed(self, images: torch.Tensor) -> torch.Tensor:
        self.seen += len(images)
        return torch.stack([images.mean(dim=(1, 2, 3)), images.std(dim=(1, 2, 3))], dim=1)


def test_embeddings_of_a_killed_run_are_read_where_net_and_pictures_are_the_same(tmp_path: Path) -> None:
    state, pictures = tmp_path / "state", tmp_path / "pictures"

    def embedded(name: str, sha256: str, world: World, edge: int = 8) -> tuple[torch.Tensor, int]:
        worlds, net = measured(pictures, kept=OutputsOnDisk(state, "run")), CountingNet(name, sha256, edge)
        found = worlds.embeddings(net, worlds.outputs(world, RETAIN))
        assert worlds.embeddings(net, worlds.outputs(world, RETAIN)) is found
        return found, net.seen

    first, seen = embedded("small", "0" * 64, World.ORIGINAL)
    assert seen == 9
    again, seen = embedded("small", "0" * 64, World.ORIGINAL)
    assert torch.equal(again, first)
    assert seen == 0
    assert embedded("small", "1" * 64, World.ORIGINAL)[1] == 9
    assert embedded("other", "0" * 64, World.ORIGINAL)[1] == 9
    assert embedded("small", "0" * 64, World.ORIGINAL, edge=16)[1] == 9
    for file in state.iterdir():
        file.write_bytes(file.read_bytes()[:-10])
    assert embedded("small", "0" * 64, World.ORIGINAL)[1] == 9


def test_what_a_network_makes_of_the_pictures_themselves_is_not_kept(tmp_path: Path) -> None:
    state = tmp_path / "state"
    for _ in range(2):
        worlds, net = measured(tmp_path / "pictures", kept=OutputsOnDisk(state, "run")), CountingNet("small", "0", 8)
        worlds.embeddings(net, worlds.outputs(World.TRUTH, RETAIN))
        assert net.seen == 9
    assert len(list(state.iterdir())) == 1  # the outputs of the original, whose masks the truth takes over


def test_features_of_a_killed_run_are_read_and_not_computed_again(tmp_path: Path) -> None:
    class Encoding(Wide):
        """Counts the pictures that it encoded."""

        encoded = 0

        def _encode(self, inputs: Any) -> tuple[torch.Tensor, ...]:
            self.encoded += len(inputs)
            return super()._encode(inputs)

    def features(kept: OutputsOnDisk | None, world: World) -> tuple[tuple[torch.Tensor, ...], int]:
        worlds = measured(tmp_path / "pictures", model=Encoding, kept=kept)
        found, model = worlds.features(world, RETAIN), worlds._models[World.ORIGINAL]
        assert isinstance(model, Encoding)
        return found, model.encoded

    run = OutputsOnDisk(tmp_path / "state", "run")
    computed, first, again = (features(kept, World.ORIGINAL) for kept in (None, run, run))
    assert [seen for _, seen in (computed, first, again)] == [9, 9, 0]
    for one, two, three in zip(computed[0], first[0], again[0], strict=True):
        assert torch.equal(one, two)
        assert torch.equal(two, three)
    assert features(run, World.NOISE)[1] == 9


def test_room_for_features_is_that_of_all_records_to_forget(tmp_path: Path) -> None:
    worlds = measured(tmp_path, model=Wide)
    assert worlds.bytes_of_features == sum(depth.nbytes for depth in worlds.features(World.ORIGINAL, FORGET))
