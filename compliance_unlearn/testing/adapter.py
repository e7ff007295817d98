"""Conformance of a model adapter.

Inherit `ModelAdapterConformance`, give it two things, and pytest runs every test below::

    class TestMyAdapter(ModelAdapterConformance):
        def make_adapter(self, task):       # a new adapter, nothing loaded
            return MyAdapter(MyParams(), task)

        @pytest.fixture
        def weights(self, tmp_path):        # a folder that your adapter can load
            ...
"""
# ruff: noqa: D102 - the name of a test is its sentence

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from compliance_unlearn.api import (
    Colourise,
    Degraded,
    Inpaint,
    ModelAdapter,
    ModelError,
    Outpaint,
    PixelStatistics,
    RandomMask,
    SuperResolve,
    Task,
    Views,
)
from compliance_unlearn.api.task import LUMA

CPU = torch.device("cpu")
ALL_TASKS = (Inpaint(), Outpaint(), RandomMask(ratio=0.5))

ROUNDING = 1e-4
"""Means and brightnesses of different pixels are equal up to rounding; masked pixels must not matter in any bit."""


class ModelAdapterConformance:
    """What the core, the strategies and the checks rely on in every model adapter.

    Attributes:
        tasks: the tasks that the adapter supports; every test runs under each of them.
        trains: whether the adapter can make a new model; tests of `create` are skipped where it cannot.
    """

    tasks: tuple[Task, ...] = ALL_TASKS
    trains: bool = True

    # -- what an author gives ----------------------------------------------------------------------------------------

    def make_adapter(self, task: Task) -> ModelAdapter:
        """A new adapter for a task, before `load`."""
        raise NotImplementedError

    @pytest.fixture
    def weights(self, tmp_path: Path) -> Path:
        """A folder with weights that the adapter loads; keep the model small."""
        raise NotImplementedError

    # -- helpers -----------------------------------------------------------------------------------------------------

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run tests that ask for ``task`` once for each task."""
        if "task" in metafunc.fixturenames:
            metafunc.parametrize("task", self.tasks, ids=[task.kind for task in self.tasks])

    @pytest.fixture
    def adapter(self, weights: Path, task: Task) -> ModelAdapter:
        """The adapter with its weights."""
        return self.make_adapter(task).load(weights, CPU)

    # -- images and masks --------------------------------------------------------------------------------------------

    def test_encode_gives_one_row_an_image_at_each_depth(self, adapter: ModelAdapter) -> None:
        features = adapter.encode(degraded(adapter, images(adapter, 3)))
        assert features
        assert all(len(part) == 3 and part.isfinite().all() for part in features)

    def test_reconstruct_gives_images_between_black_and_white(self, adapter: ModelAdapter) -> None:
        batch = images(adapter, 3)
        with torch.no_grad():
            made = adapter.reconstruct(degraded(adapter, batch))
        assert made.images.shape == batch.shape
        assert made.images.min() >= 0.0
        assert made.images.max() <= 1.0
        assert made.generated.any()
        assert len(set(made.generated.flatten(1).sum(dim=1).tolist())) == 1

    def test_what_the_task_hides_reaches_neither_features_nor_generated_pixels(self, adapter: ModelAdapter) -> None:
        batch = images(adapter, 3)
        views = adapter.views(3, generator(1))
        other = seen_alike(adapter.task, batch, views)
        rounding = ROUNDING if isinstance(adapter.task, SuperResolve | Colourise) else 0.0
        assert (batch - other).abs().max() > 0.01
        with torch.no_grad():
            first, second = adapter.degrade(batch, views), adapter.degrade(other, views)
            for one, two in zip(adapter.encode(first), adapter.encode(second), strict=True):
                torch.testing.assert_close(one, two, rtol=0, atol=rounding)
            made, again = adapter.reconstruct(first), adapter.reconstruct(second)
        generated = made.generated.expand_as(batch)
        torch.testing.assert_close(made.images[generated], again.images[generated], rtol=0, atol=rounding)

    def test_visible_pixels_reach_the_features(self, adapter: ModelAdapter) -> None:
        views = adapter.views(1, generator(1))
        with torch.no_grad():
            first = adapter.encode(adapter.degrade(images(adapter, 1), views))
            second = adapter.encode(adapter.degrade(1.0 - images(adapter, 1), views))
        assert not same(first, second)

    def test_noise_beyond_black_and_white_is_not_clipped(self, adapter: ModelAdapter) -> None:
        views = adapter.views(2, generator(1))
        noise = 0.5 + 2.0 * torch.randn(images(adapter, 2).shape, generator=generator(2))
        with torch.no_grad():
            raw = adapter.encode(adapter.degrade(noise, views))
            clipped = adapter.encode(adapter.degrade(noise.clamp(0.0, 1.0), views))
        assert all(part.isfinite().all() for part in raw)
        assert not same(raw, clipped)

    def test_the_same_input_gives_the_same_bits(self, adapter: ModelAdapter) -> None:
        inputs = degraded(adapter, images(adapter, 2))
        with torch.no_grad():
            assert same(adapter.encode(inputs), adapter.encode(inputs))
            assert torch.equal(adapter.reconstruct(inputs).images, adapter.reconstruct(inputs).images)

    def test_no_global_generator_is_touched(self, adapter: ModelAdapter) -> None:
        adapter.module.train()
        before = torch.random.get_rng_state()
        inputs = degraded(adapter, images(adapter, 2))
        adapter.encode(inputs)
        adapter.reconstruct(inputs)
        adapter.training_loss(images(adapter, 2), generator(3))
        assert torch.equal(before, torch.random.get_rng_state())

    # -- encoder and decoder -----------------------------------------------------------------------------------------

    def test_the_decoder_knows_the_features_and_nothing_else_of_the_encoder(self, adapter: ModelAdapter) -> None:
        batch, views = images(adapter, 2), adapter.views(2, generator(1))
        with torch.no_grad():
            features = tuple(part.clone() for part in adapter.encode(adapter.degrade(batch, views)))
            before = adapter.decode(adapter.degrade(batch, views), features)
            change_encoder(adapter)
            adapter.encode(adapter.degrade(1.0 - batch, views))
            after = adapter.decode(adapter.degrade(batch, views), features)
        assert torch.equal(before, after)

    def test_other_features_give_other_generated_pixels(self, adapter: ModelAdapter) -> None:
        inputs = degraded(adapter, images(adapter, 2))
        with torch.no_grad():
            features = adapter.encode(inputs)
            first = adapter.decode(inputs, features)
            second = adapter.decode(inputs, tuple(disturbed(part) for part in features))
            generated = adapter.reconstruct(inputs).generated.expand_as(first)
        assert not torch.equal(first[generated], second[generated])

    def test_reconstructions_come_from_the_encoder(self, adapter: ModelAdapter) -> None:
        inputs = degraded(adapter, images(adapter, 2))
        with torch.no_grad():
            generated = adapter.reconstruct(inputs).generated.expand_as(images(adapter, 2))
            # Before clipping, since a model that was never trained may be black before and after.
            before = adapter._reconstruct(inputs.inputs)
            change_encoder(adapter)
            after = adapter._reconstruct(inputs.inputs)
        assert not torch.equal(before[generated], after[generated])

    def test_a_reconstruction_is_what_decode_makes_of_encode(self, adapter: ModelAdapter) -> None:
        if adapter.samples:
            pytest.skip("the adapter says that it samples")
        inputs = degraded(adapter, images(adapter, 2))
        with torch.no_grad():
            decoded = adapter.decode(inputs, adapter.encode(inputs)).float().clamp(0.0, 1.0)
            torch.testing.assert_close(adapter.reconstruct(inputs).images, decoded)

    def test_gradients_flow_from_the_image_to_every_feature(self, adapter: ModelAdapter) -> None:
        inputs = degraded(adapter, images(adapter, 2))
        features = tuple(part.detach().requires_grad_() for part in adapter.encode(inputs))
        adapter.decode(inputs, features).pow(2).sum().backward()  # type: ignore[no-untyped-call]  # torch's
        assert all(part.grad is not None and part.grad.any() for part in features)
        assert all(parameter.grad is None for parameter in adapter.encoder_parameters().values())

    # -- parameters --------------------------------------------------------------------------------------------------

    def test_the_encoder_is_a_true_part_of_the_state_dict(self, adapter: ModelAdapter) -> None:
        encoder, state = adapter.encoder_parameters(), adapter.module.state_dict()
        assert encoder
        assert encoder.keys() < state.keys()
        assert all(state[name].data_ptr() == parameter.data_ptr() for name, parameter in encoder.items())

    def test_gradients_flow_from_the_features_to_the_encoder_alone(self, adapter: ModelAdapter) -> None:
        features = adapter.encode(degraded(adapter, images(adapter, 2)))
        # A plain sum would be constant behind a normalisation layer.
        sum(part.pow(3).sum() for part in features).backward()  # type: ignore[union-attr]  # there is a feature
        reached = {name for name, parameter in adapter.module.named_parameters() if parameter.grad is not None}
        trainable = {name for name, parameter in adapter.encoder_parameters().items() if parameter.requires_grad}
        assert trainable
        assert reached == trainable

    def test_training_loss_is_a_finite_scalar_that_follows_its_generator(self, adapter: ModelAdapter) -> None:
        batch = images(adapter, 2)
        loss = adapter.training_loss(batch, generator(5))
        assert loss.shape == ()
        assert loss.isfinite()
        assert torch.equal(loss, adapter.training_loss(batch, generator(5)))

    def test_a_replica_is_frozen_and_shares_nothing(self, adapter: ModelAdapter) -> None:
        twin = adapter.replica()
        assert not any(parameter.requires_grad for parameter in twin.module.parameters())
        own = {tensor.data_ptr() for tensor in adapter.module.state_dict().values()}
        assert not own & {tensor.data_ptr() for tensor in twin.module.state_dict().values()}
        inputs = degraded(adapter, images(adapter, 2))
        with torch.no_grad():
            assert same(adapter.encode(inputs), twin.encode(inputs))
        assert any(parameter.requires_grad for parameter in adapter.module.parameters())

    def test_the_state_dict_can_be_put_back(self, adapter: ModelAdapter) -> None:
        saved = {name: tensor.clone() for name, tensor in adapter.module.state_dict().items()}
        with torch.no_grad():
            for parameter in adapter.encoder_parameters().values():
                parameter.add_(1.0)
        adapter.module.load_state_dict(saved)
        assert same_state(adapter, saved)

    # -- files -------------------------------------------------------------------------------------------------------

    def test_export_and_load_give_the_same_bits(self, adapter: ModelAdapter, task: Task, tmp_path: Path) -> None:
        folder = empty(tmp_path / "export")
        adapter.export(folder)
        again = self.make_adapter(task).load(folder, CPU)
        assert same_state(again, adapter.module.state_dict())
        assert (again.image_shape, again.statistics, again.cell) == (
            adapter.image_shape,
            adapter.statistics,
            adapter.cell,
        )

    def test_export_holds_safetensors_and_json_only(self, adapter: ModelAdapter, tmp_path: Path) -> None:
        folder = empty(tmp_path / "export")
        adapter.export(folder)
        files = [path for path in folder.rglob("*") if path.is_file()]
        assert any(path.suffix == ".safetensors" for path in files)
        assert {path.suffix for path in files} <= {".safetensors", ".json"}
        for path in files:
            if path.suffix == ".json":
                json.loads(path.read_bytes())

    def test_weights_files_name_tensors_as_the_state_dict_does(self, adapter: ModelAdapter, tmp_path: Path) -> None:
        folder = empty(tmp_path / "export")
        adapter.export(folder)
        assert stored_names(folder) == set(adapter.module.state_dict())

    def test_equal_weights_give_equal_files(self, adapter: ModelAdapter, tmp_path: Path) -> None:
        first, second = empty(tmp_path / "first"), empty(tmp_path / "second")
        adapter.export(first)
        adapter.replica().export(second)
        assert contents(first) == contents(second)

    def test_a_changed_encoder_leaves_every_other_tensor_alone(self, adapter: ModelAdapter, tmp_path: Path) -> None:
        before, after = empty(tmp_path / "before"), empty(tmp_path / "after")
        adapter.export(before)
        encoder = adapter.encoder_parameters()
        with torch.no_grad():
            for parameter in encoder.values():
                parameter.add_(1.0)
        adapter.export(after)
        old, new = stored_tensors(before), stored_tensors(after)
        assert old.keys() == new.keys()
        assert {name for name in old if not torch.equal(old[name], new[name])} == set(encoder)

    @pytest.mark.parametrize("kept", [0.0, 0.001, 0.5, 0.999])
    def test_truncated_weights_are_refused(self, weights: Path, kept: float) -> None:
        for path in weights.rglob("*.safetensors"):
            path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
        with pytest.raises(ModelError):
            self.make_adapter(self.tasks[0]).load(weights, CPU)

    def test_pickles_are_refused_unread(self, weights: Path, tmp_path: Path) -> None:
        trap = tmp_path / "trap"
        for path in list(weights.rglob("*.safetensors")):
            path.with_suffix(".bin").write_bytes(pickle.dumps(Trap(trap)))
            path.write_bytes(pickle.dumps(Trap(trap)))
        with pytest.raises(ModelError):
            self.make_adapter(self.tasks[0]).load(weights, CPU)
        for path in list(weights.rglob("*.safetensors")):
            path.unlink()
        with pytest.raises(ModelError):
            self.make_adapter(self.tasks[0]).load(weights, CPU)
        assert not trap.exists()

    def test_an_absent_folder_is_refused(self, weights: Path) -> None:
        shutil.rmtree(weights)
        with pytest.raises(ModelError):
            self.make_adapter(self.tasks[0]).load(weights, CPU)

    # -- new models --------------------------------------------------------------------------------------------------

    def test_new_models_follow_their_generator_alone(self, adapter: ModelAdapter, task: Task) -> None:
        if not self.trains:
            pytest.skip("the adapter says that it cannot make new models")
        statistics = adapter.statistics
        before = torch.random.get_rng_state()
        first, second, other = (self.new_model(task, statistics, seed) for seed in (1, 1, 2))
        assert torch.equal(before, torch.random.get_rng_state())
        assert same_state(second, first.module.state_dict())
        assert not same_state(other, first.module.state_dict())
        assert first.statistics == statistics
        unmade = self.make_adapter(task)
        assert (unmade.image_shape, unmade.cell) == (first.image_shape, first.cell)

    def new_model(self, task: Task, statistics: PixelStatistics, seed: int) -> ModelAdapter:
        """A model made by `create`."""
        return self.make_adapter(task).create(statistics, generator(seed), CPU)


class Trap:
    """Unpickling this makes a file: proof that somebody unpickled it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
        return Path.touch, (self.path,)


