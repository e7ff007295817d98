"""How long `cu` takes to answer, beside a bare Python that imports typer: run in turn, median and ratio."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

RUNS = 11
COMMANDS = {
    "python -c 'import typer'": [sys.executable, "-c", "import typer"],
    "cu --help": [sys.executable, "-m", "compliance_unlearn", "--help"],
    "cu policy check": [sys.executable, "-m", "compliance_unlearn", "policy", "check", "policies/gdpr_req_123.yaml"],
}


def main() -> None:
    """Print the median of each command and its ratio to the first one."""
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(RUNS):
        for name, command in COMMANDS.items():
            started = time.perf_counter()
            subprocess.run(command, capture_output=True, check=True)
            seconds[name].append(time.perf_counter() - started)
    base = statistics.median(next(iter(seconds.values())))
    for name, values in seconds.items():
        median = statistics.median(values)
        print(f"{name:28} {median:6.3f} s   {median / base:5.2f} times")


if __name__ == "__main__":
    main()
