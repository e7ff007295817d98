"""Inception from a local file: torch-fidelity's network with random weights in the layout of the published ones."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch

from compliance_unlearn.api import FeatureNet, ModelError, feature_net
from compliance_unlearn.api.feature_nets import inception


def test_another_file_is_refused_before_it_is_read_as_weights(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(b"no weights")
    with pytest.raises(ModelError, match="does not hold the published weights"):
        feature_net("inception", path=path)
    with pytest.raises(ModelError, match="299 × 299 pixels only"):
        feature_net("inception", edge=64, path=path)


def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def absent(name: str) -> Any:
        raise ModuleNotFoundError(name)

    path = tmp_path / "weights.pth"
    path.write_bytes(b"weights")
    monkeypatch.setattr(inception, "SHA256", hashlib.sha256(b"weights").hexdigest())
    monkeypatch.setattr(inception, "import_module", absent)
    with pytest.raises(ModelError, match="pip install torch-fidelity"):
        feature_net("inception", path=path)


@pytest.fixture(scope="module")
def package() -> Any:
    return pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")


@pytest.fixture
def net(package: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FeatureNet:
    """The network with random weights that pass for the published ones."""

    class Blank(package.FeatureExtractorInceptionV3):  # type: ignore[misc]
        def load_state_dict(self, *_: Any, **__: Any) -> None:
            """Keep the random weights."""

    torch.manual_seed(0)
    monkeypatch.setattr(package, "load_state_dict_from_url", lambda *_, **__: {})
    path = tmp_path / "weights.pth"
    torch.save(Blank("blank", ["2048"]).state_dict(), path)
    monkeypatch.setattr(inception, "SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    before = torch.get_rng_state()
    loaded = feature_net("inception", path=path)
    assert torch.equal(before, torch.get_rng_state())
    return loaded


@torch.no_grad()
def test_embeddings_and_classes_are_those_of_torch_fidelity(net: FeatureNet, package: Any) -> None:
    images = torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(1))
    assert isinstance(net, inception.Inception)
    net._network.features_list = ["2048", "logits_unbiased"]
    features, logits = net._network((images * 255).round().to(torch.uint8))
    net._network.features_list = ["2048"]
    embedded = net.embed(images)
    assert embedded.shape == (2, 2048)
    assert torch.allclose(embedded, features)
    assert torch.allclose(net.class_probabilities(embedded), logits.softmax(dim=1), atol=1e-5)
    assert (net.name, net.edge, net.classifies) == ("inception", 299, True)
