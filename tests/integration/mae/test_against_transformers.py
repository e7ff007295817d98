"""Our passes through the network give what transformers' own do, and transformers alone loads what we export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from cu_mae.adapter import MaeAdapter
from cu_mae.params import MaeParams
from cu_mae.patches import patchify
from safetensors.torch import load_file, save_file

from compliance_unlearn.api import Inpaint, Outpaint, PixelStatistics, RandomMask, Task

from .conftest import PATCH, small_model

CPU = torch.device("cpu")


def load(folder: Path, task: Task | None = None) -> MaeAdapter:
    return MaeAdapter(MaeParams(), task or Inpaint()).load(folder, CPU)


def reference(model: Any, adapter: MaeAdapter, images: torch.Tensor, hidden: torch.Tensor) -> Any:
    """transformers' own pass with noise that makes it hide the same patches."""
    masked = patchify(hidden, PATCH).flatten(2).all(dim=2)
    model.config.mask_ratio = masked[0].float().mean().item()
    noise = masked + torch.linspace(0, 0.5, masked.shape[1])
    mean, std = torch.tensor(adapter.statistics.mean), torch.tensor(adapter.statistics.std)
    pixels = (images - mean[:, None, None]) / std[:, None, None]
    return model(pixels, noise=noise), model.vit(pixels, noise=noise).last_hidden_state


