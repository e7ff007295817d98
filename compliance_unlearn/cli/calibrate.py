"""`cu calibrate`: how often the checks of a policy are wrong."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from compliance_unlearn.api.errors import PolicyError
from compliance_unlearn.cli.plan import Verify

if TYPE_CHECKING:
    from compliance_unlearn.engine.calibration import Calibration, Rates
    from compliance_unlearn.engine.planning import ResolvedPlan


def calibrate(
    policy: Annotated[Path, typer.Argument(help="The policy file whose checks and models are tried.")],
    runs: Annotated[int, typer.Option(min=1, help="Draws of each planted world and size.")] = 40,
    sizes: Annotated[str, typer.Option(help="Numbers of pictures to forget, as far as the data allow.")] = "10,100,500",
    verify: Verify = None,
    out: Annotated[Path | None, typer.Option(help="Also write the tables to this Markdown file.")] = None,
    device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1.")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print the rates as JSON on stdout.")] = False,
) -> None:
    """Find out how often the checks of a policy pass what is false, or fail what is true.

    Puts candidates together whose answer is known, from what the original model makes of its own pictures
    and of noise: nothing forgotten, half forgotten, forgotten, never trained, broken for all. Each check is
    run on many draws of each. Changes no model and no evidence; one that was killed goes on where it was.

    \b
    Examples:
      cu calibrate policies/gdpr_req_123.yaml
      cu calibrate policies/gdpr_req_123.yaml --runs 100 --sizes 5,7
      cu calibrate policies/gdpr_req_123.yaml --verify quick --out calibration.md
    """
    from compliance_unlearn.cli.apply import device_named
    from compliance_unlearn.cli.console import ConsoleReporter, print_json
    from compliance_unlearn.cli.plan import resolve
    from compliance_unlearn.engine.calibration import calibrate_plan

    numbers = _numbers(sizes)
    resolved = resolve(policy, verify)
    reporter = ConsoleReporter()
    found = calibrate_plan(resolved, numbers, runs, reporter=reporter, device=device_named(device))
    if out is not None:
        _write(out, resolved, found, runs)
    if as_json:
        print_json(as_data(found))
    else:
        typer.echo("\n\n".join(markdown(name, calibration) for name, calibration in found.items()))


def _numbers(sizes: str) -> list[int]:
    try:
        numbers = [int(size) for size in sizes.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 1:
        raise PolicyError(f"--sizes {sizes}: give numbers of pictures such as 10,100")
    return numbers


def as_data(found: dict[str, Calibration]) -> dict[str, Any]:
    """The rates of each model as JSON data."""
    return {
        name: {
            "rates": [_rate(rate) for rate in calibration.rates],
            "outcomes": [
                {"world": each.world.value, "forget": each.forget, "outcomes": dict(each.outcomes)}
                for each in calibration.outcomes
            ],
            "unfit": [_rate(rate) for rate in calibration.unfit],
            "not_calibrated": list(calibration.left_out),
        }
        for name, calibration in found.items()
    }


def _rate(rate: Rates) -> dict[str, Any]:
    known = {} if rate.wrong is None else dict(zip(("share", "low", "high"), rate.share(rate.wrong), strict=True))
    return {
        "check": rate.check,
        "set": rate.set,
        "world": rate.world.value,
        "forget": rate.forget,
        "runs": rate.runs,
        "verdicts": dict(rate.verdicts),
        "claim_is_true": rate.is_true,
        "wrong": known or None,
    }


def markdown(name: str, calibration: Calibration) -> str:
    """The tables of one model."""
    from cu_audit.records import Outcome, Verdict

    from compliance_unlearn.engine.planted import PlantedWorld

    lines = [f"## {name}", "", "| check on set | to forget | " + " | ".join(PlantedWorld) + " |"]
    lines.append("| --- | --: |" + " --- |" * len(PlantedWorld))
    cells = {(rate.check, rate.set, rate.forget, rate.world): rate for rate in calibration.rates}
    for check, set_name, forget in dict.fromkeys(key[:3] for key in cells):
        row = [_cell(cells.get((check, set_name, forget, world)), tuple(Verdict)) for world in PlantedWorld]
        lines.append(f"| {check} on {set_name} | {forget} | " + " | ".join(row) + " |")
    ended = {(each.forget, each.world): each.outcomes for each in calibration.outcomes}
    for forget in dict.fromkeys(key[0] for key in ended):
        row = [
            ", ".join(f"{count} {outcome.value}" for outcome in Outcome if (count := outcomes.get(outcome)))
            if (outcomes := ended.get((forget, world)))
            else "–"
            for world in PlantedWorld
        ]
        lines.append(f"| **whole run** | {forget} | " + " | ".join(row) + " |")
    if calibration.unfit:
        named = ", ".join(f"{rate.check} on {rate.set} with {rate.forget} pictures" for rate in calibration.unfit)
        lines += ["", f"Passes where nothing was forgotten more often than allowed, so must not decide: {named}."]
    if calibration.left_out:
        lines += [
            "",
            f"Not calibrated, since they look at weights or have no verdict: {', '.join(calibration.left_out)}.",
        ]
    return "\n".join(lines)


def _cell(rate: Rates | None, order: tuple[Any, ...]) -> str:
    if rate is None:
        return "–"
    said = ", ".join(f"{rate.verdicts[verdict]} {verdict.value}" for verdict in order if rate.verdicts.get(verdict))
    if rate.wrong is None:
        return said
    share, low, high = rate.share(rate.wrong)
    return f"{said}; wrong {share:.0%} ({low:.1%} to {high:.1%})"


def _write(out: Path, resolved: ResolvedPlan, found: dict[str, Calibration], runs: int) -> None:
    from compliance_unlearn.workspace.files import write_atomic

    settings = "\n".join(
        f"- `{check.name}`: {', '.join(f'{key} {value}' for key, value in check.params.items()) or 'nothing to set'}"
        for check in resolved.plan.checks
    )
    text = TEXT.format(policy=resolved.policy.path.name, runs=runs, settings=settings)
    tables = "\n\n".join(markdown(name, calibration) for name, calibration in found.items())
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(out, f"{text}\n{tables}\n".encode())


TEXT = """\
# How often the checks are wrong

Made by `cu calibrate {policy} --runs {runs}`: {runs} draws of each planted world and size. Candidates are put
together from what the original model makes of its own pictures and of noise; pictures and noise are drawn anew each
time, the model stays the same. A cell says how often the check said what; *wrong* is the share of draws that passed a
false claim or failed a true one, with its 95 % interval (Clopper and Pearson). Inconclusive and void are not wrong,
they decide nothing. Each check stands by itself; whole runs are corrected for the number of checks, as always.

- nothing forgotten: the candidate answers as the original.
- half forgotten: on half of the pictures to forget it answers noise.
- forgotten: on all of them.
- never trained: as nothing forgotten, for pictures that the model was never trained on.
- broken for all: it answers noise whatever it is shown.

Settings:

{settings}
"""
