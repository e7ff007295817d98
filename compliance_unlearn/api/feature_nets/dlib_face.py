"""Face identity: the ResNet of dlib (King, 2017), whose embeddings of one person lie within about 0.6 of each other.

It expects that a picture shows one upright face which fills most of it. Eyes and nose are found inside a fixed box and
brought to a fixed place, in every picture alike: no picture is skipped because no face was detected in it.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compliance_unlearn.api.errors import ModelError
from compliance_unlearn.api.feature_nets.base import (
    FeatureNet,
    as_bytes,
    refuse_path,
    require_edge,
    resized,
    shipped_file,
)

if TYPE_CHECKING:
    import torch

NAME = "dlib-face"
EDGE = 150
MARGIN = 8
"""Pixels between the box and the border of the picture."""

DISTRIBUTION = "face-recognition-models"
ADVICE = f"run `pip install --no-deps dlib-bin {DISTRIBUTION}==0.3.0`"
NETWORK = "dlib_face_recognition_resnet_model_v1.dat"
SHA256 = "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30"
LANDMARKS = "shape_predictor_5_face_landmarks.dat"
LANDMARKS_SHA256 = "c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888"


class DlibFace(FeatureNet):
    """Embeddings of 128 features, compared by Euclidean distance; computed on the CPU, without gradients."""

    def __init__(self, package: Any, network: Path, landmarks: Path) -> None:
        super().__init__(NAME, SHA256, EDGE)
        self._package = package
        self._network = package.face_recognition_model_v1(str(network))
        self._landmarks = package.shape_predictor(str(landmarks))

    def _embed(self, images: torch.Tensor) -> torch.Tensor:
        import numpy as np
        import torch

        box = self._package.rectangle(MARGIN, MARGIN, EDGE - MARGIN, EDGE - MARGIN)
        pictures = as_bytes(resized(images, EDGE)).permute(0, 2, 3, 1).contiguous().cpu().numpy()
        faces = [self._package.get_face_chip(picture, self._landmarks(picture, box), size=EDGE) for picture in pictures]
        found = np.array(self._network.compute_face_descriptor(faces))
        return torch.from_numpy(found).to(images.device)


def load(edge: int | None, path: Path | None) -> FeatureNet:
    """The network from its packages; see `compliance_unlearn.api.feature_net`."""
    refuse_path(NAME, path)
    require_edge(NAME, EDGE, edge)
    network = shipped_file(NAME, DISTRIBUTION, NETWORK, SHA256, ADVICE)
    landmarks = shipped_file(NAME, DISTRIBUTION, LANDMARKS, LANDMARKS_SHA256, ADVICE)
    try:
        package = import_module("dlib")
    except ImportError as error:
        raise ModelError(f"feature network `{NAME}` is not installed; {ADVICE}") from error
    return DlibFace(package, network, landmarks)
