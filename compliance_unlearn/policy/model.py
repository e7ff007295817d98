"""The policy of one request: what to forget, in which models, and what counts as done."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from dateutil.relativedelta import relativedelta  # type: ignore[import-untyped]
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    model_validator,
)

from compliance_unlearn.api import LoopSettings, Profile, Selector
from compliance_unlearn.policy.errors import FieldsOf, error_at, validate
from compliance_unlearn.policy.patterns import NAME, REQUEST_ID
from compliance_unlearn.policy.selector import RawSelector, selector_at
from compliance_unlearn.policy.yaml import Located, load_yaml

Name = Annotated[str, StringConstraints(pattern=NAME, max_length=64)]
"""What policies call a data set, model, strategy or check: lower-case words joined by hyphens."""

Params = dict[str, Any]
"""Parameters of a plugin's object; the plugin's own model says which there are."""

LoopOverrides = Annotated[dict[str, Any], AfterValidator(FieldsOf(LoopSettings))]
"""Some settings of the loop, as they were written."""


class StrictModel(BaseModel):
    """Frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _day(value: object) -> object:
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            raise error_at((), "there is no such day in the calendar") from None
    if isinstance(value, date):
        return value
    raise error_at((), "must be a date, YYYY-MM-DD")


class Request(StrictModel):
    """What a person or authority asked for, with its legal ground and its clock."""

    id: Annotated[str, StringConstraints(pattern=REQUEST_ID)]
    ground: str = Field(min_length=1, max_length=500, description="legal ground, such as GDPR Art. 17(1)(b)")
    received: Annotated[date, BeforeValidator(_day)]

    @property
    def due(self) -> date:
        """One month after receipt (GDPR Art. 12(3)); the last day of a month that is shorter."""
        due: date = self.received + relativedelta(months=1)
        return due


class Forget(StrictModel):
    """The records to forget."""

    dataset: Name
    where: RawSelector


class Retain(StrictModel):
    """The records whose behaviour must not change: of the same data set, of another one, or none at all."""

    use: Literal["dataset", "proxy", "none"] = "dataset"
    dataset: Name | None = Field(default=None, description="the proxy data set")
    where: RawSelector | None = None

    @model_validator(mode="after")
    def _proxy_has_a_dataset(self) -> Self:
        if self.use == "proxy" and self.dataset is None:
            raise error_at((), "`use: proxy` needs the key `dataset`")
        if self.use != "proxy" and self.dataset is not None:
            raise error_at(("dataset",), "only `use: proxy` takes a data set")
        if self.use == "none" and self.where is not None:
            raise error_at(("where",), "`use: none` takes no selector")
        return self


class StrategyUse(StrictModel):
    """The unlearning method; parameters that are left out come from the workspace, then from the method itself."""

    use: Name
    params: Params = Field(default={})
    loop: LoopOverrides = Field(default={})


def _use(value: object) -> object:
    return {"use": value} if isinstance(value, str) else value


def _models(value: object) -> object:
    if value == "affected" or (isinstance(value, list) and value and all(isinstance(each, str) for each in value)):
        if isinstance(value, list) and len(set(value)) < len(value):
            raise error_at((), "a model is named twice")
        return value
    raise error_at((), "must be `affected` or a list of model names")


def _form(value: object) -> str:
    return "word" if isinstance(value, str) else "names"


Models = Annotated[
    Annotated[Literal["affected"], Tag("word")]
    | Annotated[tuple[Name, ...], Field(min_length=1, json_schema_extra={"uniqueItems": True}), Tag("names")],
    Discriminator(_form),
    BeforeValidator(_models),
]
"""Which models a request touches. Told apart by a discriminator, so that an error is told once."""


class Policy(StrictModel):
    """A policy file."""

    version: Literal[1]
    request: Request
    forget: Forget
    models: Models = Field(description="affected: every model whose lineage holds a selected record; or their names")
    retain: Retain = Retain()
    strategy: Annotated[StrategyUse, BeforeValidator(_use, json_schema_input_type=Name | StrategyUse)]
    verify: Profile | None = Field(default=None, description="how much is verified at least; standard, if not set")
    accept: dict[Name, Params] = Field(min_length=1, description="check -> its parameters; {} for the defaults")

    @classmethod
    def load(cls, path: Path) -> LoadedPolicy:
        """Read a policy file: see `LoadedPolicy.load`."""
        return LoadedPolicy.load(path)


@dataclass(frozen=True)
class LoadedPolicy:
    """A policy with the file that it came from and its selectors read."""

    policy: Policy
    located: Located
    path: Path
    forget_selector: Selector
    retain_selector: Selector | None

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read and validate a policy file.

        Raises:
            PolicyError: a line ``file:line:column: key: what is wrong`` for each error.
        """
        located = load_yaml(path)
        policy = validate(Policy, located)
        forget = selector_at(located, ("forget", "where"), policy.forget.where)
        where = policy.retain.where
        retain = None if where is None else selector_at(located, ("retain", "where"), where)
        return cls(policy, located, path, forget, retain)
