"""Settings of a strategy for one model: the policy's word, then the workspace's, then the strategy's own."""

from __future__ import annotations

from typing import Any

from compliance_unlearn.api import LoopSettings, StrategySpec
from compliance_unlearn.policy.model import StrategyUse
from compliance_unlearn.workspace.model import ModelEntry, StrategyDefaults


def strategy_params(use: StrategyUse, entry: ModelEntry) -> dict[str, Any]:
    """Raw parameters of the strategy for a model; validate them with the strategy's own model."""
    defaults = entry.strategies.get(use.use, StrategyDefaults())
    return {**defaults.params, **use.params}


def loop_settings(use: StrategyUse, entry: ModelEntry, spec: StrategySpec) -> LoopSettings:
    """Settings of the unlearning loop for a model.

    Raises:
        pydantic.ValidationError: a default in the spec is wrong; what files say was validated when they were read.
    """
    defaults = entry.strategies.get(use.use, StrategyDefaults())
    return LoopSettings.model_validate({**dict(spec.loop), **defaults.loop, **use.loop})


def training_settings(entry: ModelEntry) -> LoopSettings:
    """Settings of base training for a model."""
    return LoopSettings.model_validate(entry.training.loop or {})
