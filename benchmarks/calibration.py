"""How often the checks are wrong: writes the tables into docs/results. Takes one to two hours on one core."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

STATE = Path("benchmarks/.state/calibration")
RESULTS = Path("docs/results")
CU = [sys.executable, "-m", "compliance_unlearn"]

EVERY_CHECK = """\
  information: {}
  probe: {}
  membership: {}
  recognition: {at_most: 0.60}
  same-as-noise: {accuracy_at_most: 0.60}
"""
"""What a policy can let decide beside what the shipped ones name, of the checks that planted worlds can show."""


@dataclass(frozen=True)
class Case:
    """One calibration.

    Attributes:
        name: of its pages.
        example: demonstration whose models and pictures are taken.
        policy: that comes with it.
        sizes: numbers of pictures to forget: the person has seven, the digit four hundred.
        models: of the policy that are tried; empty for all.
        more: lines of the policy beside its own.
    """

    name: str
    example: str
    policy: str
    sizes: str
    models: str = ""
    more: str = ""


CASES = (
    Case("faces", "faces", "gdpr_req_123.yaml", "5,7"),
    Case("digits-vqgan", "digits", "forget_digit.yaml", "10,100,400", "digits-vqgan"),
    Case("digits-mae", "digits", "forget_digit.yaml", "10,100,400", "digits-mae", EVERY_CHECK),
)


def main(names: list[str]) -> None:
    """Build the demonstrations, and calibrate.

    Args:
        names: of the cases; none for all.
    """
    for case in CASES:
        if not names or case.name in names:
            calibrate(case)


def calibrate(case: Case) -> None:
    """Write the pages of one case: a table to read, and the same as data."""
    folder = STATE / case.example
    subprocess.run([*CU, "demo", str(folder), "--example", case.example], check=True)
    policy = folder / f"calibration-{case.name}.yaml"
    policy.write_text(written(case, (folder / case.policy).read_text(encoding="utf-8")), encoding="utf-8")
    page = RESULTS / f"calibration-{case.name}.md"
    asked = ["--sizes", case.sizes, "--verify", "quick", "--out", str(page), "--json"]
    done = subprocess.run([*CU, "calibrate", str(policy), *asked], check=True, stdout=subprocess.PIPE)
    page.with_suffix(".json").write_bytes(done.stdout)


def written(case: Case, policy: str) -> str:
    """The policy of a case: the shipped one for fewer models, with more checks."""
    lines = [
        f"models: [{case.models}]" if case.models and line.startswith("models:") else line
        for line in policy.splitlines()
    ]
    return "\n".join(lines) + "\n" + case.more


if __name__ == "__main__":
    main(sys.argv[1:])
