"""Base classes: whatever an author writes, only declared errors and right shapes come through."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from cu_audit.bundle import Bundle
from cu_audit.records import Receipt
from cu_echo.adapter import EchoAdapter
from cu_echo.params import EchoAdapterParams

from compliance_unlearn.api import (
    Batch,
    Check,
    CheckContext,
    ComplianceError,
    DataError,
    DataSource,
    Degraded,
    EvidenceSink,
    Inpaint,
    LossTerms,
    Measurement,
    ModelAdapter,
    ModelError,
    PixelStatistics,
    PluginError,
    PolicyError,
    PublishError,
    RandomMask,
    Record,
    RecordSet,
    Selector,
    Strategy,
    StrategyContext,
    WorkspaceError,
)
from compliance_unlearn.engine.worlds import MeasuredWorlds

CPU = torch.device("cpu")
SECRET = "s17"


class Wrong(EchoAdapter):
    """An adapter whose answers and failures a test chooses."""

    answer: Callable[[], Any] | None = None
    fails_in: str = ""

    def _maybe(self, method: str, right: Any) -> Any:
        if self.fails_in == method:
            raise KeyError(SECRET)
        return self.answer() if self.answer is not None and not self.fails_in else right

    def _load(self, weights: Path) -> None:
        self._maybe("load", None)
        super()._load(weights)

    def _degrade(self, images: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        if self.fails_in == "degrade":
            raise KeyError(SECRET)
        return super()._degrade(images, hidden)

    def _encode(self, inputs: Any) -> tuple[torch.Tensor, ...]:
        return self._maybe("encode", None) or super()._encode(inputs)

    def _reconstruct(self, inputs: Any) -> torch.Tensor:
        made: torch.Tensor = self._maybe("reconstruct", super()._reconstruct(inputs))
        return made

    def _encoder_tensors(self) -> frozenset[str]:
        names: frozenset[str] = self._maybe("encoder_parameters", super()._encoder_tensors())
        return names

    def _training_loss(self, images: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        loss: torch.Tensor | None = self._maybe("training_loss", None)
        return super()._training_loss(images, hidden) if loss is None else loss

    def _export(self, folder: Path) -> None:
        self._maybe("export", None)
        super()._export(folder)


@pytest.fixture
def adapter() -> Wrong:
    made = Wrong(EchoAdapterParams(size=8, width=3), RandomMask(ratio=0.5))
    return made.create(PixelStatistics((0.5,), (0.25,)), torch.Generator().manual_seed(0), CPU)


def degraded(adapter: Wrong, count: int = 4) -> Degraded:
    return adapter.degrade(torch.rand(count, 1, 8, 8), adapter.masks(count, torch.Generator().manual_seed(0)))


ACTIONS: dict[str, Callable[[Wrong, Path], object]] = {
    "load": lambda adapter, folder: adapter.load(folder, CPU),
    "degrade": lambda adapter, folder: degraded(adapter),
    "encode": lambda adapter, folder: adapter.encode(degraded(adapter)),
    "reconstruct": lambda adapter, folder: adapter.reconstruct(degraded(adapter)),
    "encoder_parameters": lambda adapter, folder: adapter.encoder_parameters(),
    "training_loss": lambda adapter, folder: adapter.training_loss(torch.rand(4, 1, 8, 8), torch.Generator()),
    "export": lambda adapter, folder: adapter.export(folder),
}


@pytest.mark.parametrize("action", ACTIONS)
def test_an_adapters_bug_becomes_a_model_error_that_quotes_nothing(adapter: Wrong, action: str, tmp_path: Path) -> None:
    adapter.fails_in = action
    with pytest.raises(ModelError, match=f"Wrong.{action} raised KeyError") as caught:
        ACTIONS[action](adapter, tmp_path)
    assert SECRET not in str(caught.value)
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_declared_error_comes_through_as_it_is(tmp_path: Path) -> None:
    absent = EchoAdapter(EchoAdapterParams(), Inpaint())
    with pytest.raises(ModelError, match="absent, damaged"):
        absent.load(tmp_path, CPU)


def test_an_adapter_that_was_never_loaded_is_a_model_error() -> None:
    empty = EchoAdapter(EchoAdapterParams(), Inpaint())
    with pytest.raises(ModelError):
        empty.degrade(torch.rand(1, 1, 16, 16), torch.ones(1, 1, 16, 16, dtype=torch.bool))


@pytest.mark.parametrize(
    ("images", "mask"),
    [((4, 1, 8, 9), (4, 1, 8, 9)), ((4, 3, 8, 8), (4, 1, 8, 8)), ((4, 1, 8, 8), (3, 1, 8, 8)), ((8, 8), (8, 8))],
)
def test_images_of_another_shape_are_refused(adapter: Wrong, images: tuple[int, ...], mask: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match="the model takes images"):
        adapter.degrade(torch.rand(images), torch.ones(mask, dtype=torch.bool))


def test_a_mask_that_is_not_boolean_is_refused(adapter: Wrong) -> None:
    with pytest.raises(ModelError, match="a mask is boolean"):
        adapter.degrade(torch.rand(4, 1, 8, 8), torch.ones(4, 1, 8, 8))


@pytest.mark.parametrize(
    "answer",
    [(torch.rand(3, 2),), (torch.rand(4, 2), torch.rand(5, 2)), torch.rand(4, 2), [torch.rand(4, 2)], ("text",)],
    ids=["too few", "second depth", "bare tensor", "list", "text"],
)
def test_features_of_another_kind_are_refused(adapter: Wrong, answer: Any) -> None:
    adapter.answer = lambda: answer
    with pytest.raises((PluginError, ModelError)):
        adapter.encode(degraded(adapter))


@pytest.mark.parametrize("shape", [(4, 1, 8, 9), (3, 1, 8, 8), (4, 3, 8, 8), (8, 8)])
def test_reconstructions_of_another_shape_are_refused(adapter: Wrong, shape: tuple[int, ...]) -> None:
    adapter.answer = lambda: torch.rand(shape)
    with pytest.raises(PluginError, match="another size"):
        adapter.reconstruct(degraded(adapter))


def test_reconstructions_are_clipped_and_say_which_pixels_were_generated(adapter: Wrong) -> None:
    given = degraded(adapter)
    adapter.answer = lambda: torch.linspace(-1, 2, 4 * 64).view(4, 1, 8, 8)
    made = adapter.reconstruct(given)
    assert (made.images.min().item(), made.images.max().item()) == (0.0, 1.0)
    assert torch.equal(made.generated, given.hidden)


def test_a_training_loss_is_a_scalar(adapter: Wrong) -> None:
    adapter.answer = lambda: torch.rand(4)
    with pytest.raises(PluginError, match="scalar"):
        adapter.training_loss(torch.rand(4, 1, 8, 8), torch.Generator())


def test_encoder_parameters_are_the_modules_own_by_name(adapter: Wrong) -> None:
    found = adapter.encoder_parameters()
    assert set(found) == {"encoder.weight", "encoder.bias"}
    assert found["encoder.weight"] is adapter.module.encoder.weight


@pytest.mark.parametrize("name", ["encoder.wait", "size"], ids=["absent", "buffer"])
def test_encoder_names_that_are_no_parameters_are_refused(adapter: Wrong, name: str) -> None:
    adapter.answer = lambda: frozenset({"encoder.weight", name})
    with pytest.raises(PluginError, match="not parameters"):
        adapter.encoder_parameters()


def test_a_replica_shares_nothing_and_is_frozen(adapter: Wrong) -> None:
    twin = adapter.replica()
    before = {name: tensor.clone() for name, tensor in twin.module.state_dict().items()}
    assert not any(parameter.requires_grad for parameter in twin.module.parameters())
    assert not twin.module.training
    assert all(parameter.requires_grad for parameter in adapter.module.parameters())
    with torch.no_grad():
        for tensor in adapter.module.state_dict().values():
            tensor.add_(1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in twin.module.state_dict().items())


def test_a_family_that_cannot_be_trained_here_says_so() -> None:
    class OnlyLoads(EchoAdapter):
        def _create(self, statistics: PixelStatistics, generator: torch.Generator) -> None:
            ModelAdapter._create(self, statistics, generator)

    with pytest.raises(ModelError, match="OnlyLoads cannot train"):
        OnlyLoads(EchoAdapterParams(), Inpaint()).create(PixelStatistics((0.5,), (0.2,)), torch.Generator(), CPU)


class BrokenStrategy(Strategy):
    answer: Any = None

    def _prepare(self, context: StrategyContext) -> None:
        raise ValueError(SECRET)

    def _objective(self, context: StrategyContext, forget: Batch, retain: Batch | None) -> LossTerms:
        if self.answer is None:
            raise ValueError(SECRET)
        terms: LossTerms = self.answer
        return terms


class BrokenCheck(Check):
    answer: Any = None

    def _run(self, context: CheckContext) -> Measurement:
        if self.answer is None:
            raise ValueError(SECRET)
        measurement: Measurement = self.answer
        return measurement


class BrokenSink(EvidenceSink):
    def _publish(self, bundle: Bundle) -> Receipt:
        raise ConnectionError(SECRET)


class BrokenSource(DataSource):
    def _resolve(self, selector: Selector | None) -> RecordSet:
        raise ValueError(SECRET)

    def _missing_values(self, selector: Selector) -> int:
        raise ValueError(SECRET)

    def _open(self, record: Record) -> Any:
        raise ValueError(SECRET)


NOTHING: Any = None
"""Given where a broken plugin raises before it looks."""


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: BrokenStrategy().prepare(NOTHING), PluginError),
        (lambda: BrokenStrategy().objective(NOTHING, NOTHING, None), PluginError),
        (lambda: BrokenCheck().run(NOTHING), PluginError),
        (lambda: BrokenSink().publish(NOTHING), PublishError),
        (lambda: BrokenSource(NOTHING).resolve(None), DataError),
        (lambda: BrokenSource(NOTHING).missing_values(NOTHING), DataError),
        (lambda: BrokenSource(NOTHING).open(NOTHING), DataError),
    ],
)
def test_a_plugins_bug_becomes_the_error_of_its_kind(call: Callable[[], object], error: type[ComplianceError]) -> None:
    with pytest.raises(error, match="run again with --debug") as caught:
        call()
    assert type(caught.value) is error
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("answer", [LossTerms({}), {"forget": torch.zeros(())}, 0.5])
def test_an_objective_returns_loss_terms(answer: Any) -> None:
    strategy = BrokenStrategy()
    strategy.answer = answer
    with pytest.raises(PluginError, match="LossTerms"):
        strategy.objective(NOTHING, NOTHING, None)


def test_a_check_returns_a_measurement(tmp_path: Path) -> None:
    check = BrokenCheck()
    check.answer = ["passed"]
    with pytest.raises(PluginError, match="must return a Measurement"):
        check.run(NOTHING)
    check.answer = Measurement()
    assert check.run(NOTHING) == Measurement()


def test_an_interrupt_is_not_swallowed() -> None:
    class Interrupted(BrokenSink):
        def _publish(self, bundle: Bundle) -> Receipt:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Interrupted().publish(NOTHING)


def test_the_total_of_loss_terms_is_their_sum() -> None:
    one, other = torch.tensor(2.0, requires_grad=True), torch.tensor(0.5)
    total = LossTerms({"forget": one * 3, "retain": other}).total
    assert total.item() == 6.5
    assert LossTerms({"alone": other}).total is other
    total.backward()  # type: ignore[no-untyped-call]
    assert one.grad == 3.0


def test_each_error_knows_its_exit_code() -> None:
    codes = {error: error.exit_code for error in ComplianceError.__subclasses__()}
    assert codes == {
        PolicyError: 2,
        DataError: 4,
        ModelError: 4,
        WorkspaceError: 4,
        PluginError: 5,
        PublishError: 6,
    }


def test_the_measured_worlds_are_what_checks_expect() -> None:
    context: type[CheckContext] = MeasuredWorlds
    assert context.outputs.__doc__
