"""Planning: resolve and hash all that a request touches. Reads much, writes nothing, loads no model."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cu_audit.canonical import canonical, files_sha256, folder_files, keyed
from cu_audit.records import FORGET, FORGET_HELD_OUT, RETAIN, RETAIN_HELD_OUT, Candidate, LedgerEntry
from pydantic import BaseModel

from compliance_unlearn.api import (
    AdapterSpec,
    DataError,
    DataSource,
    DataSourceSpec,
    Finding,
    LineageStore,
    LineageStoreSpec,
    Plan,
    PolicyError,
    RecordSet,
    StrategySpec,
    texts_of,
)
from compliance_unlearn.api.plan import PlannedModel
from compliance_unlearn.engine.extent import Extent
from compliance_unlearn.engine.sets import (
    ModelSets,
    OpenDataset,
    files_left_out,
    keyed_digests,
    split_sets,
    unknown_names,
    without_copies,
)
from compliance_unlearn.engine.standing import StandingObligations
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
        warnings: model -> what evidence must say about its data.
        findings: those, and what reviewers had to say.
        finished: the ledger entry of an earlier run of this very plan that is still in force, if there is one.
        superseded: the entry of an earlier run of the same request whose candidates this run would replace.
    """

    plan: Plan
    digest: str
    key: bytes
    policy: LoadedPolicy
    workspace: Workspace
    registry: Registry
    lineage_store: LineageStore
    sets: Mapping[str, ModelSets]
    warnings: Mapping[str, tuple[str, ...]]
    findings: tuple[Finding, ...]
    finished: LedgerEntry | None
    superseded: LedgerEntry | None

    @property
    def short_digest(self) -> str:
        """The first twelve digits, for names of folders."""
        return self.digest.removeprefix("hmac-sha256:")[:12]


