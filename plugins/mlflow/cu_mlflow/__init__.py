"""Evidence sink for MLflow of compliance-unlearn."""
