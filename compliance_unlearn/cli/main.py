"""Entry point of `cu`: puts the commands together and turns errors into messages and exit codes."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from compliance_unlearn.api.errors import ComplianceError
from compliance_unlearn.cli.apply import apply
from compliance_unlearn.cli.calibrate import calibrate
from compliance_unlearn.cli.demo import demo
from compliance_unlearn.cli.doctor import doctor
from compliance_unlearn.cli.init import init
from compliance_unlearn.cli.plan import plan
from compliance_unlearn.cli.plugins import plugins_app
from compliance_unlearn.cli.policy import policy_app
from compliance_unlearn.cli.publish import publish
from compliance_unlearn.cli.report import report
from compliance_unlearn.cli.train import train
from compliance_unlearn.cli.verify import verify

INTERRUPTED = 130

app = typer.Typer(
    name="cu",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error; may stand anywhere.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    """Make generative models forget a person, and keep the evidence.

    \b
    Exit codes: 0 compliant, 1 unexpected error, 2 command line or policy, 3 not compliant or inconclusive,
    4 data or model cannot be used, 5 plugin, 6 evidence is safe here but not published.
    """
    del debug
    if version:
        from compliance_unlearn import __version__

        typer.echo(f"cu {__version__}")
        raise typer.Exit


app.command()(init)
app.command()(demo)
app.command()(train)
app.command()(plan)
app.command()(apply)
app.command()(publish)
app.command()(calibrate)
app.command()(report)
app.command()(verify)
app.command()(doctor)
app.add_typer(policy_app, name="policy")
app.add_typer(plugins_app, name="plugins")


def main() -> None:
    """Run the command line and exit with its code."""
    # Threads that spin while they wait for one that has no processor make a busy machine many times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    debug = "--debug" in sys.argv[1:]
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        app(arguments, prog_name="cu")
    except ComplianceError as error:
        _fail(str(error), error.exit_code, debug)
    except KeyboardInterrupt:
        _fail("interrupted; the same command carries on where this one stopped", INTERRUPTED, debug)
    except Exception as error:  # noqa: BLE001 - the outer edge: whatever comes here is a bug of ours
        _fail(f"unexpected {type(error).__name__}; this is a bug, run again with --debug to see where", 1, debug)


def _fail(message: str, code: int, debug: bool) -> None:
    if debug:
        import traceback

        traceback.print_exc()
    typer.echo(f"cu: {message}", err=True)
    sys.exit(code)
