"""What a bundle says, in MLflow's terms: metrics, parameters, tags and data sets. Pure functions, no MLflow."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from cu_audit.bundle import Bundle
from cu_audit.records import FORGET, RETAIN, Lineage, ModelResult, RunResult

from compliance_unlearn.api import Plan

BUNDLE_TAG = "cu.bundle_sha256"

LONGEST_PARAMETER = 6000
LONGEST_TAG = 8000
LONGEST_DIGEST = 36


@dataclass(frozen=True)
class Point:
    """One value of a metric."""

    key: str
    value: float
    step: int = 0


@dataclass(frozen=True)
class DatasetUse:
    """A data set that a run read: what it served for, and how many of its records."""

    lineage: Lineage
    contexts: tuple[str, ...]
    counts: dict[str, int]


def key(*parts: str) -> str:
    """Join the parts of a name with dots; characters that MLflow refuses become underscores."""
    return re.sub(r"[^A-Za-z0-9_\-. :/]", "_", ".".join(part for part in parts if part))


def cut(text: str, longest: int) -> str:
    """Shorten visibly what MLflow would cut without a word."""
    note = " … (cut; the whole is in bundle/result.json)"
    return text if len(text) <= longest else text[: longest - len(note)] + note


def prefixed(result: RunResult) -> Iterator[tuple[str, ModelResult]]:
    """Each model with the prefix of its names: its own name where there are several, nothing where it is alone."""
    for model in result.models:
        yield (model.name if len(result.models) > 1 else ""), model


def metrics(result: RunResult) -> list[Point]:
    """Figures before and after, values of checks, seconds and loss curves; a value that does not exist is left out."""
    points: list[Point] = []
    for prefix, model in prefixed(result):
        points += _figures(prefix, model)
        points += [Point(key(prefix, "seconds", phase), value) for phase, value in model.seconds.items()]
        points += [
            Point(key(prefix, "loss", term), value, step)
            for term, values in model.loss.terms.items()
            for step, value in zip(model.loss.steps, values, strict=True)
        ]
    return points


def _figures(prefix: str, model: ModelResult) -> Iterator[Point]:
    for metric, sets in model.metrics.items():
        for name, figures in sets.items():
            for moment, value in (("before", figures.before), ("after", figures.after)):
                if value is not None:
                    yield Point(key(prefix, metric, name, moment), value)
    for check in model.checks:
        if check.value is not None:
            yield Point(key(prefix, "check", check.name, check.set), check.value)


def parameters(result: RunResult, plan: Plan) -> dict[str, str]:
    """Adapter, task, strategy and settings of each model, and the digest of the plan."""
    named = {"plan_digest": result.plan_digest, "retain": plan.retain}
    tasks = {model.name: model.task for model in plan.models}
    for prefix, model in prefixed(result):
        named |= {key(prefix, "adapter"): model.adapter, key(prefix, "strategy"): model.strategy}
        named[key(prefix, "counts")] = ", ".join(f"{name} {count}" for name, count in model.counts.items())
        if model.name in tasks:
            settings = tasks[model.name].model_dump()
            named[key(prefix, "task")] = settings.pop("kind")
            named |= {key(prefix, "task", name): str(value) for name, value in settings.items()}
        named |= {key(prefix, name): str(value) for name, value in model.parameters.items()}
    return {name: cut(value, LONGEST_PARAMETER) for name, value in named.items()}


def tags(bundle: Bundle) -> dict[str, str]:
    """Verdicts, the request and its clock, digests, and the plugins that took part."""
    result = bundle.result
    named = {
        BUNDLE_TAG: bundle.sha256,
        "cu.bundle": bundle.folder.name,
        "cu.verdict": result.verdict.value,
        "cu.request": result.request.id,
        "cu.ground": result.request.ground,
        "cu.received": result.request.received,
        "cu.due": result.request.due,
        "cu.plan_digest": result.plan_digest,
        "cu.dataset": result.lineage.dataset,
        "cu.dataset.revision": result.lineage.revision,
        "cu.dataset.digest": result.lineage.digest,
    }
    for prefix, model in prefixed(result):
        named |= {key("cu.check", prefix, check.name, check.set): check.verdict.value for check in model.checks}
        named |= {
            key("cu.candidate", prefix): model.candidate.sha256,
            key("cu.promoted", prefix): "yes" if model.promoted else "no",
        }
    for plugin in result.environment.plugins:
        named[key("cu.plugin", plugin.plugin)] = f"{plugin.distribution} {plugin.version}"
    return {name: cut(value, LONGEST_TAG) for name, value in named.items()}


def datasets(result: RunResult, plan: Plan) -> list[DatasetUse]:
    """Every data set once, since MLflow holds one input a data set and run, with all that it served for."""
    contexts: dict[Lineage, dict[str, None]] = defaultdict(dict)
    counts: dict[Lineage, dict[str, int]] = defaultdict(dict)
    contexts[result.lineage][FORGET] = None
    for planned in plan.models:
        for lineage, context in ((planned.lineage, FORGET), (planned.retain, RETAIN)):
            if lineage is not None:
                contexts[lineage][context] = None
                sets = {name: count for name, count in planned.counts.items() if name.startswith(context)}
                counts[lineage] |= sets
    return [DatasetUse(lineage, tuple(uses), counts[lineage]) for lineage, uses in contexts.items()]
