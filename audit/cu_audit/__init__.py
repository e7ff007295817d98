"""Evidence records, bundle format and ledger of compliance-unlearn. Imports no deep-learning library."""

__version__ = "0.1.0"
