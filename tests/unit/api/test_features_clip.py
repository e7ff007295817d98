"""CLIP from a local folder: the real loading code on a small model that transformers writes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from compliance_unlearn.api import ModelError, feature_net

EDGE = 32
VISION = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": EDGE,
    "patch_size": 8,
    "projection_dim": 12,
}


def vision_model(folder: Path) -> Any:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(0)
    model = CLIPVisionModelWithProjection(CLIPVisionConfig(**VISION)).eval()
    model.save_pretrained(folder)
    return model


def whole_model(folder: Path) -> Any:
    """With the text half, as OpenAI's releases have it."""
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(0)
    text = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = CLIPModel(CLIPConfig(vision_config=VISION, text_config=text, projection_dim=12)).eval()
    model.save_pretrained(folder)
    return model


def images(count: int, edge: int = EDGE) -> torch.Tensor:
    return torch.rand(count, 3, edge, edge, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
@pytest.mark.parametrize("write", [vision_model, whole_model])
def test_embeddings_are_those_of_transformers(write: Any, tmp_path: Path) -> None:
    model = write(tmp_path)
    net = feature_net("clip", path=tmp_path)
    mean, std = torch.tensor([0.48145466, 0.4578275, 0.40821073]), torch.tensor([0.26862954, 0.26130258, 0.27577711])
    pixels = (images(3) - mean[:, None, None]) / std[:, None, None]
    pooled = model.vision_model(pixel_values=pixels).pooler_output
    assert torch.allclose(net.embed(images(3)), model.visual_projection(pooled), atol=1e-5)


def test_name_hash_and_edge_are_those_of_the_folder(tmp_path: Path) -> None:
    vision_model(tmp_path)
    net = feature_net("clip", path=str(tmp_path))
    files = [tmp_path / name for name in ("config.json", "model.safetensors")]
    sha256 = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    assert (net.name, net.sha256, net.edge, net.classifies) == ("clip", sha256, EDGE, False)
    assert sha256[:8] in net.label
    assert net.embed(images(2, 20)).shape == (2, 12)


def test_loading_draws_no_global_random_number(tmp_path: Path) -> None:
    vision_model(tmp_path)
    before = torch.get_rng_state()
    feature_net("clip", path=tmp_path)
    assert torch.equal(before, torch.get_rng_state())


def test_what_it_cannot_do_is_refused(tmp_path: Path) -> None:
    vision_model(tmp_path)
    net = feature_net("clip", path=tmp_path)
    with pytest.raises(ModelError, match="knows no classes"):
        net.probabilities(images(1))
    with pytest.raises(ModelError, match="no maps"):
        net.maps(images(1))
    with pytest.raises(ModelError, match="32 × 32 pixels only"):
        feature_net("clip", edge=64, path=tmp_path)


def test_folders_that_hold_something_else_are_refused(tmp_path: Path) -> None:
    vision_model(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "hidden_size": 24}))
    with pytest.raises(ModelError, match="lacks the tensor"):
        feature_net("clip", path=tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit_mae"}))
    with pytest.raises(ModelError, match="not describe a CLIP"):
        feature_net("clip", path=tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes((tmp_path / "model.safetensors").read_bytes()[:100])
    with pytest.raises(ModelError, match="truncated"):
        feature_net("clip", path=tmp_path)
