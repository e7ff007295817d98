"""Inception v3 as the Fréchet inception distance uses it (Heusel et al., 2017), from a local file.

Only the published weights are taken, known by their hash, so that a figure with this name is what others report. The
network and the way it resizes pictures are torch-fidelity's, which agrees with the original to the last digit.
"""

from __future__ import annotations

import io
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compliance_unlearn.api.errors import ModelError
from compliance_unlearn.api.feature_nets.base import FeatureNet, as_bytes, digest, missing_weights, require_edge

if TYPE_CHECKING:
    import torch

NAME = "inception"
EDGE = 299
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
ADVICE = (
    "name a local copy of `weights-inception-2015-12-05-6726825d.pth` (release v0.2.0 of torch-fidelity; the same file "
    "as `pt_inception-2015-12-05-6726825d.pth` of pytorch-fid) as path"
)


class Inception(FeatureNet):
    """Embeddings of 2,048 features, and 1,008 classes. Follows the images to their device; no gradients."""

    classifies = True

    def __init__(self, sha256: str, network: torch.nn.Module) -> None:
        super().__init__(NAME, sha256, EDGE)
        self._network: Any = network

    def class_probabilities(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Probabilities of the 1,008 classes, without the bias of the last layer, as the Inception score has it."""
        head = self._network.to(embeddings.device).fc
        logits: torch.Tensor = embeddings @ head.weight.T
        return logits.float().softmax(dim=1)

    def _embed(self, images: torch.Tensor) -> torch.Tensor:
        features: tuple[torch.Tensor] = self._network.to(images.device)(as_bytes(images))
        return features[0]


def load(edge: int | None, path: Path | None) -> FeatureNet:
    """The network from a file of weights; see `compliance_unlearn.api.feature_net`."""
    import torch

    require_edge(NAME, EDGE, edge)
    if path is None or not path.is_file():
        raise missing_weights(NAME, path, ADVICE)
    content = path.read_bytes()
    if digest(content) != SHA256:
        raise ModelError(f"{path} does not hold the published weights of feature network `{NAME}`; {ADVICE}")
    try:
        package: Any = import_module("torch_fidelity.feature_extractor_inceptionv3")
    except (ImportError, RuntimeError) as error:  # torchvision raises the latter if it was built for another torch
        raise ModelError(
            f"feature network `{NAME}` needs torch-fidelity and the torchvision that belongs to the installed torch; "
            f"run `pip install torch-fidelity` ({error})"
        ) from error
    # The package unpickles the file: that is safe, because its hash is known. It initialises before it loads.
    with torch.random.fork_rng(devices=[]):
        network = package.FeatureExtractorInceptionV3(
            NAME, ["2048"], feature_extractor_weights_path=io.BytesIO(content)
        )
    return Inception(SHA256, network)
