"""Strategies, checks, metrics and data sources for compliance-unlearn."""
