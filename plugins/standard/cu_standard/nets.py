"""The feature networks of checks."""

from __future__ import annotations

from compliance_unlearn.api import FeatureNet, feature_net
from cu_standard.params import NetParams

DEFAULT = "efficientnet-lite0"

DEFAULT_EDGE = 64
"""Edge in pixels at which checks use the default network: 2 ms a picture on one core instead of 40 at 224."""


def named_net(params: NetParams) -> FeatureNet:
    """The network that parameters name.

    Raises:
        ModelError: it is not at hand; says how to get it.
    """
    edge = DEFAULT_EDGE if params.net == DEFAULT and params.net_edge is None else params.net_edge
    return feature_net(params.net, edge, params.net_path)


def default_net() -> FeatureNet:
    """The network of checks that leave no choice; shares its embeddings with checks that were given none.

    Raises:
        ModelError: it is not at hand; says how to get it.
    """
    return feature_net(DEFAULT, DEFAULT_EDGE)
