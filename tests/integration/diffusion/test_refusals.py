"""What is no usable model is refused, with both sides of what does not fit, and nothing is unpickled."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from cu_diffusion.adapter import DiffusionAdapter
from cu_diffusion.params import Architecture, DiffusionParams
from pydantic import ValidationError

from compliance_unlearn.api import Colourise, Inpaint, ModelError, PixelStatistics, SuperResolve, Task
from tests.integration.diffusion.small_models import (
    CPU,
    adapter_for,
    palette_config,
    palette_state,
    pictures,
    save_unet,
    seeded,
    small_unet,
)


class Trap:
    """Unpickling this makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
        return Path.touch, (self.path,)


def edit(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **changes}), encoding="utf-8")


def test_a_configuration_of_no_family_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ModelError, match=r"neither the config.json of a UNet2DModel"):
        adapter_for(tmp_path)


def test_a_pipeline_in_latent_space_is_refused(saved: tuple[Any, Path]) -> None:
    index = {
        "_class_name": "LDMSuperResolutionPipeline",
        "requires_safety_checker": True,
        "feature_extractor": [None, None],
        "scheduler": ["diffusers", "DDPMScheduler"],
        "unet": ["diffusers", "UNet2DModel"],
    }
    path = saved[1] / "model_index.json"
    path.write_text(json.dumps(index), encoding="utf-8")
    adapter_for(saved[1])
    path.write_text(json.dumps({**index, "vqvae": ["diffusers", "VQModel"]}), encoding="utf-8")
    expected = "expected a pipeline in pixel space: unet and scheduler"
    with pytest.raises(ModelError, match=f"a LDMSuperResolutionPipeline of diffusers with vqvae, {expected}"):
        adapter_for(saved[1])


def test_parts_of_a_latent_space_count_without_an_index(saved: tuple[Any, Path]) -> None:
    (saved[1] / "samples").mkdir()
    adapter_for(saved[1])
    for part in ("vae", "text_encoder_2"):
        (saved[1] / part).mkdir()
    with pytest.raises(ModelError, match="a pipeline of diffusers with text_encoder_2, vae, expected a pipeline in"):
        adapter_for(saved[1])


def test_a_model_without_condition_names_both_numbers_of_channels(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"makes 1 channels and takes 1; .* takes 2 .* or 3"):
        adapter_for(save_unet(small_unet(in_channels=1), tmp_path))


def test_weights_of_another_size_name_both_shapes(saved: tuple[Any, Path]) -> None:
    edit(saved[1] / "unet" / "config.json", in_channels=2)
    with pytest.raises(ModelError, match=r"conv_in.weight: \[8, 3, 3, 3\] in the file, \[8, 2, 3, 3\] in the model"):
        adapter_for(saved[1])


def test_images_of_other_channels_are_refused(saved: tuple[Any, Path]) -> None:
    adapter = adapter_for(saved[1])
    with pytest.raises(ModelError, match=r"takes images \(1, 1, 16, 16\), got \(1, 3, 16, 16\)"):
        adapter.degrade(pictures(1, channels=3), adapter.views(1, seeded(1)))


@pytest.mark.parametrize(
    ("task", "complaint"),
    [
        (Colourise(), "the model has 1 channels; images in colour have 3; tasks for such images: inpaint, outpaint"),
        (SuperResolve(factor=3), r"no multiple of the factor 3; .*super-resolve \(factor 2, 4, 8, 16\)"),
    ],
)
def test_a_task_that_the_images_do_not_have_is_refused_at_once(
    task: Task, complaint: str, saved: tuple[Any, Path]
) -> None:
    with pytest.raises(ModelError, match=complaint):
        adapter_for(saved[1], task)
    new = DiffusionAdapter(DiffusionParams(architecture=Architecture(image_size=16)), task)
    with pytest.raises(ModelError, match=complaint):
        new.create(PixelStatistics((0.5,), (0.5,)), seeded(1), CPU)


def test_a_missing_scheduler_is_named(saved: tuple[Any, Path]) -> None:
    shutil.rmtree(saved[1] / "scheduler")
    with pytest.raises(ModelError, match=r"scheduler_config.json is absent"):
        adapter_for(saved[1])


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"_class_name": "EulerDiscreteScheduler"}, "_class_name is 'EulerDiscreteScheduler'"),
        ({"beta_schedule": "steep"}, "not one that diffusers knows"),
        ({"prediction_type": "flow"}, "prediction_type is 'flow', expected one of epsilon, sample, v_prediction"),
        ({"prediction_type": "epsilon", "rescale_betas_zero_snr": True}, "cannot begin with nothing of the image"),
        ({"num_train_timesteps": 1}, "sampling_steps is 2, but the model knows 1 times"),
    ],
)
def test_schedulers_that_cannot_be_used(saved: tuple[Any, Path], changes: dict[str, Any], complaint: str) -> None:
    edit(saved[1] / "scheduler" / "scheduler_config.json", **changes)
    with pytest.raises(ModelError, match=complaint):
        adapter_for(saved[1])


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"down_block_types": ["SkipDownBlock2D", "DownBlock2D"]}, "down_block_types holds SkipDownBlock2D"),
        ({"num_class_embeds": 10}, "conditioned on classes"),
        ({"time_embedding_type": "fourier"}, "time_embedding_type must be positional"),
        ({"sample_size": None}, "sample_size is absent"),
        ({"sample_size": 15}, "is not a multiple of 2"),
        ({"block_out_channels": [8]}, "does not describe a UNet2DModel"),
    ],
)
def test_networks_that_cannot_be_run(saved: tuple[Any, Path], changes: dict[str, Any], complaint: str) -> None:
    edit(saved[1] / "unet" / "config.json", **changes)
    with pytest.raises(ModelError, match=complaint):
        adapter_for(saved[1])


