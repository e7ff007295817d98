"""The conformance kit passes a right adapter, and finds those that would make forgetting a pretence."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from cu_echo.adapter import EchoAdapter
from cu_echo.params import EchoAdapterParams
from torch.nn.functional import conv_transpose2d

from compliance_unlearn.api import ComplianceError, Inpaint, PixelStatistics, Task
from compliance_unlearn.testing.adapter import CPU, ModelAdapterConformance, generator

KNOWS_ONLY_FEATURES = "test_the_decoder_knows_the_features_and_nothing_else_of_the_encoder"
OTHER_FEATURES = "test_other_features_give_other_generated_pixels"
FROM_THE_ENCODER = "test_reconstructions_come_from_the_encoder"
DECODE_OF_ENCODE = "test_a_reconstruction_is_what_decode_makes_of_encode"
GRADIENTS = "test_gradients_flow_from_the_image_to_every_feature"


class TestEcho(ModelAdapterConformance):
    """The double of all other tests is a right adapter itself."""

    def make_adapter(self, task: Task) -> EchoAdapter:
        return EchoAdapter(EchoAdapterParams(size=8, width=3), task)

    @pytest.fixture
    def weights(self, tmp_path: Path) -> Path:
        folder = tmp_path / "weights"
        folder.mkdir()
        new_model(EchoAdapter).export(folder)
        return folder


class Tied(EchoAdapter):
    """Decodes with the encoder's own weights: the "frozen" decoder changes with them."""

    def _decode(self, features: tuple[torch.Tensor, ...], inputs: Any) -> torch.Tensor:
        return conv_transpose2d(features[0], self.module.encoder.weight, padding=1)


class PastTheEncoder(EchoAdapter):
    """Looks right in each part, but reconstructs from the visible pixels by another way."""

    def _reconstruct(self, inputs: Any) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(inputs, 3, stride=1, padding=1)


class Remembers(EchoAdapter):
    """What the encoder saw reaches the decoder beside the features, as skip connections easily do."""

    skip: torch.Tensor

    def _encode(self, inputs: Any) -> tuple[torch.Tensor, ...]:
        (self.skip,) = super()._encode(inputs)
        return (self.skip.mean(dim=(2, 3)),)

    def _decode(self, features: tuple[torch.Tensor, ...], inputs: Any) -> torch.Tensor:
        return super()._decode((self.skip + features[0][:, :, None, None],), inputs)


class DecodesTheInput(EchoAdapter):
    """The condition survives: the decoder works on what is visible, whatever the features say."""

    def _decode(self, features: tuple[torch.Tensor, ...], inputs: Any) -> torch.Tensor:
        return super()._decode((inputs.expand_as(features[0]),), inputs)


class Samples(PastTheEncoder):
    """Says that it samples; that excuses no reconstruction without the encoder."""

    samples = True


class HardCodes(EchoAdapter):
    """Rounds features, as quantisation does, and forgets to pass the gradient through."""

    def _decode(self, features: tuple[torch.Tensor, ...], inputs: Any) -> torch.Tensor:
        return super()._decode(tuple(part.round() for part in features), inputs)


@pytest.mark.parametrize(
    ("adapter_class", "expected"),
    [
        (EchoAdapter, set()),
        (Tied, {KNOWS_ONLY_FEATURES, GRADIENTS}),
        (PastTheEncoder, {FROM_THE_ENCODER, DECODE_OF_ENCODE}),
        (Remembers, {KNOWS_ONLY_FEATURES, GRADIENTS}),
        (DecodesTheInput, {OTHER_FEATURES, FROM_THE_ENCODER, GRADIENTS}),
        (Samples, {FROM_THE_ENCODER}),
        (HardCodes, {GRADIENTS}),
    ],
)
def test_each_mistake_is_found(adapter_class: type[EchoAdapter], expected: set[str]) -> None:
    assert failures(adapter_class) == expected


def failures(adapter_class: type[EchoAdapter]) -> set[str]:
    """Names of the tests of the kit that a new adapter of this class fails, of those that ask for an adapter alone."""
    tests = [
        (name, test)
        for name, test in inspect.getmembers(ModelAdapterConformance, inspect.isfunction)
        if name.startswith("test_") and list(inspect.signature(test).parameters) == ["self", "adapter"]
    ]
    assert len(tests) > 10
    return {name for name, test in tests if fails(test, new_model(adapter_class))}


def fails(test: Callable[..., None], adapter: EchoAdapter) -> bool:
    try:
        test(ModelAdapterConformance(), adapter)
    except (AssertionError, ComplianceError, RuntimeError):
        return True
    except pytest.skip.Exception:
        return False
    return False


def new_model(adapter_class: type[EchoAdapter]) -> EchoAdapter:
    adapter = adapter_class(EchoAdapterParams(size=8, width=3), Inpaint())
    return adapter.create(PixelStatistics((0.5,), (0.25,)), generator(0), CPU)
