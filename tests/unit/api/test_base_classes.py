"""Base classes: whatever an author writes, only declared errors and right shapes come through."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

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
    ImageShape,
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
    Views,
    WorkspaceError,
)
from compliance_unlearn.engine.worlds import MeasuredWorlds

CPU = torch.device("cpu")
SECRET = "s17"
T = TypeVar("T")


class Wrong(EchoAdapter):
    """An adapter whose answers and failures a test chooses."""

    answer: Callable[[], Any] | None = None
    answers_in: str = ""
    fails_in: str = ""
    described: Mapping[str, Any] = MappingProxyType({})

    def _maybe(self, method: str, right: Callable[[], Any]) -> Any:
        if self.fails_in == method:
            raise KeyError(SECRET)
        return self.answer() if self.answer is not None and not self.fails_in else right()

    @property
    def image_shape(self) -> ImageShape:
        return self._described("image_shape", super().image_shape)

    @property
    def statistics(self) -> PixelStatistics:
        return self._described("statistics", super().statistics)

    @property
    def cell(self) -> int:
        return self._described("cell", 1)

    def _described(self, name: str, right: T) -> T:
        if self.fails_in == name:
            raise KeyError(SECRET)
        described: T = self.described.get(name, right)
        return described

    def _load(self, weights: Path) -> None:
        self._maybe("load", lambda: None)
        if not self.fails_in:
            super()._load(weights)

    def _degrade(self, images: torch.Tensor, views: Views) -> torch.Tensor:
        if self.fails_in == "degrade":
            raise KeyError(SECRET)
        return super()._degrade(images, views)

    def _encode(self, inputs: Any) -> tuple[torch.Tensor, ...]:
        features: tuple[torch.Tensor, ...] = self._maybe("encode", lambda: EchoAdapter._encode(self, inputs))
        return features

    def _decode(self, features: tuple[torch.Tensor, ...], inputs: Any) -> torch.Tensor:
        images: torch.Tensor = self._maybe("decode", lambda: EchoAdapter._decode(self, features, inputs))
        return images

    def _reconstruct(self, inputs: Any) -> torch.Tensor:
        made: torch.Tensor = self._maybe("reconstruct", lambda: EchoAdapter._reconstruct(self, inputs))
        return made

    def _encoder_tensors(self) -> frozenset[str]:
        names: frozenset[str] = self._maybe("encoder_parameters", lambda: EchoAdapter._encoder_tensors(self))
        return names

    def _training_loss(self, images: torch.Tensor, targets: torch.Tensor, views: Views) -> torch.Tensor:
        loss: torch.Tensor = self._maybe(
            "training_loss", lambda: EchoAdapter._training_loss(self, images, targets, views)
        )
        return loss

    def _export(self, folder: Path) -> None:
        self._maybe("export", lambda: None)
        super()._export(folder)


@pytest.fixture
def adapter() -> Wrong:
    return created(Wrong(EchoAdapterParams(size=8, width=3), RandomMask(ratio=0.5)))


def created(adapter: Wrong) -> Wrong:
    return adapter.create(PixelStatistics((0.5,), (0.25,)), torch.Generator().manual_seed(0), CPU)


def views(hidden: torch.Tensor) -> Views:
    return Views(hidden, torch.zeros(len(hidden), dtype=torch.long))


def degraded(adapter: Wrong, count: int = 4) -> Degraded:
    return adapter.degrade(torch.rand(count, 1, 8, 8), adapter.views(count, torch.Generator().manual_seed(0)))


ACTIONS: dict[str, Callable[[Wrong, Path], object]] = {
    "load": lambda adapter, folder: adapter.load(folder, CPU),
    "degrade": lambda adapter, folder: degraded(adapter),
    "encode": lambda adapter, folder: adapter.encode(degraded(adapter)),
    "decode": lambda adapter, folder: adapter.decode(degraded(adapter), adapter.encode(degraded(adapter))),
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


@pytest.mark.parametrize("action", ["load", "create"])
@pytest.mark.parametrize("name", ["image_shape", "statistics", "cell"])
def test_a_description_that_fails_does_so_while_the_model_is_loaded(
    adapter: Wrong, action: str, name: str, tmp_path: Path
) -> None:
    adapter.fails_in = name
    with pytest.raises(ModelError, match=f"Wrong.{action} raised KeyError"):
        adapter.load(tmp_path, CPU) if action == "load" else created(adapter)


@pytest.mark.parametrize(
    "described",
    [
        {"image_shape": ImageShape(1, 8, 0)},
        {"image_shape": ImageShape(1, 8, 8.0)},  # type: ignore[arg-type]  # on purpose
        {"image_shape": ImageShape(3, 8, 8)},
        {"statistics": PixelStatistics((0.5,), ())},
        {"cell": 0},
    ],
)
def test_a_description_that_cannot_be_right_is_refused(adapter: Wrong, described: Mapping[str, Any]) -> None:
    adapter.described = described
    with pytest.raises(PluginError, match=r"Wrong: (image_shape and cell|statistics) must"):
        created(adapter)


def test_a_description_of_another_type_is_refused(adapter: Wrong) -> None:
    adapter.described = {"image_shape": (1, 8, 8)}
    with pytest.raises(ModelError, match=r"Wrong.create raised AttributeError"):
        created(adapter)


def test_a_declared_error_comes_through_as_it_is(tmp_path: Path) -> None:
    absent = EchoAdapter(EchoAdapterParams(), Inpaint())
    with pytest.raises(ModelError, match="absent, damaged"):
        absent.load(tmp_path, CPU)


def test_an_adapter_that_was_never_loaded_is_a_model_error() -> None:
    empty = EchoAdapter(EchoAdapterParams(), Inpaint())
    with pytest.raises(ModelError):
        empty.degrade(torch.rand(1, 1, 16, 16), views(torch.ones(1, 1, 16, 16, dtype=torch.bool)))


@pytest.mark.parametrize(
    ("images", "mask"),
    [((4, 1, 8, 9), (4, 1, 8, 9)), ((4, 3, 8, 8), (4, 1, 8, 8)), ((4, 1, 8, 8), (3, 1, 8, 8)), ((8, 8), (8, 8))],
)
def test_images_of_another_shape_are_refused(adapter: Wrong, images: tuple[int, ...], mask: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match="the model takes images"):
        adapter.degrade(torch.rand(images), views(torch.ones(mask, dtype=torch.bool)))


def test_a_mask_that_is_not_boolean_is_refused(adapter: Wrong) -> None:
    with pytest.raises(ModelError, match="a mask is boolean"):
        adapter.degrade(torch.rand(4, 1, 8, 8), views(torch.ones(4, 1, 8, 8)))


@pytest.mark.parametrize(
    "answer",
    [(torch.rand(3, 2),), (torch.rand(4, 2), torch.rand(5, 2)), torch.rand(4, 2), [torch.rand(4, 2)], ("text",)],
    ids=["too few", "second depth", "bare tensor", "list", "text"],
)
def test_features_of_another_kind_are_refused(adapter: Wrong, answer: Any) -> None:
    adapter.answers_in, adapter.answer = "encode", lambda: answer
    with pytest.raises((PluginError, ModelError)):
        adapter.encode(degraded(adapter))


@pytest.mark.parametrize("shape", [(4, 1, 8, 9), (3, 1, 8, 8), (4, 3, 8, 8), (8, 8)])
def test_reconstructions_of_another_shape_are_refused(adapter: Wrong, shape: tuple[int, ...]) -> None:
    adapter.answers_in, adapter.answer = "reconstruct", lambda: torch.rand(shape)
    with pytest.raises(PluginError, match="another size"):
        adapter.reconstruct(degraded(adapter))


def test_reconstructions_are_clipped_and_say_which_pixels_were_generated(adapter: Wrong) -> None:
    given = degraded(adapter)
    adapter.answers_in, adapter.answer = "reconstruct", lambda: torch.linspace(-1, 2, 4 * 64).view(4, 1, 8, 8)
    made = adapter.reconstruct(given)
    assert (made.images.min().item(), made.images.max().item()) == (0.0, 1.0)
    assert torch.equal(made.generated, given.hidden)


def test_a_model_may_generate_more_than_what_was_hidden(adapter: Wrong, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Wrong, "_generated", lambda self, hidden: torch.ones_like(hidden))
    assert adapter.reconstruct(degraded(adapter)).generated.all()


@pytest.mark.parametrize(
    "change",
    [lambda hidden: ~hidden, lambda hidden: hidden[:1], lambda hidden: hidden.float(), lambda hidden: "all"],
    ids=["less", "another shape", "no booleans", "text"],
)
def test_generated_pixels_are_a_mask_that_holds_the_hidden_ones(
    adapter: Wrong, change: Callable[[torch.Tensor], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Wrong, "_generated", lambda self, hidden: change(hidden))
    with pytest.raises(PluginError, match="_generated must return a mask"):
        adapter.reconstruct(degraded(adapter))


def test_decode_gives_raw_images_with_gradients_to_the_features(adapter: Wrong) -> None:
    given = degraded(adapter)
    features = tuple(10 * part.detach() for part in adapter.encode(given))
    features[0].requires_grad_()
    images = adapter.decode(given, features)
    assert images.min() < 0
    images.sum().backward()  # type: ignore[no-untyped-call]  # torch's
    assert features[0].grad is not None


@pytest.mark.parametrize("shape", [(4, 1, 8, 9), (3, 1, 8, 8), (8, 8)])
def test_decoded_images_of_another_shape_are_refused(adapter: Wrong, shape: tuple[int, ...]) -> None:
    given = degraded(adapter)
    features = adapter.encode(given)
    adapter.answer = lambda: torch.rand(shape)
    with pytest.raises(PluginError, match="decode returned images of another size"):
        adapter.decode(given, features)


@pytest.mark.parametrize("features", [(), (torch.rand(3, 3, 8, 8),), torch.rand(4, 3, 8, 8), None])
def test_features_that_encode_would_not_give_are_not_decoded(adapter: Wrong, features: Any) -> None:
    with pytest.raises(PluginError, match="decode takes what encode gives"):
        adapter.decode(degraded(adapter), features)


def test_a_training_loss_is_a_scalar(adapter: Wrong) -> None:
    adapter.answers_in, adapter.answer = "training_loss", lambda: torch.rand(4)
    with pytest.raises(PluginError, match="scalar"):
        adapter.training_loss(torch.rand(4, 1, 8, 8), torch.Generator())


def test_encoder_parameters_are_the_modules_own_by_name(adapter: Wrong) -> None:
    found = adapter.encoder_parameters()
    assert set(found) == {"encoder.weight", "encoder.bias"}
    assert found["encoder.weight"] is adapter.module.encoder.weight


@pytest.mark.parametrize("name", ["encoder.wait", "size"], ids=["absent", "buffer"])
def test_encoder_names_that_are_no_parameters_are_refused(adapter: Wrong, name: str) -> None:
    adapter.answers_in, adapter.answer = "encoder_parameters", lambda: frozenset({"encoder.weight", name})
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


def test_a_strategy_trains_the_encoder_unless_it_says_otherwise(adapter: Wrong) -> None:
    class Everything(BrokenStrategy):
        def _trainable(self, adapter: ModelAdapter) -> dict[str, torch.nn.Parameter]:
            return dict(adapter.module.named_parameters())

    assert BrokenStrategy().trainable(adapter) == adapter.encoder_parameters()
    assert Everything().trainable(adapter) == dict(adapter.module.named_parameters())


@pytest.mark.parametrize(
    "answer",
    [
        lambda adapter: {},
        lambda adapter: {"encoder.weight": torch.nn.Parameter(torch.zeros(2))},
        lambda adapter: {"another.name": adapter.module.encoder.weight},
        lambda adapter: {"size": adapter.module.get_buffer("size")},
        lambda adapter: list(adapter.module.parameters()),
        lambda adapter: vars(adapter)[SECRET],
    ],
    ids=["nothing", "not the model's", "another name", "a buffer", "a list", "an exception"],
)
def test_what_a_strategy_trains_are_parameters_of_the_model(adapter: Wrong, answer: Callable[[Wrong], Any]) -> None:
    class Confused(BrokenStrategy):
        def _trainable(self, adapter: ModelAdapter) -> Any:
            assert isinstance(adapter, Wrong)
            return answer(adapter)

    with pytest.raises(PluginError, match=r"Confused\.trainable") as caught:
        Confused().trainable(adapter)
    assert SECRET not in str(caught.value)


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
