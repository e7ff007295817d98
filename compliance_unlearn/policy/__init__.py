"""Policies: the YAML file of one request, read strictly."""

from compliance_unlearn.policy.canonical import canonical_policy, redacted, redacted_yaml
from compliance_unlearn.policy.errors import details, error_lines, validate
from compliance_unlearn.policy.model import LoadedPolicy, Policy, Retain, StrategyUse
from compliance_unlearn.policy.schema import policy_schema
from compliance_unlearn.policy.selector import describe, parse_selector, selector_at, selector_data
from compliance_unlearn.policy.yaml import Located, load_yaml

__all__ = [
    "LoadedPolicy",
    "Located",
    "Policy",
    "Retain",
    "StrategyUse",
    "canonical_policy",
    "describe",
    "details",
    "error_lines",
    "load_yaml",
    "parse_selector",
    "policy_schema",
    "redacted",
    "redacted_yaml",
    "selector_at",
    "selector_data",
    "validate",
]