@pytest.mark.parametrize("task", [Inpaint(), Outpaint(), RandomMask(ratio=0.75), RandomMask(ratio=0.1)])
@pytest.mark.parametrize("norm_pix_loss", [False, True])
def test_features_outputs_and_loss_are_those_of_transformers(
    task: Task, norm_pix_loss: bool, faces: torch.Tensor, tmp_path: Path
) -> None:
    model = small_model(norm_pix_loss=norm_pix_loss)
    model.save_pretrained(tmp_path)
    adapter = load(tmp_path, task)
    views = adapter.views(len(faces), torch.Generator().manual_seed(3))
    hidden = views.hidden
    with torch.no_grad():
        expected, tokens = reference(model, adapter, faces, hidden)
        degraded = adapter.degrade(faces, views)
        made = adapter.reconstruct(degraded).images
        (features,) = adapter.encode(degraded)
        loss = adapter.training_loss(faces, torch.Generator().manual_seed(3))
    torch.testing.assert_close(features, tokens, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(loss, expected.loss, atol=1e-5, rtol=1e-5)
    assert torch.equal(made[~hidden], faces[~hidden])
    if not norm_pix_loss:
        filled = (model.unpatchify(expected.logits) * 0.5 + 0.5).clamp(0, 1)
        torch.testing.assert_close(made[hidden], filled[hidden], atol=1e-5, rtol=1e-5)


def test_colours_and_their_statistics_are_put_back(tmp_path: Path) -> None:
    model = small_model(num_channels=3)
    model.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text('{"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.1]}')
    adapter = load(tmp_path)
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    views = adapter.views(3, torch.Generator())
    hidden = views.hidden
    with torch.no_grad():
        expected, _ = reference(model, adapter, images, hidden)
        made = adapter.reconstruct(adapter.degrade(images, views)).images
    mean, std = torch.tensor([0.4, 0.5, 0.6])[:, None, None], torch.tensor([0.2, 0.3, 0.1])[:, None, None]
    filled = (model.unpatchify(expected.logits) * std + mean).clamp(0, 1)
    shown = hidden.expand_as(images)
    torch.testing.assert_close(made[shown], filled[shown], atol=1e-5, rtol=1e-5)


def classic(name: str) -> str:
    """The name before 5.0 and on the hub: decoder layers are what save_pretrained of 5.x writes in another way."""
    return name.replace("decoder_encoder.layer", "decoder_layers")


@pytest.mark.parametrize("layout", ["save_pretrained", "classic", "in memory"])
def test_every_layout_of_names_loads_and_is_exported_as_it_was(
    layout: str, saved: tuple[Any, Path], faces: torch.Tensor, tmp_path: Path
) -> None:
    from transformers import ViTMAEForPreTraining

    model, folder = saved
    weights = folder / "model.safetensors"
    if layout == "classic":
        save_file({classic(name): tensor for name, tensor in load_file(weights).items()}, weights, {"format": "pt"})
        assert "vit.encoder.layer.0.attention.attention.query.weight" in load_file(weights)
        assert "decoder.decoder_layers.0.intermediate.dense.bias" in load_file(weights)
    elif layout == "in memory":
        save_file(model.state_dict(), weights, {"format": "pt"})
    export = tmp_path / "export"
    export.mkdir()
    load(folder).export(export)
    for name in ("config.json", "model.safetensors"):
        assert (export / name).read_bytes() == (folder / name).read_bytes()
    again, report = ViTMAEForPreTraining.from_pretrained(export, output_loading_info=True)
    assert not any(report.values())
    noise = torch.rand(len(faces), 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(again(faces, noise=noise).logits, model(faces, noise=noise).logits)


def test_an_export_has_no_file_that_the_model_had_not(saved: tuple[Any, Path], tmp_path: Path) -> None:
    assert not (saved[1] / "preprocessor_config.json").exists()
    export = tmp_path / "export"
    export.mkdir()
    load(saved[1]).export(export)
    assert {path.name for path in export.iterdir()} == {"config.json", "model.safetensors"}


def test_half_precision_weights_are_computed_in_float32_and_stored_as_they_were(
    saved: tuple[Any, Path], tmp_path: Path
) -> None:
    _, folder = saved
    weights = folder / "model.safetensors"
    save_file({name: tensor.half() for name, tensor in load_file(weights).items()}, weights, {"format": "pt"})
    adapter = load(folder)
    assert {parameter.dtype for parameter in adapter.module.parameters()} == {torch.float32}
    export = tmp_path / "export"
    export.mkdir()
    adapter.export(export)
    assert (export / "model.safetensors").read_bytes() == weights.read_bytes()


def test_a_new_model_has_position_tables_and_transformers_loads_it(faces: torch.Tensor, tmp_path: Path) -> None:
    from transformers import AutoImageProcessor, ViTMAEForPreTraining

    statistics = PixelStatistics((0.45,), (0.2,))
    adapter = MaeAdapter(MaeParams(), RandomMask(ratio=0.6)).create(statistics, torch.Generator().manual_seed(0), CPU)
    adapter.export(tmp_path)
    model, report = ViTMAEForPreTraining.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())
    assert model.config.mask_ratio == 0.6
    # Width comes before height, as in the published checkpoints: along a row the first half changes, the second not.
    for table in (model.vit.embeddings.position_embeddings[0], model.decoder.decoder_pos_embed[0]):
        half = table.shape[1] // 2
        assert not table[0].any()
        assert torch.equal(table[1, half:], table[2, half:])
        assert not torch.equal(table[1, :half], table[2, :half])
    processor = AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    assert list(processor.image_mean) == [0.45]
    assert sum(parameter.numel() for parameter in model.parameters()) == 1_240_128


def test_a_new_model_learns_faces(faces: torch.Tensor) -> None:
    adapter = MaeAdapter(
        MaeParams.model_validate({"architecture": {"image_size": 32, "layers": 1, "decoder_layers": 1}}), Inpaint()
    ).create(PixelStatistics((0.5,), (0.2,)), torch.Generator().manual_seed(0), CPU)
    optimiser = torch.optim.Adam(adapter.module.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(0)
    losses = []
    for _ in range(30):
        loss = adapter.training_loss(faces, generator)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


def test_bfloat16_autocast_gives_nearly_the_same(saved: tuple[Any, Path], faces: torch.Tensor) -> None:
    adapter = load(saved[1])
    degraded = adapter.degrade(faces, adapter.views(len(faces), torch.Generator()))
    with torch.no_grad():
        exact = adapter.reconstruct(degraded).images
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = adapter.reconstruct(degraded).images
    assert rough.dtype == torch.float32
    assert (exact - rough).abs().max() < 0.05
