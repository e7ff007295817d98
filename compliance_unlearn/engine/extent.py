"""How much a run does beside unlearning: which checks, a reference to compare with, other seeds."""

from __future__ import annotations

from dataclasses import dataclass

from compliance_unlearn.api import (
    DEFAULT_PROFILE,
    PROFILES,
    CheckSpec,
    DataError,
    LoopSettings,
    Plan,
    PluginError,
    PolicyError,
    Profile,
)
from compliance_unlearn.api.plan import PlannedCheck
from compliance_unlearn.policy import Policy
from compliance_unlearn.registry import Registry, training_settings
from compliance_unlearn.workspace import ModelEntry


@dataclass(frozen=True)
class Extent:
    """What the person who starts a run asks for beyond the policy.

    Attributes:
        verify: profile of verification; None takes the policy's, or the default.
        with_reference: train a model without the records to forget, too.
        seeds: unlearnings of each model, which differ in their random numbers only. The first one makes the candidate,
            the others show how far its figures are luck.
    """

    verify: Profile | None = None
    with_reference: bool = False
    seeds: int = 1

    @classmethod
    def of(cls, plan: Plan) -> Extent:
        """What a plan was made with."""
        return cls(plan.verify, any(model.reference is not None for model in plan.models), plan.seeds)

    def profile(self, policy: Policy) -> Profile:
        """The profile of a run.

        Raises:
            PolicyError: the policy demands more.
        """
        profile = self.verify or policy.verify or DEFAULT_PROFILE
        if policy.verify and PROFILES.index(profile) < PROFILES.index(policy.verify):
            raise PolicyError(f"--verify {profile}: the policy demands at least `verify: {policy.verify}`")
        return profile

    def checks(self, policy: Policy, registry: Registry) -> tuple[PlannedCheck, ...]:
        """The checks of the profile and those that the policy names, by name."""
        names = {spec.name for spec in registry.checks_of(self.profile(policy))} | set(policy.accept)
        return tuple(_planned(name, policy, registry) for name in sorted(names))

    def reference(self, name: str, entry: ModelEntry, policy: Policy, registry: Registry) -> LoopSettings | None:
        """How the model without the records to forget is trained: as the original was, if anything asks for it.

        Raises:
            DataError: nobody said how that was.
        """
        named = [registry.find(CheckSpec, check).spec for check in policy.accept]
        if not self.with_reference and not any(spec.reference for spec in named):
            return None
        if entry.training.loop is None:
            raise DataError(f"model {name}: workspace.yaml does not say how it was trained (training.loop)")
        return training_settings(entry)


def _planned(name: str, policy: Policy, registry: Registry) -> PlannedCheck:
    registered = registry.find(CheckSpec, name)
    spec, demanded = registered.spec, name in policy.accept
    params = registry.params(registered, policy.accept.get(name, {})).model_dump(mode="json")
    if unknown := set(spec.decides_by or ()) - set(params):
        raise PluginError(f"check {name}: decides_by names what is no parameter: {', '.join(sorted(unknown))}")
    able = spec.decides_by is None or any(params[parameter] is not None for parameter in spec.decides_by)
    return PlannedCheck(
        name=name,
        params=params,
        demanded=demanded,
        decides=spec.decides or (demanded and able),
        decides_from=spec.decides_from,
    )
