"""How often the checks of the shipped policies are wrong: writes the tables into docs/results. Takes about an hour."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

STATE = Path("benchmarks/.state/calibration")
RESULTS = Path("docs/results")
CU = [sys.executable, "-m", "compliance_unlearn"]

SIZES = {"gdpr_req_123.yaml": "5,7", "forget_digit.yaml": "10,100,400"}
"""Pictures to forget, by policy: the person has seven, the digit four hundred."""


def main() -> None:
    """Build each demonstration, and calibrate its policy."""
    for example, policy in {"faces": "gdpr_req_123.yaml", "digits": "forget_digit.yaml"}.items():
        folder, page = STATE / example, RESULTS / f"calibration-{example}.md"
        subprocess.run([*CU, "demo", str(folder), "--example", example], check=True)
        asked = ["--sizes", SIZES[policy], "--verify", "quick", "--out", str(page)]
        subprocess.run([*CU, "calibrate", str(folder / policy), *asked], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
