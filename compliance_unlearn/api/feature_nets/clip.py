"""The image half of CLIP (Radford et al., 2021) from a local folder, as `save_pretrained` of transformers writes it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from compliance_unlearn.api.errors import ModelError
from compliance_unlearn.api.feature_nets.base import FeatureNet, digest, missing_weights, require_edge, resized
from compliance_unlearn.api.model_files import read_json, read_safetensors

if TYPE_CHECKING:
    import torch

NAME = "clip"
CONFIG, WEIGHTS = "config.json", "model.safetensors"
ADVICE = (
    f"name a local folder with `{CONFIG}` and `{WEIGHTS}` of a CLIP model as path, such as a copy of "
    "openai/clip-vit-base-patch32"
)
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of red, green and blue in the pictures that CLIP was trained on."""


class Clip(FeatureNet):
    """Projected image embeddings; the digest is that of `CONFIG` and `WEIGHTS`, one after the other.

    Follows the images to their device.
    """

    def __init__(self, sha256: str, edge: int, network: torch.nn.Module) -> None:
        super().__init__(NAME, sha256, edge)
        self._network: Any = network.requires_grad_(False).eval()

    def _embed(self, images: torch.Tensor) -> torch.Tensor:
        mean, std = (images.new_tensor(values)[:, None, None] for values in (MEAN, STD))
        normalised = (resized(images, self.edge, "bicubic") - mean) / std
        embedded: torch.Tensor = self._network.to(images.device)(pixel_values=normalised).image_embeds
        return embedded


def load(edge: int | None, path: Path | None) -> FeatureNet:
    """The network from a folder; see `compliance_unlearn.api.feature_net`."""
    import torch

    if path is None or not all((path / name).is_file() for name in (CONFIG, WEIGHTS)):
        raise missing_weights(NAME, path, ADVICE)
    try:
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection
    except ImportError as error:
        raise ModelError(f"feature network `{NAME}` needs transformers; run `pip install transformers`") from error
    settings = read_json(path / CONFIG)
    if settings.get("model_type") not in ("clip", "clip_vision_model"):
        raise ModelError(f"{path / CONFIG} does not describe a CLIP model; {ADVICE}")
    config: Any = CLIPVisionConfig.from_dict(settings.get("vision_config", settings))
    if "vision_config" in settings:
        config.projection_dim = settings.get("projection_dim", config.projection_dim)
    require_edge(NAME, config.image_size, edge)
    with torch.random.fork_rng(devices=[]):
        network: Any = CLIPVisionModelWithProjection(config)
    _fill(network, read_safetensors(path / WEIGHTS), path)
    sha256 = digest((path / CONFIG).read_bytes() + (path / WEIGHTS).read_bytes())
    return Clip(sha256, config.image_size, network)


def _fill(network: Any, weights: dict[str, torch.Tensor], path: Path) -> None:
    """Load the weights; tensors of the text half are left out."""
    wanted = network.state_dict()
    missing = sorted(name for name in wanted if name not in weights or weights[name].shape != wanted[name].shape)
    if missing:
        raise ModelError(f"{path / WEIGHTS} lacks the tensor `{missing[0]}` of the shape that {CONFIG} says")
    network.load_state_dict({name: weights[name].float() for name in wanted})