def generator(seed: int) -> torch.Generator:
    """A seeded generator on the CPU."""
    return torch.Generator().manual_seed(seed)


def images(adapter: ModelAdapter, count: int) -> torch.Tensor:
    """Random images ``[count, channels, height, width]`` in [0, 1], always the same."""
    shape = adapter.image_shape
    return torch.rand(count, shape.channels, shape.height, shape.width, generator=generator(0))


def seen_alike(task: Task, batch: torch.Tensor, views: Views) -> torch.Tensor:
    """Other images of which the task shows the same: T(x) is equal up to rounding."""
    if isinstance(task, SuperResolve):
        count, channels, height, width = batch.shape
        squares = (height // task.factor, task.factor, width // task.factor, task.factor)
        return batch.view(count, channels, *squares).flip(3, 5).view_as(batch)
    if isinstance(task, Colourise):
        return batch + 0.2 * torch.tensor([LUMA[2], 0.0, -LUMA[0]])[:, None, None]
    return torch.where(views.hidden, 1.0 - batch, batch)


def degraded(adapter: ModelAdapter, batch: torch.Tensor) -> Degraded:
    """T(x) under the adapter's task."""
    return adapter.degrade(batch, adapter.views(len(batch), generator(1)))


def change_encoder(adapter: ModelAdapter) -> None:
    """Change every tensor of the encoder beyond recognition."""
    for parameter in adapter.encoder_parameters().values():
        parameter.add_(torch.randn(parameter.shape, generator=generator(4)).to(parameter))


def disturbed(features: torch.Tensor) -> torch.Tensor:
    """Features of one depth with noise of more than their own size."""
    noise = torch.randn(features.shape, generator=generator(5)).to(features)
    return features + (1.0 + features.std()) * noise


def same(first: tuple[torch.Tensor, ...], second: tuple[torch.Tensor, ...]) -> bool:
    """Equal in every bit at every depth."""
    return len(first) == len(second) and all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def same_state(adapter: ModelAdapter, state: dict[str, torch.Tensor]) -> bool:
    """Whether the adapter's tensors are those of ``state``."""
    own = adapter.module.state_dict()
    return own.keys() == state.keys() and all(torch.equal(own[name], state[name]) for name in own)


def empty(folder: Path) -> Path:
    """Make a folder."""
    folder.mkdir(parents=True)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Bytes of every file below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def stored_tensors(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of all safetensors files below a folder."""
    from safetensors.torch import load

    return {name: tensor for path in folder.rglob("*.safetensors") for name, tensor in load(path.read_bytes()).items()}


def stored_names(folder: Path) -> set[str]:
    """Names of all tensors of all safetensors files below a folder."""
    return set(stored_tensors(folder))
