"""Planning: resolve and hash all that a request touches. Reads much, writes nothing, loads no model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cu_audit.canonical import canonical, files_sha256, folder_files, keyed
from cu_audit.records import FORGET, FORGET_HELD_OUT, Candidate, LedgerEntry
from pydantic import BaseModel

from compliance_unlearn.api import (
    AdapterSpec,
    CheckSpec,
    DataError,
    DataSource,
    DataSourceSpec,
    Finding,
    LineageStore,
    LineageStoreSpec,
    Plan,
    StrategySpec,
)
from compliance_unlearn.api.plan import PlannedCheck, PlannedModel
from compliance_unlearn.engine.sets import ModelSets, OpenDataset, keyed_digests, split_sets
from compliance_unlearn.evidence.ledger import Ledger
from compliance_unlearn.policy import LoadedPolicy, Policy, canonical_policy
from compliance_unlearn.registry import Registry, check_names, loop_settings, strategy_params
from compliance_unlearn.workspace import Workspace, current_version, require_promotable


@dataclass(frozen=True)
class ResolvedPlan:
    """A plan with the objects that it was resolved to.

    Attributes:
        plan: what is hashed and shown.
        digest: keyed digest of the plan: the name of the run.
        key: the key of the request.
        sets: records of each model.
        findings: what reviewers had to say.
        finished: the ledger entry of an earlier run of this very plan that is still in force, if there is one.
    """

    plan: Plan
    digest: str
    key: bytes
    policy: LoadedPolicy
    workspace: Workspace
    registry: Registry
    lineage_store: LineageStore
    sets: Mapping[str, ModelSets]
    findings: tuple[Finding, ...]
    finished: LedgerEntry | None

    @property
    def short_digest(self) -> str:
        """The first twelve digits, for names of folders."""
        return self.digest.removeprefix("hmac-sha256:")[:12]


class Planner:
    """Resolves one policy against one workspace."""

    def __init__(self, policy: LoadedPolicy, workspace: Workspace, registry: Registry) -> None:
        self._policy = policy
        self._workspace = workspace
        self._registry = registry
        self._key = workspace.request_key(policy.policy.request.id)
        self._lineage_store = open_lineage_store(workspace, registry)
        self._opened: dict[tuple[str, str], OpenDataset] = {}

    def resolve(self) -> ResolvedPlan:
        """Resolve everything.

        Raises:
            PolicyError: a name or a parameter is wrong.
            DataError: nothing is selected, everything is, or the data cannot be pinned.
            ModelError: weights are missing.
        """
        sets = self._affected()
        findings = tuple(self._own_findings(sets))
        current = {name: self._source(name) for name in sets}
        plan, finished = self._plan(sets, current), None
        ledger = Ledger(self._workspace.evidence)
        for entry in ledger.of_request(self._policy.policy.request.id):
            earlier = ledger.result(entry)
            if {model.name for model in earlier.models} != set(sets):
                continue
            candidate = self._plan(sets, {model.name: model.source for model in earlier.models})
            if self._digest(candidate) == entry.plan_digest and ledger.in_force(earlier, current):
                plan, finished = candidate, entry
        findings += self._registry.review(plan)
        return ResolvedPlan(
            plan=plan,
            digest=self._digest(plan),
            key=self._key,
            policy=self._policy,
            workspace=self._workspace,
            registry=self._registry,
            lineage_store=self._lineage_store,
            sets=sets,
            findings=findings,
            finished=finished,
        )

    def _digest(self, plan: Plan) -> str:
        return keyed(self._key, canonical(plan))

    def _affected(self) -> dict[str, ModelSets]:
        policy, file = self._policy.policy, self._workspace.file
        if policy.models == "affected":
            named = [name for name, entry in file.models.items() if entry.training.dataset == policy.forget.dataset]
        else:
            named = list(policy.models)
        sets = {name: self._model_sets(name) for name in named}
        affected = {name: model for name, model in sets.items() if model.sets[FORGET]}
        if policy.models != "affected" and len(affected) < len(named):
            untouched = ", ".join(name for name in named if name not in affected)
            raise DataError(f"forget.where matches no record that these models were trained on: {untouched}")
        if not affected:
            seen = any(model.sets[FORGET_HELD_OUT] for model in sets.values())
            raise DataError(
                "forget.where matches records, but no model of the workspace was trained on any of them"
                if seen
                else f"forget.where matches no record of data set {policy.forget.dataset}"
            )
        return affected

    def _model_sets(self, name: str) -> ModelSets:
        policy, entry = self._policy.policy, self._workspace.file.models[name]
        if entry.training.dataset != policy.forget.dataset:
            raise DataError(
                f"model {name} was trained on data set {entry.training.dataset}, "
                f"the policy forgets from {policy.forget.dataset}"
            )
        dataset = self._open(entry.training.dataset, self._workspace.training_revision(name))
        sets = split_sets(dataset, self._policy.forget_selector, self._workspace.training_selector(name))
        retain_dataset, retain = self._retain(dataset, sets)
        return ModelSets(dataset, sets, retain_dataset, retain)

    def _retain(self, dataset: OpenDataset, sets: Mapping[str, Any]) -> tuple[OpenDataset | None, Any]:
        """What the optimiser may use as retain data; what is measured stays the model's own data set."""
        policy = self._policy.policy
        if policy.retain.use == "none":
            return None, sets[FORGET] - sets[FORGET]
        if policy.retain.use == "proxy":
            assert policy.retain.dataset is not None
            proxy = policy.retain.dataset
            dataset = self._open(proxy, self._workspace.file.datasets[proxy].revision)
            records = dataset.source.resolve(self._policy.retain_selector)
        else:
            records = sets["retain"]
            if self._policy.retain_selector is not None:
                records = records & dataset.source.resolve(self._policy.retain_selector)
        if not records:
            raise DataError("retain matches no record; say retain: {use: none} if no retain data may be used")
        return dataset, records

    def _open(self, name: str, revision: str) -> OpenDataset:
        if (name, revision) not in self._opened:
            opened = open_dataset(self._workspace, self._registry, self._lineage_store, name, revision)
            self._opened[name, revision] = opened
        return self._opened[name, revision]

    def _source(self, name: str) -> Candidate:
        entry = self._workspace.file.models[name]
        require_promotable(self._workspace, entry)
        folder = current_version(self._workspace, entry)
        files = folder_files(folder)
        return Candidate(path=self._workspace.relative(folder), sha256=files_sha256(files), files=files)

    def _plan(self, sets: Mapping[str, ModelSets], sources: Mapping[str, Candidate]) -> Plan:
        policy = self._policy.policy
        return Plan(
            request=policy.request.id,
            ground=policy.request.ground,
            received=policy.request.received,
            due=policy.request.due,
            policy=keyed(self._key, canonical_policy(self._policy)),
            retain=policy.retain.use,
            models=tuple(self._planned_model(name, sets[name], sources[name]) for name in sorted(sets)),
            checks=self._checks(),
            not_reached=tuple(self._workspace.file.copies_not_reached),
        )

    def _planned_model(self, name: str, sets: ModelSets, source: Candidate) -> PlannedModel:
        entry = self._workspace.file.models[name]
        use = self._policy.policy.strategy
        strategy = self._registry.find(StrategySpec, use.use)
        adapter = self._registry.find(AdapterSpec, entry.adapter)
        return PlannedModel(
            name=name,
            adapter=entry.adapter,
            adapter_params=_dump(self._registry.params(adapter, entry.params)),
            task=entry.task,
            noise=entry.noise,
            source=source,
            strategy=use.use,
            strategy_params=_dump(self._registry.params(strategy, strategy_params(use, entry))),
            loop=loop_settings(use, entry, strategy.spec),
            lineage=sets.dataset.lineage,
            retain=sets.retain_dataset.lineage if sets.retain_dataset else None,
            counts={key: len(records) for key, records in sets.sets.items()} | {"retain-used": len(sets.retain)},
            records=keyed_digests(sets.dataset, sets.sets, self._key),
        )

    def _checks(self) -> tuple[PlannedCheck, ...]:
        accept = self._policy.policy.accept
        names = {spec.name for spec in self._registry.mandatory_checks()} | set(accept)
        planned = []
        for name in sorted(names):
            registered = self._registry.find(CheckSpec, name)
            params = self._registry.params(registered, accept.get(name, {}))
            planned.append(PlannedCheck(name=name, params=_dump(params)))
        return tuple(planned)

    def _own_findings(self, sets: Mapping[str, ModelSets]) -> list[Finding]:
        findings = []
        for name, model in sets.items():
            missing = model.dataset.source.missing_values(self._policy.forget_selector)
            if missing:
                findings.append(_warning(f"{name}: {missing} records lack a value that forget.where looks at"))
            if not model.sets[FORGET_HELD_OUT]:
                findings.append(
                    _warning(
                        f"{name}: no never-seen record is selected, so forgetting beyond the records is not tested"
                    )
                )
        return findings


def open_lineage_store(workspace: Workspace, registry: Registry) -> LineageStore:
    """The lineage store that the workspace names."""
    use = workspace.file.lineage
    registered = registry.find(LineageStoreSpec, use.use)
    store = registry.make(registered, registry.params(registered, use.params), workspace.root)
    assert isinstance(store, LineageStore)
    return store


def open_dataset(
    workspace: Workspace, registry: Registry, store: LineageStore, name: str, revision: str
) -> OpenDataset:
    """A data set of the workspace at a revision."""
    entry = workspace.file.datasets[name]
    tree = store.open(name, entry.path, revision)
    registered = registry.find(DataSourceSpec, entry.source)
    source = registry.make(registered, registry.params(registered, entry.params), tree)
    assert isinstance(source, DataSource)
    return OpenDataset(tree, source)


def _dump(params: BaseModel) -> dict[str, Any]:
    return params.model_dump(mode="json")


def _warning(message: str) -> Finding:
    return Finding(severity="warning", message=message)


def plan_policy(path: Path, workspace: Workspace, registry: Registry) -> ResolvedPlan:
    """Load and resolve the policy at ``path``."""
    policy = Policy.load(path)
    check_names(policy, workspace, registry)
    return Planner(policy, workspace, registry).resolve()
