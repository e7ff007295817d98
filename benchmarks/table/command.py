"""The command line of the benchmark."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.table.case import open_cases
from benchmarks.table.output import Output
from benchmarks.table.run import CaseRun
from benchmarks.table.scale import FULL, QUICK
from compliance_unlearn.api import ComplianceError, feature_net
from compliance_unlearn.cli.console import ConsoleReporter
from compliance_unlearn.registry import load_registry

NET = "efficientnet-lite0"
FAMILIES = "mae,vqgan,diffusion"
STATE = Path("benchmarks/.state")
RESULTS = Path("docs/results")


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark and print the table; returns the exit code."""
    options = _parser().parse_args(arguments)
    scale = QUICK if options.quick else FULL
    if options.seeds:
        scale = replace(scale, seeds=[int(seed) for seed in options.seeds.split(",")])
    state = options.state / ("quick" if options.quick else "full")
    output = Output(
        folder=options.out or (state / "results" if options.quick else RESULTS),
        command=_command(options),
        varied=options.ablations.split(","),
    )
    reporter, registry, device = ConsoleReporter(), load_registry(), torch.device(options.device)
    try:
        net = feature_net(NET, edge=scale.edge)
        cases = open_cases(options.example, registry, state, scale, options.families.split(","), device)
        if not cases:
            print(f"no model of the example `{options.example}` is of these families", file=sys.stderr)
            return 2
        print(output.write([CaseRun(case, net, reporter) for case in cases]))
    except ComplianceError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _command(options: argparse.Namespace) -> str:
    """The command that gives these results; where they are kept and written does not matter, so no path is told."""
    told = {name: value for name, value in vars(options).items() if name not in ("state", "out", "quick")}
    changed = [f"--{name}={value}" for name, value in told.items() if value != _parser().get_default(name)]
    return shlex.join(["python", "-m", "benchmarks.table", *(["--quick"] if options.quick else []), *changed])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.table", description="The table of the paper.")
    parser.add_argument("--quick", action="store_true", help="small models and one seed: minutes, not hours")
    parser.add_argument("--example", default="digits", help="the demonstration whose models are unlearned")
    parser.add_argument("--families", default=FAMILIES, help=f"adapters to include (default: {FAMILIES})")
    parser.add_argument("--ablations", default="mae", help="adapters whose settings are varied (default: mae)")
    parser.add_argument("--seeds", help="of the unlearning, such as 0,1,2")
    parser.add_argument("--out", type=Path, help=f"folder of the results (default: {RESULTS})")
    parser.add_argument("--state", type=Path, default=STATE, help=f"folder of what is kept (default: {STATE})")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    return parser
