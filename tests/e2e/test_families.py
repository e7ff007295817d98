"""A request that touches models of several families: one run, one verdict, and no family treated as another one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.e2e.office import POLICY, Done, Office

WORKSPACE = """\
version: 1
root: ../workspace
lineage: dvc
datasets:
  faces:
    source: manifest
    path: data/faces
    revision: faces-v1
models:
  face-vqgan:
    adapter: vqgan
    params:
      architecture: {image_size: 16, block_out_channels: [16, 16], norm_groups: 8, latent_channels: 4, codes: 32}
      perceptual: 0
    weights: models/face-vqgan/current
    task: {kind: inpaint, area: 0.25}
    training: {dataset: faces, where: {split: train}, loop: {steps: 30, batch: 8, learning_rate: 0.002}}
  face-diffusion:
    adapter: diffusion
    params:
      architecture: {image_size: 16, block_out_channels: [16, 32]}
      sampling_steps: 2
    weights: models/face-diffusion/current
    task: {kind: super-resolve, factor: 4}
    training: {dataset: faces, where: {split: train}, loop: {steps: 30, batch: 8, learning_rate: 0.002}}
"""

FEW_STEPS = (
    POLICY.replace("steps: 150, batch: 16", "steps: 6, batch: 4")
    .replace("{noise_bank: 64}", "{noise_bank: 16}")
    .replace("accept:\n", "accept:\n  noise-envelope: {inside_at_least: 0.95, noise_images: 100}\n")
)

ENCODERS = {
    "face-vqgan": ("encoder.", "quant_conv."),
    "face-diffusion": ("conv_in.", "down_blocks.", "mid_block."),
}


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Office:
    """A workspace whose two models were trained by `cu demo`."""
    office = Office(tmp_path_factory.mktemp("families"))
    office.policy_file.parent.mkdir(parents=True)
    office.workspace_file.write_text(WORKSPACE, encoding="utf-8")
    done = office.cu("demo", "policies")
    assert done.code == 0, done.err
    office.write_policy(FEW_STEPS)
    return office


@pytest.fixture(scope="module")
def applied(office: Office) -> Done:
    return office.apply("--json")


@pytest.fixture(scope="module")
def models(applied: Done) -> dict[str, Any]:
    return {model["name"]: model for model in applied.json["models"]}


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    (path,) = folder.rglob("*.safetensors")
    return load_file(path)


def test_few_steps_are_not_enough_and_evidence_is_kept(office: Office, applied: Done) -> None:
    assert (applied.code, applied.json["verdict"]) == (3, "not-compliant")
    assert len(office.ledger) == 1
    assert Path(applied.json["bundle"]).is_dir()


@pytest.mark.parametrize("name", ENCODERS)
def test_every_family_is_measured_before_and_after(models: dict[str, Any], name: str) -> None:
    psnr = models[name]["metrics"]["psnr"]
    assert set(psnr) == {"forget", "forget-held-out", "retain", "retain-held-out"}
    assert all(figures["before"] != figures["after"] for figures in psnr.values())


@pytest.mark.parametrize("name", ENCODERS)
def test_only_the_encoder_of_each_family_changed(office: Office, models: dict[str, Any], name: str) -> None:
    (artefact,) = [check for check in models[name]["checks"] if check["name"] == "artefact"]
    assert artefact["verdict"] == "passed"
    original = tensors(office.root / "models" / name / "original")
    candidate = tensors(office.root / models[name]["candidate"]["path"])
    changed = {key for key in original if not torch.equal(original[key], candidate[key])}
    assert changed
    assert all(key.startswith(ENCODERS[name]) for key in changed)
    frozen = [
        key for key in original if key.startswith(("time_embedding.", "quantize.", "post_quant_conv.", "decoder."))
    ]
    assert frozen


def test_a_task_that_a_family_cannot_do_lists_those_that_it_can(office: Office, tmp_path: Path) -> None:
    copy = office.copy(tmp_path / "copy")
    copy.change_workspace_file("adapter: diffusion", "adapter: mae")
    copy.change_workspace_file("architecture: {image_size: 16, block_out_channels: [16, 32]}", "architecture: {}")
    copy.change_workspace_file("      sampling_steps: 2\n", "")
    done = copy.cu("policy", "check", "policies/request.yaml")
    assert done.code == 2
    assert "`mae` cannot do `super-resolve`; it can do: inpaint, outpaint, random-mask" in done.err


def test_weights_of_another_family_are_refused_before_anything_is_changed(office: Office, tmp_path: Path) -> None:
    copy = office.copy(tmp_path / "copy")
    link = copy.root / "models" / "face-vqgan" / "current"
    link.unlink()
    link.symlink_to(Path("..") / "face-diffusion" / "original")
    done = copy.apply()
    assert (done.code, "Traceback" in done.err) == (4, False)
    assert len(copy.ledger) == len(office.ledger)
