"""`cu train`: a new model from a folder of pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

PREVIEWS = 10
"""Previews of a training, unless somebody wants another number."""


def train(
    adapter: Annotated[str, typer.Option(help="Model family; `cu plugins list` shows what there is.")],
    data: Annotated[
        Path, typer.Option(exists=True, file_okay=False, help="Folder of pictures, in any folders below it.")
    ],
    out: Annotated[Path, typer.Option(help="New folder that is made: weights, previews, and how they were made.")],
    task: Annotated[
        str | None, typer.Option(help="inpaint (default), outpaint, random-mask, super-resolve or colourise.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of the optimiser.  [default: 2000]")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Pictures in a step.  [default: 32]")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Of AdamW.  [default: 0.0003]")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of everything random.  [default: 0]")] = None,
    size: Annotated[
        int | None, typer.Option(min=1, help="Edge in pixels of the pictures that the model takes.")
    ] = None,
    settings: Annotated[
        Path | None, typer.Option(help="YAML file with params, task and loop, as for a model in workspace.yaml.")
    ] = None,
    mirror: Annotated[bool, typer.Option(help="Show half of the pictures mirrored.")] = True,
    preview_every: Annotated[
        int | None, typer.Option(min=0, help="Steps between previews; 0 makes none.  [default: a tenth of the steps]")
    ] = None,
    device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1.")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")] = False,
) -> None:
    """Train a new model on a folder of pictures.

    Needs no workspace, no DVC and no git. A tenth of the pictures, or those in folders named val or test, is never
    trained on. Run it again after an interruption: it carries on, and ends in the same weights.

    \b
    Examples:
      cu train --adapter mae --data ~/pets --out models/pets-mae
      cu train --adapter mae --data ~/pets --out models/pets-outpaint --task outpaint --size 96 --steps 5000
      cu train --adapter mae --data ~/pets --out models/pets-large --settings large.yaml --device cuda
    """
    from compliance_unlearn.api import AdapterSpec
    from compliance_unlearn.cli.apply import device_named
    from compliance_unlearn.cli.console import ConsoleReporter, print_json
    from compliance_unlearn.cli.train_settings import load_settings
    from compliance_unlearn.registry import load_registry

    registry, reporter = load_registry(), ConsoleReporter()
    found = registry.find(AdapterSpec, adapter)
    options = {"steps": steps, "batch": batch, "learning_rate": learning_rate, "seed": seed}
    chosen = load_settings(settings, registry, found, task=task, size=size, loop=options)
    processor = device_named(device)

    from compliance_unlearn.engine.picture_training import PictureTraining
    from compliance_unlearn.engine.plain_folder import has_colour, open_folder
    from compliance_unlearn.engine.training_output import require_place

    require_place(out)
    dataset, records = open_folder(data, registry, reporter)
    training = PictureTraining(
        dataset=dataset,
        records=records,
        registry=registry,
        adapter=found,
        params=chosen.params_for(lambda: has_colour(dataset, records, reporter)),
        task=chosen.task,
        settings=chosen.loop,
        mirror=mirror,
        preview_every=max(1, chosen.loop.steps // PREVIEWS) if preview_every is None else preview_every,
        out=out,
    )
    result = training.run(reporter, processor)
    if as_json:
        print_json(result)
    else:
        _print(result)


def _print(result: dict[str, Any]) -> None:
    pictures, psnr = result["pictures"], result["psnr_held_out"]
    measured = "" if psnr is None else f"; {psnr:.1f} dB on {pictures['measured']} pictures that it never saw"
    typer.echo(f"Trained on {pictures['trained_on']} pictures in {result['seconds']:.0f} s{measured}.", err=True)
    typer.echo(
        "Keep it below the root of a workspace, the data under version control, and write in workspace.yaml:", err=True
    )
    typer.echo(f"    weights: {result['weights_in_workspace']}", err=True)
    typer.echo(f"    training: {{dataset: NAME, where: {json.dumps(result['where'])}}}", err=True)
    typer.echo(result["weights"])