@pytest.mark.parametrize(
    ("unet", "complaint"),
    [
        ({"in_channel": 3}, "in_channel is 3 and out_channel 1; .* in_channel must be 2"),
        ({"inner_channel": 40}, "multiple of 32"),
        ({"image_size": 15}, "multiple of 2"),
        ({"depth": 3}, "unet.depth"),
    ],
)
def test_palette_networks_that_cannot_be(released: Path, unet: dict[str, Any], complaint: str) -> None:
    (released / "config.json").write_text(json.dumps(palette_config(**unet)), encoding="utf-8")
    with pytest.raises(ModelError, match=complaint):
        adapter_for(released)


def test_the_other_network_of_the_release_is_refused(released: Path) -> None:
    config = palette_config()
    config["model"]["which_networks"][0]["args"]["module_name"] = "sr3"
    (released / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ModelError, match="module_name: Input should be 'guided_diffusion'"):
        adapter_for(released)


def test_two_files_of_weights_are_named(released: Path) -> None:
    torch.save(palette_state(), released / "32_Network.pth")
    with pytest.raises(ModelError, match=r"16_Network.pth, 32_Network.pth all look like the weights"):
        adapter_for(released)


def test_the_average_beside_the_weights_is_not_read(released: Path, tmp_path: Path) -> None:
    torch.save(Trap(tmp_path / "trap"), released / "16_Network_ema.pth")
    state = adapter_for(released).module.state_dict()
    assert torch.equal(state["denoise_fn.out.2.weight"], palette_state()["denoise_fn.out.2.weight"])
    (released / "16_Network.pth").unlink()
    with pytest.raises(ModelError, match=r"neither model.safetensors nor a file \*_Network.pth; an average"):
        adapter_for(released)
    assert not (tmp_path / "trap").exists()


@pytest.mark.parametrize("content", [lambda trap: trap, lambda trap: {**palette_state(), "more": trap}])
def test_an_unsafe_pickle_is_refused_unread(content: Callable[[Trap], Any], released: Path, tmp_path: Path) -> None:
    torch.save(content(Trap(tmp_path / "trap")), released / "16_Network.pth")
    with pytest.raises(ModelError, match=r"damaged, or .* could run code and was not read"):
        adapter_for(released)
    assert not (tmp_path / "trap").exists()


def test_a_plain_pickle_and_damaged_bytes_are_refused_without_a_warning(released: Path, tmp_path: Path) -> None:
    for content in (pickle.dumps(Trap(tmp_path / "trap")), Random(0).randbytes(300)):
        (released / "16_Network.pth").write_bytes(content)
        with pytest.raises(ModelError, match=r"16_Network\.pth: damaged, or"):
            adapter_for(released)
    assert not (tmp_path / "trap").exists()


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.5, 0.999])
def test_a_truncated_checkpoint_is_refused(released: Path, kept: float) -> None:
    path = released / "16_Network.pth"
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(ModelError, match=r"16_Network.pth"):
        adapter_for(released)


def test_a_checkpoint_that_is_no_state_dict_is_refused(released: Path) -> None:
    torch.save([torch.zeros(2)], released / "16_Network.pth")
    with pytest.raises(ModelError, match="expected a state dict"):
        adapter_for(released)


def test_tensors_too_few_too_many_and_not_finite_are_named(released: Path) -> None:
    state = palette_state()
    del state["denoise_fn.out.0.bias"]
    torch.save({**state, "denoise_fn.teacher": torch.zeros(2)}, released / "16_Network.pth")
    with pytest.raises(ModelError, match=r"missing, first denoise_fn.out.0.bias; .* first denoise_fn.teacher"):
        adapter_for(released)
    torch.save({**palette_state(), "denoise_fn.out.0.bias": torch.full((32,), torch.nan)}, released / "16_Network.pth")
    with pytest.raises(ModelError, match=r"denoise_fn.out.0.bias holds something else than finite numbers"):
        adapter_for(released)


def test_pictures_of_other_channels_than_the_new_model_are_refused() -> None:
    adapter = DiffusionAdapter(DiffusionParams(), Inpaint())
    with pytest.raises(ModelError, match="takes 1 channels, the images have 3"):
        adapter.create(PixelStatistics((0.5,) * 3, (0.5,) * 3), seeded(1), CPU)


@pytest.mark.parametrize("sizes", [{"image_size": 30}, {"block_out_channels": (12, 16)}, {"depth": 3}])
def test_architectures_that_cannot_be(sizes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Architecture(**sizes)
