"""Checkpoints of the authors of MAE are read, run as they define, and go back to their layout unchanged."""

from __future__ import annotations

import argparse
import json
import logging
import re
from pathlib import Path

import pytest
import torch
from cu_mae.adapter import MaeAdapter
from cu_mae.fused import fuse_attention
from cu_mae.names import official_name
from cu_mae.network import build_network
from cu_mae.official_config import network_config, read_config, shown_sizes
from cu_mae.params import MaeParams
from cu_mae.patches import patchify, unpatchify
from safetensors.torch import load_file, save_file

from compliance_unlearn.api import Inpaint, Outpaint, PixelStatistics, RandomMask, Task

from .official import Sizes, State, forward, random_state, shapes

CPU = torch.device("cpu")
SIZES = Sizes()
IMAGENET = PixelStatistics((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
README = Path(__file__).parents[3] / "plugins" / "mae" / "README.md"


def folder_with(folder: Path, state: State, **config: object) -> Path:
    """A checkpoint, and what its tensors do not show."""
    folder.mkdir(exist_ok=True)
    torch.save({"model": state}, folder / "mae.pth")
    heads = {"heads": SIZES.heads, "decoder_heads": SIZES.decoder_heads}
    (folder / "config.json").write_text(json.dumps({**heads, **config}))
    return folder


def load(folder: Path, task: Task | None = None) -> MaeAdapter:
    return MaeAdapter(MaeParams(), task or Inpaint()).load(folder, CPU)


def exported(adapter: MaeAdapter, folder: Path) -> Path:
    folder.mkdir()
    adapter.export(folder)
    return folder


def same(one: State, other: State) -> bool:
    """Equal in names, types and every bit."""
    return one.keys() == other.keys() and all(
        one[name].dtype == other[name].dtype and torch.equal(one[name], other[name]) for name in one
    )


def normalised(images: torch.Tensor, statistics: PixelStatistics) -> torch.Tensor:
    mean, std = torch.tensor(statistics.mean), torch.tensor(statistics.std)
    return (images - mean[:, None, None]) / std[:, None, None]


def pictures(channels: int) -> torch.Tensor:
    return torch.rand(3, channels, SIZES.image, SIZES.image, generator=torch.Generator().manual_seed(0))


def kept_patches(hidden: torch.Tensor) -> torch.Tensor:
    """Places of the visible patches, ``[n, kept]``."""
    visible = ~patchify(hidden, SIZES.patch).flatten(2).all(dim=2)
    return torch.stack([row.nonzero()[:, 0] for row in visible])


@pytest.mark.parametrize("task", [Inpaint(), Outpaint(), RandomMask(ratio=0.75)], ids=lambda task: task.kind)
@pytest.mark.parametrize("norm_pix_loss", [False, True])
@torch.no_grad()
def test_features_outputs_and_loss_are_those_of_the_published_architecture(
    task: Task, norm_pix_loss: bool, tmp_path: Path
) -> None:
    state, images = random_state(SIZES), pictures(3)
    adapter = load(folder_with(tmp_path, state, norm_pix_loss=norm_pix_loss), task)
    assert adapter.statistics == IMAGENET
    views = adapter.views(len(images), torch.Generator().manual_seed(3))
    pixels, kept = normalised(images, IMAGENET), kept_patches(views.hidden)
    latent, predicted = forward(state, SIZES, pixels, kept)
    (features,) = adapter.encode(adapter.degrade(images, views))
    torch.testing.assert_close(features, latent, atol=1e-4, rtol=0)

    target = patchify(pixels, SIZES.patch).flatten(2)
    mean, variance = target.mean(dim=2, keepdim=True), target.var(dim=2, keepdim=True)
    wanted = (target - mean) / (variance + 1e-6).sqrt() if norm_pix_loss else target
    shown = torch.zeros(target.shape[:2], dtype=torch.bool).scatter_(1, kept, True)
    loss = adapter.training_loss(images, torch.Generator().manual_seed(3))
    torch.testing.assert_close(loss, ((predicted - wanted) ** 2).mean(dim=2)[~shown].mean(), atol=1e-4, rtol=1e-5)

    if norm_pix_loss:  # Its own mean and deviation are hidden with a patch: those of the visible ones stand in.
        mean, variance = (
            torch.stack([row[~hide].mean() for row, hide in zip(part, ~shown, strict=True)])
            for part in (mean, variance)
        )
        predicted = predicted * (variance[:, None, None] + 1e-6).sqrt() + mean[:, None, None]
    filled = unpatchify(predicted.reshape(len(images), -1, SIZES.patch**2, 3), SIZES.patch, SIZES.image, SIZES.image)
    filled = filled * torch.tensor(IMAGENET.std)[:, None, None] + torch.tensor(IMAGENET.mean)[:, None, None]
    made = adapter.decode(adapter.degrade(images, views), (features,))
    torch.testing.assert_close(made, torch.where(views.hidden, filled, images), atol=1e-4, rtol=0)


@torch.no_grad()
def test_layer_norms_have_the_epsilon_of_the_authors(tmp_path: Path) -> None:
    state, images = random_state(SIZES), pictures(3)
    for name in ("patch_embed.proj.weight", "patch_embed.proj.bias", "pos_embed", "cls_token"):
        state[name] *= 1e-3  # Tokens so small that another epsilon shows.
    adapter = load(folder_with(tmp_path, state))
    views = adapter.views(len(images), torch.Generator())
    latent, _ = forward(state, SIZES, normalised(images, IMAGENET), kept_patches(views.hidden))
    torch.testing.assert_close(adapter.encode(adapter.degrade(images, views))[0], latent, atol=1e-4, rtol=0)


def test_a_checkpoint_becomes_safetensors_and_the_readme_turns_them_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = random_state(SIZES)
    state["blocks.1.mlp.fc2.weight"] = state["blocks.1.mlp.fc2.weight"].half()
    adapter = load(folder_with(tmp_path / "original", state))
    folder = exported(adapter, tmp_path / "export")
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors"}
    assert same(load_file(folder / "model.safetensors"), state)
    assert adapter.module.state_dict().keys() == state.keys()

    snippet = re.search(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert snippet is not None
    monkeypatch.chdir(folder)
    exec(snippet[1], {})
    back = torch.load(folder / "mae.pth", weights_only=True)
    assert back.keys() == {"model"}
    assert same(back["model"], state)


def test_an_export_is_read_again_and_written_as_it_was(tmp_path: Path) -> None:
    first = exported(load(folder_with(tmp_path / "original", random_state(SIZES))), tmp_path / "first")
    again = load(first)
    second = exported(again, tmp_path / "second")
    for name in ("config.json", "model.safetensors"):
        assert (second / name).read_bytes() == (first / name).read_bytes()
    assert (again.image_shape.height, again.cell, again.statistics) == (SIZES.image, SIZES.patch, IMAGENET)


def test_only_fixed_tables_and_the_decoder_stay_out_of_the_encoder(tmp_path: Path) -> None:
    state = random_state(SIZES)
    encoder = load(folder_with(tmp_path, state)).encoder_parameters()
    fixed = {name for name in state if name.startswith("decoder_")} | {"pos_embed", "mask_token"}
    assert encoder.keys() == state.keys() - fixed
    assert all(torch.equal(encoder[name], state[name]) for name in encoder)


def test_arguments_of_the_training_say_what_the_tensors_do_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = random_state(SIZES)
    arguments = argparse.Namespace(norm_pix_loss=True, model="mae_vit_base_patch16", blr=1e-3, resume="", world_size=1)
    optimiser = torch.optim.AdamW([torch.nn.Parameter(tensor) for tensor in state.values()])
    folder = folder_with(tmp_path / "run", state)
    with caplog.at_level(logging.WARNING):
        assert json.loads(_config(exported(load(folder), tmp_path / "unknown")))["norm_pix_loss"] is False
    assert "norm_pix_loss" in caplog.text
    caplog.clear()
    torch.save(
        {"model": state, "optimizer": optimiser.state_dict(), "epoch": 7, "scaler": {}, "args": arguments},
        folder / "mae.pth",
    )
    export = exported(load(folder), tmp_path / "known")
    assert json.loads(_config(export))["norm_pix_loss"] is True
    assert same(load_file(export / "model.safetensors"), state)
    assert not caplog.text


def _config(folder: Path) -> str:
    return (folder / "config.json").read_text()


def test_safetensors_under_these_names_need_no_config_and_get_none(tmp_path: Path) -> None:
    sizes = Sizes(width=768, depth=1, decoder_width=512)
    folder = tmp_path / "original"
    folder.mkdir()
    save_file(random_state(sizes), folder / "model.safetensors", {"format": "pt"})
    export = exported(load(folder), tmp_path / "export")
    assert [path.name for path in export.iterdir()] == ["model.safetensors"]
    assert (export / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("sizes", "parameters"),
    [
        (Sizes(224, 16, 3, 768, 12, 12, 512, 8, 16), 111_907_840),
        (Sizes(224, 16, 3, 1024, 24, 16, 512, 8, 16), 329_541_888),
        (Sizes(224, 14, 3, 1280, 32, 16, 512, 8, 16), 657_074_508),
    ],
    ids=["ViT-B", "ViT-L", "ViT-H"],
)
def test_the_published_sizes_need_no_config(sizes: Sizes, parameters: int, tmp_path: Path) -> None:
    state = {name: torch.empty(shape, device="meta") for name, shape in shapes(sizes).items()}
    found = shown_sizes(state, tmp_path / "mae.pth")
    config = network_config(found, read_config(tmp_path / "config.json", found, None))
    assert (config["image_size"], config["layer_norm_eps"]) == (224, 1e-6)
    assert (config["num_attention_heads"], config["decoder_num_attention_heads"]) == (sizes.heads, sizes.decoder_heads)
    network = fuse_attention(build_network(config, "meta"))
    tensors = {official_name(name): tensor.shape for name, tensor in network.state_dict().items()}
    assert tensors == {name: tensor.shape for name, tensor in state.items()}
    assert sum(tensor.numel() for tensor in state.values()) == parameters
