"""Writes the evidence bundle and the ledger, then hands bundles to the sinks."""
