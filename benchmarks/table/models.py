"""The models: trained on everything, trained without what must be forgotten, and unlearned ones."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch
from cu_audit.canonical import files_sha256, folder_files
from cu_audit.records import FORGET, RETAIN, Candidate

from benchmarks.table.cache import key_of
from benchmarks.table.case import Case
from benchmarks.table.trials import ALIGNMENT, Trial
from compliance_unlearn.api import Strategy, StrategyContext, StrategySpec, Task
from compliance_unlearn.api.plan import PlannedModel
from compliance_unlearn.engine.environment import environment
from compliance_unlearn.engine.images import RecordImages
from compliance_unlearn.engine.randomness import generator_for
from compliance_unlearn.engine.reporting import Reporter
from compliance_unlearn.engine.training import BaseTraining
from compliance_unlearn.engine.unlearning import Unlearning
from compliance_unlearn.policy.model import StrategyUse
from compliance_unlearn.registry import loop_settings, strategy_params, training_settings
from compliance_unlearn.workspace import write_atomic

PACKAGES = ("torch", "transformers", "diffusers")
"""Whose versions are told beside the machine."""


def trained(case: Case, task: Task, reporter: Reporter, *, without_forget: bool = False) -> Path:
    """Folder of a model that was trained as the workspace says; trains it if it is not there.

    Args:
        case: whose architecture and settings.
        task: that it learns.
        reporter: shows progress.
        without_forget: leave out the records that must be forgotten: the reference for "never seen".
    """
    settings = case.description() | {"task": task.model_dump(mode="json"), "without_forget": without_forget}
    key = key_of(settings)
    folder = case.state / "trained" / key
    if folder.exists():
        return folder
    names = (RETAIN,) if without_forget else (FORGET, RETAIN)
    images = case.images([record for name in names for record in case.sets[name]]).decode_all()
    training = BaseTraining(
        adapter=case.adapter(task),
        images=images,
        trained_on=torch.arange(len(images)),
        settings=training_settings(case.entry),
        folder=folder,
        state=case.state / "training" / key,
        identity=key,
    )
    training.create(case.device)
    training.optimise(f"Training {case.name}{' without the forget set' if without_forget else ''}", reporter)
    training.publish(training.export())
    return folder


def unlearned(case: Case, trial: Trial, seed: int, original: Path, reporter: Reporter) -> tuple[Path, dict[str, Any]]:
    """Folder of the model that a trial makes of ``original``, and how it came about.

    Returns:
        The folder; ``seconds`` of processor time that it took on all threads, preparation included, None for one that
        was interrupted; and the ``machine`` and ``code`` that made it.
    """
    planned = plan(case, trial, seed, original)
    key = key_of(planned.model_dump(mode="json") | {"retain": trial.retain, "share": trial.share})
    version, state = case.state / "unlearned" / key, case.state / "unlearning" / key
    summary = state / "made.json"
    if version.exists() and summary.exists():
        return version, json.loads(summary.read_bytes())
    registered = case.registry.find(StrategySpec, trial.strategy)
    strategy = case.registry.make(registered, case.registry.params(registered, planned.strategy_params))
    assert isinstance(strategy, Strategy)
    context = _context(case, trial, seed, original)
    unlearning = Unlearning(planned, state, version, key, reporter)
    interrupted, started = state.exists(), time.process_time()
    unlearning.run(strategy, context)
    making = {"seconds": None if interrupted else time.process_time() - started, **surroundings(case)}
    write_atomic(summary, json.dumps(making).encode())
    return version, making


def surroundings(case: Case) -> dict[str, Any]:
    """The machine, without its name, and the code that decides what a strategy does."""
    found = environment(case.registry, case.device)
    device = found.processor if found.device == "cpu" else found.device
    packages = ", ".join(f"{name} {found.packages[name]}" for name in PACKAGES if name in found.packages)
    return {
        "machine": f"{device}, {found.threads} threads, {found.platform}, Python {found.python}, {packages}",
        "code": {plugin.distribution: plugin.sha256 for plugin in found.plugins},
    }


def plan(case: Case, trial: Trial, seed: int, original: Path) -> PlannedModel:
    """The trial with everything resolved: its own word, then the workspace's, then the strategy's defaults."""
    registered = case.registry.find(StrategySpec, trial.strategy)
    loop = {**_shared_loop(case, trial), **case.scale.loop, "seed": seed}
    use = StrategyUse(use=trial.strategy, params=dict(trial.params), loop=loop)
    params = case.registry.params(registered, strategy_params(use, case.entry))
    files = folder_files(original)
    retain = {"dataset": case.dataset, "proxy": case.proxy[0] if case.proxy else None, "none": None}[trial.retain]
    return PlannedModel(
        name=case.name,
        adapter=case.family,
        adapter_params=case.entry.params,
        task=trial.task or case.entry.task,
        noise=case.entry.noise,
        source=Candidate(path=case.workspace.relative(original), sha256=files_sha256(files), files=files),
        strategy=trial.strategy,
        strategy_params=params.model_dump(mode="json"),
        loop=loop_settings(use, case.entry, registered.spec),
        reference=None,
        lineage=case.dataset.lineage,
        retain=retain.lineage if retain else None,
        counts={name: len(records) for name, records in case.sets.items()},
        records={},
    )


def _shared_loop(case: Case, trial: Trial) -> dict[str, Any]:
    """The loop that the workspace gives the paper's method, for strategies that it does not mention: equal budgets."""
    known = case.entry.strategies
    return {} if trial.strategy in known or ALIGNMENT not in known else known[ALIGNMENT].loop


def _context(case: Case, trial: Trial, seed: int, original: Path) -> StrategyContext:
    teacher = case.load(original, trial.task)
    return StrategyContext(
        student=teacher.replica(),
        teacher=teacher,
        forget=case.images(case.sets[FORGET]).decode_all(),
        retain=_retain(case, trial, seed),
        noise=case.noise(teacher),
        generator=generator_for(seed, "unlearning"),
        seed=seed,
    )


def _retain(case: Case, trial: Trial, seed: int) -> RecordImages | None:
    if trial.retain == "none":
        return None
    dataset, records = case.dataset, case.sets[RETAIN]
    if trial.retain == "proxy":
        assert case.proxy is not None
        dataset, records = case.proxy
    count = max(1, round(trial.share * len(records)))
    chosen = torch.randperm(len(records), generator=generator_for(seed, "share of retain"))[:count].sort().values
    kept = [records[index] for index in chosen.tolist()]
    return RecordImages(dataset.source, kept, case.adapter().image_shape).decode_all()
