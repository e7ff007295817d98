"""Each layout computes what its architecture defines, and goes back to the same files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from cu_diffusion.schedule import NoiseSchedule
from safetensors.torch import load_file, save_file

from compliance_unlearn.api import Inpaint, SuperResolve, Views, seeded_noise
from tests.integration.diffusion.small_models import (
    adapter_for,
    palette_config,
    palette_state,
    pictures,
    plain_palette,
    save_unet,
    seeded,
    small_unet,
)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"in_channels": 2, "resnet_time_scale_shift": "scale_shift", "flip_sin_to_cos": False},
        {"downsample_type": "resnet", "upsample_type": "resnet", "center_input_sample": True, "add_attention": False},
        {"mid_block_type": None, "sample_size": [8, 16]},
        {
            "down_block_types": ("ResnetDownsampleBlock2D", "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "ResnetUpsampleBlock2D"),
        },
    ],
    ids=["plain", "scale-shift", "resnet-resampling", "no-middle", "resnet-blocks"],
)
def test_the_two_halves_are_the_network_of_diffusers(changes: dict[str, Any], tmp_path: Path) -> None:
    network = small_unet(**changes)
    model = adapter_for(save_unet(network, tmp_path / "saved"))._model
    pixels = torch.randn(3, network.config.in_channels, model.shape.height, model.shape.width, generator=seeded(1))
    times = model.schedule.at(torch.tensor([0, 40, 99]))
    with torch.no_grad():
        embedding = model.embed(times)
        halves = model.decode(model.encode(pixels, embedding), embedding)
        whole = network(pixels, times.steps).sample
    torch.testing.assert_close(halves, whole, rtol=0, atol=1e-4)


def test_the_network_is_shown_image_mask_and_condition_as_pipelines_do(saved: tuple[Any, Path]) -> None:
    adapter, image = adapter_for(saved[1]), pictures(1)
    views = adapter.views(1, seeded(1))
    inputs = adapter.training_view(image, views).inputs
    joined = adapter._model.joined(inputs)
    assert torch.equal(joined[:, :1], inputs.noised)
    assert torch.equal(joined[:, 1:2], views.hidden.float())
    assert torch.equal(joined[:, 2:], torch.where(views.hidden, 0.0, 2 * image - 1))


def test_palette_computes_what_its_release_defines(released: Path) -> None:
    model = adapter_for(released)._model
    pixels, levels = torch.randn(3, 2, 16, 16, generator=seeded(1)), torch.tensor([0.001, 0.4, 0.99])
    with torch.no_grad():
        embedding = model.module.denoise_fn.embed(levels)  # type: ignore[union-attr, operator]
        halves = model.decode(model.encode(pixels, embedding), embedding)
    torch.testing.assert_close(halves, plain_palette(palette_state(), pixels, levels), rtol=0, atol=1e-4)


def test_palette_sees_noise_in_the_hole_of_its_condition_and_clean_pixels_around_it(released: Path) -> None:
    adapter, image = adapter_for(released), pictures(1)
    views = adapter.views(1, seeded(1))
    condition, noised = adapter._model.joined(adapter.training_view(image, views).inputs).chunk(2, dim=1)
    hidden = views.hidden
    assert torch.equal(condition[~hidden], (2 * image - 1)[~hidden])
    assert torch.equal(noised[~hidden], (2 * image - 1)[~hidden])
    assert 0.5 < condition[hidden].std() < 1.5
    assert not torch.equal(condition[hidden], noised[hidden])


def test_palette_learns_at_levels_between_those_of_its_steps(released: Path) -> None:
    model = adapter_for(released)._model
    times = model.training_times(torch.tensor([0.0, 0.5, 0.999999]))
    gammas = model.schedule.levels
    torch.testing.assert_close(times.levels, torch.stack([gammas[0], (gammas[24] + gammas[25]) / 2, gammas[49]]))


@pytest.mark.parametrize("unet", [{"use_new_attention_order": True}, {"use_scale_shift_norm": False}])
def test_other_forms_of_palette_can_be_read(unet: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(palette_config(**unet)), encoding="utf-8")
    save_file(palette_state(film=unet.get("use_scale_shift_norm", True)), tmp_path / "model.safetensors")
    adapter = adapter_for(tmp_path)
    with torch.no_grad():
        made = adapter.reconstruct(adapter.degrade(pictures(2), adapter.views(2, seeded(1))))
    assert made.images.isfinite().all()


def test_a_folder_of_diffusers_goes_back_unchanged(saved: tuple[Any, Path], tmp_path: Path) -> None:
    network, folder = saved
    (tmp_path / "export").mkdir()
    adapter_for(folder).export(tmp_path / "export")
    assert _files(tmp_path / "export") == _files(folder)
    again = type(network).from_pretrained(tmp_path / "export" / "unet")
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in network.state_dict().items())


def test_a_bare_network_folder_goes_back_unchanged(saved: tuple[Any, Path], tmp_path: Path) -> None:
    folder = saved[1] / "unet"
    (saved[1] / "scheduler" / "scheduler_config.json").rename(folder / "scheduler_config.json")
    (tmp_path / "export").mkdir()
    adapter_for(folder).export(tmp_path / "export")
    assert _files(tmp_path / "export") == _files(folder)


def test_half_precision_weights_stay_so(tmp_path: Path) -> None:
    folder = save_unet(small_unet().half(), tmp_path / "saved")
    (tmp_path / "export").mkdir()
    adapter = adapter_for(folder)
    adapter.export(tmp_path / "export")
    assert next(adapter.module.parameters()).dtype == torch.float32
    assert _files(tmp_path / "export") == _files(folder)


@pytest.mark.parametrize("tables", [True, False], ids=["trained", "averaged"])
def test_a_palette_checkpoint_comes_back_with_the_same_tensors(tables: bool, released: Path, tmp_path: Path) -> None:
    state = palette_state(tables=tables)
    torch.save(state, released / "16_Network.pth")
    (tmp_path / "export").mkdir()
    adapter_for(released).export(tmp_path / "export")
    stored = load_file(tmp_path / "export" / "model.safetensors")
    assert stored.keys() == state.keys()
    assert all(torch.equal(stored[name], tensor) for name, tensor in state.items())
    assert (tmp_path / "export" / "config.json").read_bytes() == (released / "config.json").read_bytes()
    adapter_for(tmp_path / "export")


def test_comments_of_the_released_configuration_are_understood(released: Path, tmp_path: Path) -> None:
    plain = json.dumps(palette_config(), indent=2)
    commented = plain.replace('"name": "inpainting",', '"name": "http://x", // "\n  // a line of its own')
    (released / "config.json").write_text(commented, encoding="utf-8")
    (tmp_path / "export").mkdir()
    adapter_for(released).export(tmp_path / "export")
    assert json.loads((tmp_path / "export" / "config.json").read_bytes()) == {**palette_config(), "name": "http://x"}


@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
def test_an_exact_prediction_gives_the_image(prediction_type: str) -> None:
    schedule = NoiseSchedule.from_config({"num_train_timesteps": 100, "prediction_type": prediction_type})
    image, noise = torch.randn(4, 1, 8, 8, generator=seeded(1)), torch.randn(4, 1, 8, 8, generator=seeded(2))
    times = schedule.at(torch.tensor([0, 30, 60, 99]))
    noised = schedule.noised(image, noise, times)
    torch.testing.assert_close(
        schedule.image(schedule.target(image, noise, times), noised, times), image, rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
def test_sampling_is_that_of_diffusers(prediction_type: str, tmp_path: Path) -> None:
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    network = small_unet(in_channels=2)
    adapter = adapter_for(save_unet(network, tmp_path, prediction_type=prediction_type), SuperResolve(factor=4))
    image, views = pictures(2), Views(torch.ones(2, 1, 16, 16, dtype=torch.bool), torch.tensor([5, 6]))
    steps = DDIMScheduler(num_train_timesteps=100, prediction_type=prediction_type, timestep_spacing="trailing")
    steps.set_timesteps(2)
    small = torch.nn.functional.avg_pool2d(image, 4).repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    sample = seeded_noise(views.seeds, (1, 16, 16))
    with torch.no_grad():
        for step in steps.timesteps:
            sample = steps.step(network(torch.cat([sample, 2 * small - 1], 1), step).sample, step, sample).prev_sample
        made = adapter.reconstruct(adapter.degrade(image, views)).images
    torch.testing.assert_close(made, (sample / 2 + 0.5).clamp(0, 1), rtol=0, atol=1e-4)


def test_the_training_loss_is_the_error_on_hidden_pixels(saved: tuple[Any, Path]) -> None:
    network, folder = saved
    adapter, image, target = adapter_for(folder, Inpaint(area=0.25)), pictures(2), pictures(3)[1:]
    inputs = adapter.training_view(target, adapter.views(2, seeded(4))).inputs
    shown = torch.where(inputs.hidden, 0.0, 2 * image - 1)
    level = inputs.times.levels[:, None, None, None]
    visible = level.sqrt() * shown + (1 - level).sqrt() * inputs.noise
    noised = torch.where(inputs.hidden, inputs.noised, visible)
    with torch.no_grad():
        made = network(torch.cat([noised, inputs.hidden.float(), shown], 1), inputs.times.steps).sample
        loss = adapter.training_loss(image, seeded(4), target)
    torch.testing.assert_close(loss, ((made - (2 * target - 1)) ** 2)[inputs.hidden].mean())


def _files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