class Planner:
    """Resolves one policy against one workspace."""

    def __init__(
        self,
        policy: LoadedPolicy,
        workspace: Workspace,
        registry: Registry,
        extent: Extent,
    ) -> None:
        """Prepare to resolve.

        Args:
            policy: of the request.
            workspace: that it is about.
            registry: of plugins.
            extent: what is done beside unlearning.

        Raises:
            PolicyError: the policy demands more than ``extent`` verifies.
        """
        self._verify = extent.profile(policy.policy)
        self._extent = extent
        self._policy = policy
        self._workspace = workspace
        self._registry = registry
        self._key = workspace.request_key(policy.policy.request.id)
        self._lineage_store = open_lineage_store(workspace, registry)
        self._ledger = Ledger(workspace.evidence)
        self._standing = StandingObligations(workspace)
        self._opened: dict[tuple[str, str], OpenDataset] = {}

    def resolve(self) -> ResolvedPlan:
        """Resolve everything.

        Raises:
            PolicyError: a name or a parameter is wrong.
            DataError: nothing is selected, everything is, or the data cannot be pinned.
            ModelError: weights are missing.
        """
        self._refuse_revealing_names()
        sets = self._affected(self._ledger.entries)
        current = {name: self._source(name) for name in sets}
        plan, finished, superseded = self._plan(sets, current), None, None
        for entry in reversed(self._ledger.of_request(self._policy.policy.request.id)):
            earlier = self._ledger.result(entry)
            if {model.name for model in earlier.models} != set(sets):
                continue
            sets_then = self._affected(self._ledger.entries[: entry.index])
            plan_then = self._plan(sets_then, {model.name: model.source for model in earlier.models})
            if self._digest(plan_then) == entry.plan_digest and self._ledger.in_force(earlier, current):
                sets, plan, finished, superseded = sets_then, plan_then, entry, None
                break
            replaceable = all(model.promoted and current[model.name] == model.candidate for model in earlier.models)
            if superseded is None and replaceable:
                sets, plan, superseded = sets_then, plan_then, entry
        return self._resolved(sets, plan, finished, superseded)

    def _resolved(
        self,
        sets: Mapping[str, ModelSets],
        plan: Plan,
        finished: LedgerEntry | None = None,
        superseded: LedgerEntry | None = None,
    ) -> ResolvedPlan:
        warnings = {name: tuple(self._warnings(name, model)) for name, model in sets.items()}
        return ResolvedPlan(
            plan=plan,
            digest=self._digest(plan),
            key=self._key,
            policy=self._policy,
            workspace=self._workspace,
            registry=self._registry,
            lineage_store=self._lineage_store,
            sets=sets,
            warnings=warnings,
            findings=(*self._own_findings(warnings), *self._registry.review(plan)),
            finished=finished,
            superseded=superseded,
        )

    def of_entry(self, entry: LedgerEntry) -> ResolvedPlan:
        """The plan of an earlier run, with what the workspace held then."""
        earlier = self._ledger.result(entry)
        sets = self._affected(self._ledger.entries[: entry.index])
        sources = {model.name: model.source for model in earlier.models if model.name in sets}
        return self._resolved(sets, self._plan(sets, {**{name: self._source(name) for name in sets}, **sources}))

    def _digest(self, plan: Plan) -> str:
        return keyed(self._key, canonical(plan))

    def _refuse_revealing_names(self) -> None:
        """The id and the ground of a request go into evidence, so what selects the subject must not stand there."""
        request = self._policy.policy.request
        for text in texts_of(self._policy.forget_selector):
            if len(text) > 2 and text.lower() in f"{request.id} {request.ground}".lower():
                raise PolicyError(
                    "request.id or request.ground holds a value of forget.where; both are written into evidence, "
                    "so choose words that do not name the subject"
                )

    def _affected(self, entries: Sequence[LedgerEntry]) -> dict[str, ModelSets]:
        """Sets of each model that the request touches, as they are after the runs of ``entries``."""
        policy = self._policy.policy
        named = self._trained_there() if policy.models == "affected" else list(policy.models)
        sets = {name: self._model_sets(name, entries) for name in named}
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

    def _trained_there(self) -> list[str]:
        """Models that were trained on the folder that the policy forgets from, whatever name it goes by."""
        file = self._workspace.file
        folder = file.datasets[self._policy.policy.forget.dataset].path
        return [name for name, entry in file.models.items() if file.datasets[entry.training.dataset].path == folder]

    def _model_sets(self, name: str, entries: Sequence[LedgerEntry]) -> ModelSets:
        policy, entry = self._policy.policy, self._workspace.file.models[name]
        if name not in self._trained_there():
            raise DataError(
                f"model {name} was trained on data set {entry.training.dataset}, "
                f"the policy forgets from {policy.forget.dataset}"
            )
        dataset = self._open(entry.training.dataset, self._workspace.training_revision(name))
        sets = split_sets(dataset, self._policy.forget_selector, self._workspace.training_selector(name))
        kept = RecordSet([*sets[RETAIN], *sets[RETAIN_HELD_OUT]])
        forgotten = self._standing.select(name, kept, entries, policy.request.id)
        sets |= {part: sets[part] - forgotten for part in (RETAIN, RETAIN_HELD_OUT)}
        if sets[FORGET] and not sets[RETAIN]:
            raise DataError(f"nothing that model {name} was trained on would be retained; withdraw the model instead")
        retain_dataset, retain = self._retain(dataset, sets, forgotten)
        return ModelSets(dataset, sets, retain_dataset, retain, forgotten)

    def _retain(
        self, dataset: OpenDataset, sets: Mapping[str, RecordSet], forgotten: RecordSet
    ) -> tuple[OpenDataset | None, RecordSet]:
        """What the optimiser may use as retain data; what is measured stays the model's own data set."""
        retain, datasets = self._policy.policy.retain, self._workspace.file.datasets
        if retain.use == "none":
            return None, RecordSet([])
        if retain.use == "proxy":
            assert retain.dataset is not None
            if datasets[retain.dataset].path == datasets[dataset.tree.pin.dataset].path:
                raise PolicyError("retain: the proxy is the model's own data set; say `retain: {use: dataset}`")
            proxy = self._open(retain.dataset, datasets[retain.dataset].revision)
            forget = RecordSet([*sets[FORGET], *sets[FORGET_HELD_OUT], *forgotten])
            records = without_copies(proxy, proxy.source.resolve(self._policy.retain_selector), dataset, forget)
            dataset = proxy
        else:
            records = sets[RETAIN]
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
            verify=self._verify,
            seeds=self._extent.seeds,
            models=tuple(self._planned_model(name, sets[name], sources[name]) for name in sorted(sets)),
            checks=self._extent.checks(policy, self._registry),
            not_reached=(*self._workspace.file.copies_not_reached, *self._always_left(sets)),
        )

    def _always_left(self, sets: Mapping[str, ModelSets]) -> list[str]:
        """Copies that no run reaches, whatever the workspace says."""
        file = self._workspace.file
        folders = sorted({file.datasets[file.models[name].training.dataset].path for name in sets})
        return [
            *(f"The data themselves in {folder}, and what version control keeps of them." for folder in folders),
            *(f"Versions of {name} other than the unlearned one, which stay on disk." for name in sorted(sets)),
            *(
                f"{name}, which was trained on selected records and is not part of this request."
                for name in self._left_out(sets)
            ),
        ]

    def _left_out(self, sets: Collection[str]) -> list[str]:
        """Models that were trained on selected records and that the policy does not name."""
        others = [name for name in self._trained_there() if name not in sets]
        return [name for name in others if self._model_sets(name, self._ledger.entries).sets[FORGET]]

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
            reference=self._extent.reference(name, entry, self._policy.policy, self._registry),
            lineage=sets.dataset.lineage,
            retain=sets.retain_dataset.lineage if sets.retain_dataset else None,
            counts={key: len(records) for key, records in sets.sets.items()}
            | {
                "retain-used": len(sets.retain),
                "forgotten-earlier": len(sets.forgotten_earlier),
            },
            records=keyed_digests(sets.dataset, sets.sets, self._key),
        )

    def _warnings(self, name: str, model: ModelSets) -> Iterator[str]:
        missing = model.dataset.source.missing_values(self._policy.forget_selector)
        if missing:
            yield f"{missing} records lack a value that forget.where looks at"
        selectors = {
            "forget.where": self._policy.forget_selector,
            "training.where in workspace.yaml": self._workspace.training_selector(name),
        }
        for where, selector in selectors.items():
            for column, (unknown, named) in unknown_names(selector, model.everything).items():
                yield f"{unknown} of {named} {column}s that {where} names are not in the data set"
        left_out = files_left_out(model.dataset, model.everything)
        if left_out:
            yield f"{left_out} files among the pictures have another ending or are not listed, and are left out"
        if not model.sets[FORGET_HELD_OUT]:
            yield "no never-seen record is selected, so forgetting beyond the records is not tested"
        if model.forgotten_earlier:
            yield f"{len(model.forgotten_earlier)} records that earlier requests forgot are left out"

    def _own_findings(self, warnings: Mapping[str, Sequence[str]]) -> list[Finding]:
        return [
            *(_warning(f"{name}: {text}") for name, texts in warnings.items() for text in texts),
            *(
                _warning(f"{name} was trained on selected records and is not named")
                for name in self._left_out(warnings)
            ),
        ]


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


def plan_policy(path: Path, workspace: Workspace, registry: Registry, extent: Extent | None = None) -> ResolvedPlan:
    """Load and resolve the policy at ``path``; see `Planner`."""
    policy = Policy.load(path)
    check_names(policy, workspace, registry)
    return Planner(policy, workspace, registry, extent or Extent()).resolve()
