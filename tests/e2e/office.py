"""A workspace on disk with its policies, and the real commands `cu`, `git` and `dvc` run in it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cu_audit.canonical import files_sha256, folder_files
from cu_mlflow.settings import prepare_import, quiet

SUBJECT = "s17"
REQUEST = "gdpr-req-123"
CU = Path(sys.executable).with_name("cu")
PATIENCE = 600

WORKSPACE = """\
version: 1
root: ../workspace
lineage: dvc
datasets:
  faces:
    source: manifest
    path: data/faces
    revision: faces-v1
    showable: {subject: {in: [s02, s05, s11]}}
  strangers:
    source: image-folder
    path: data/strangers
    revision: strangers-v1
models:
  face-mae:
    adapter: mae
    params:
      architecture:
        image_size: 32
        hidden_size: 96
        layers: 2
        intermediate_size: 256
        decoder_hidden_size: 64
        decoder_layers: 1
        decoder_intermediate_size: 128
    weights: models/face-mae/current
    task: {kind: inpaint, area: 0.25}
    training:
      dataset: faces
      where: {split: train}
      loop: {steps: 700, batch: 32, learning_rate: 0.002, weight_decay: 0.05, warmup: 30, schedule: cosine}
evidence:
  folder: evidence
  sinks:
    mlflow: {tracking_uri: "sqlite:///mlflow.db"}
copies_not_reached:
  - The pictures themselves.
"""

POLICY = """\
version: 1
request:
  id: gdpr-req-123
  ground: GDPR Art. 17(1)(b)
  received: 2026-11-02
forget:
  dataset: faces
  where: {subject: s17}
models: affected
retain: {use: dataset}
verify: quick
strategy:
  use: encoder-alignment
  params: {noise_bank: 64}
  loop: {steps: 150, batch: 16, learning_rate: 0.0005, checkpoint_every: 5}
accept:
  retrieval-leak: {at_most: 0.40}
  retain-drift: {psnr_drop_at_most: 1.5, worst_subject_drop_at_most: 4.0}
"""
"""A model this small cannot fill the noise envelope's controls; what it can be asked honestly, it is asked."""

NO_STEPS = POLICY.replace("steps: 150", "steps: 0")


@dataclass(frozen=True)
class Done:
    """A command that ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Office:
    """Where a compliance officer works: ``policies/`` beside ``workspace/``."""

    folder: Path

    @property
    def root(self) -> Path:
        return self.folder / "workspace"

    @property
    def policy_file(self) -> Path:
        return self.folder / "policies" / "request.yaml"

    @property
    def workspace_file(self) -> Path:
        return self.folder / "policies" / "workspace.yaml"

    @property
    def link(self) -> Path:
        return self.root / "models" / "face-mae" / "current"

    @property
    def evidence(self) -> Path:
        return self.root / "evidence"

    @property
    def ledger(self) -> list[Any]:
        file = self.evidence / "ledger.jsonl"
        return [json.loads(line) for line in file.read_bytes().splitlines()] if file.exists() else []

    def copy(self, folder: Path) -> Office:
        return Office(Path(shutil.copytree(self.folder, folder, symlinks=True)))

    def write_policy(self, text: str) -> None:
        self.policy_file.write_text(text, encoding="utf-8")

    def change_workspace_file(self, old: str, new: str) -> None:
        text = self.workspace_file.read_text(encoding="utf-8")
        assert old in text
        self.workspace_file.write_text(text.replace(old, new), encoding="utf-8")

    def cu(
        self,
        *arguments: str,
        variables: Mapping[str, str] | None = None,
        patience: float = PATIENCE,
        **settings: Any,
    ) -> Done:
        """Run `cu` as a person would: in the folder that holds ``policies``."""
        done = subprocess.run(
            [CU, *arguments],
            cwd=self.folder,
            env=environment(variables),
            capture_output=True,
            text=True,
            timeout=patience,
            check=False,
            **settings,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def apply(self, *arguments: str, **settings: Any) -> Done:
        return self.cu("apply", "policies/request.yaml", *arguments, **settings)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start `cu apply` in a process group of its own, and do not wait."""
        return subprocess.Popen(
            [CU, "apply", "policies/request.yaml", *arguments],
            cwd=self.folder,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def tool(self, *command: str) -> str:
        """Run git or DVC in the workspace."""
        program = [sys.executable, "-m", "dvc"] if command[0] == "dvc" else [command[0]]
        done = subprocess.run(
            [*program, *command[1:]],
            cwd=self.root,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def version(self) -> dict[str, str]:
        """Digests of the files of the model in use."""
        return folder_files(self.link.resolve())

    def version_sha256(self) -> str:
        return files_sha256(self.version())

    def snapshot(self) -> dict[str, str]:
        """Every file by its SHA-256 and every link by its target, .git, .dvc and .cu included.

        All but DVC's scratch folder, where it makes an empty index when it reads a repository for the first time.
        """
        found = {}
        for path in sorted(self.folder.rglob("*")):
            name = path.relative_to(self.folder).as_posix()
            if name.startswith("workspace/.dvc/tmp/"):
                continue
            if path.is_symlink():
                found[name] = f"-> {path.readlink()}"
            elif path.is_file():
                found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        return found

    def forget_rows(self) -> list[dict[str, str]]:
        """Rows of the manifest that the policy selects: id, path, subject, split."""
        header, *rows = (self.root / "data/faces/manifest.csv").read_text(encoding="utf-8").splitlines()
        named = [dict(zip(header.split(","), row.split(","), strict=True)) for row in rows]
        return [row for row in named if row["subject"] == SUBJECT]

    def forget_files(self) -> list[Path]:
        return [self.root / "data/faces" / row["path"] for row in self.forget_rows()]

    def tracked_runs(self) -> list[Any]:
        """Every run in the MLflow database, deleted ones included."""
        prepare_import()
        with quiet():
            from mlflow.entities import ViewType

            client = self.tracker()
            experiments = [found.experiment_id for found in client.search_experiments(view_type=ViewType.ALL)]
            return list(client.search_runs(experiments, run_view_type=ViewType.ALL))

    def tracker(self) -> Any:
        prepare_import()
        with quiet():
            from mlflow import MlflowClient

            uri = f"sqlite:///{self.root / 'mlflow.db'}"
            return MlflowClient(tracking_uri=uri, registry_uri=uri)


def environment(variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment, with one thread: on models this small more threads only wait for each other."""
    return {**os.environ, "OMP_NUM_THREADS": "1", **(variables or {})}


def refused(done: Done, code: int) -> bool:
    """Whether a command ended with a code and a message, and not with a traceback."""
    return done.code == code and done.err.strip() != "" and "Traceback" not in done.err + done.out
