"""Data lineage with DVC and git for compliance-unlearn."""
