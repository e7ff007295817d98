"""Specs: light descriptions that plugins hand out. Listing and planning read these and import nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

API_VERSION = 1
"""Raised when a plugin written for the version before would break."""


Profile = Literal["quick", "standard", "thorough"]
"""How much is verified, from least to most; each profile holds all checks of those before it."""

PROFILES: tuple[Profile, ...] = get_args(Profile)

DEFAULT_PROFILE: Profile = "standard"
"""What is verified where neither the policy nor the command line says more."""


@dataclass(frozen=True, kw_only=True)
class Spec:
    """Common part of all specs.

    Attributes:
        name: what policies and workspaces call it: lower-case words joined by hyphens.
        summary: one line for `cu plugins list`.
        params: import string ``package.module:Class`` of a pydantic model, in a module that imports nothing heavy.
        factory: import string of the callable that makes the object; imported when it is needed, not before.
        api_version: the `API_VERSION` that the plugin was written for.
    """

    kind: ClassVar[str]

    name: str
    summary: str
    params: str
    factory: str
    api_version: int = API_VERSION


@dataclass(frozen=True, kw_only=True)
class AdapterSpec(Spec):
    """A model family; factory ``(params, task) -> ModelAdapter``. ``tasks`` are the kinds of task that it can do."""

    kind: ClassVar[str] = "model adapter"
    tasks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class StrategySpec(Spec):
    """An unlearning method; factory ``(params) -> Strategy``. ``loop`` holds defaults of the loop that suit it."""

    kind: ClassVar[str] = "strategy"
    loop: tuple[tuple[str, str | int | float], ...] = ()


@dataclass(frozen=True, kw_only=True)
class CheckSpec(Spec):
    """A test; factory ``(params) -> Check``.

    Attributes:
        profile: the least profile in which it runs without being named by the policy; None if only then.
        decides: decides on the outcome even where the policy does not name it; other checks are then only reported.
        decides_by: parameters of which one must be set for the check to decide; empty if it never does. None: it
            decides wherever the policy names it.
        decides_from: records to forget that it takes for a pass to count, as calibration found; with fewer it would
            pass what was not forgotten in more than 5 % of all cases.
        reference: compares with a model that was trained without the records to forget; one is trained where the policy
            names the check.
        tests_forgetting: has a result that decides whether the selected records were forgotten. A policy must name at
            least one such check: nothing is compliant because everything else is as it was.
    """

    kind: ClassVar[str] = "check"
    profile: Profile | None = None
    decides: bool = False
    decides_by: tuple[str, ...] | None = None
    decides_from: int = 1
    reference: bool = False
    tests_forgetting: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.decides_from < 1:
            raise ValueError(f"{self.name}: decides_from is a number of records, at least 1")


@dataclass(frozen=True, kw_only=True)
class DataSourceSpec(Spec):
    """A way to list and read records; factory ``(params, tree) -> DataSource``."""

    kind: ClassVar[str] = "data source"


@dataclass(frozen=True, kw_only=True)
class LineageStoreSpec(Spec):
    """A version control for data and models; factory ``(params, root) -> LineageStore``."""

    kind: ClassVar[str] = "lineage store"


@dataclass(frozen=True, kw_only=True)
class SinkSpec(Spec):
    """A place to publish evidence; factory ``(params, root) -> EvidenceSink``."""

    kind: ClassVar[str] = "evidence sink"
