"""Generators for every purpose, all from the seed of the run."""

from __future__ import annotations

import hashlib

import torch


def generator_for(seed: int, purpose: str) -> torch.Generator:
    """A CPU generator that depends on the seed and on what it is for, and on nothing else."""
    digest = hashlib.sha256(f"{seed}:{purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
