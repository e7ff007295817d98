"""Starts the benchmark; see the package's docstring."""

from __future__ import annotations

import os
import sys


def start() -> int:
    """Run the command line."""
    # Threads that spin while they wait for one that has no processor make a busy machine many times slower. OpenMP
    # reads this when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from benchmarks.table.command import main

    return main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(start())
