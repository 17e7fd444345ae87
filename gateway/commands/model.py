"""``gateway model``: what a model bundle is, as the gateway understands it."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from gateway.commands.options import ConfigOption, JsonOption, SetOption, load

app = typer.Typer(help="Models.", no_args_is_help=True)
LABELS_SHOWN = 12


@app.callback()
def _group() -> None:
    """Keep ``inspect`` a subcommand even while it is the only one."""


@app.command()
def inspect(
    path: Annotated[Path | None, typer.Argument(help="A folder, a zip or a .tflite. Default: model.path.")] = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Load a model, run it once, and say what was understood and why."""
    from gateway.vision.bundle import inspect_bundle

    model = load(config, sets).model
    found = inspect_bundle(
        path or model.path,
        runtime=model.runtime,
        preprocessing=model.preprocessing,
        name=model.name if path is None else "",
    )
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(found)))
        return
    more = len(found.labels) - LABELS_SHOWN
    rows = (
        ("model", found.identity.name),
        ("from", found.where),
        ("runtime", found.identity.runtime),
        ("input", found.input),
        ("output", found.output + (", softmax added" if found.softmax else "")),
        ("labels", f"{len(found.labels)}: " + ", ".join(found.labels[:LABELS_SHOWN]) + (", ..." if more > 0 else "")),
        ("pictures", found.preprocessing),
        ("known by", f"{found.source} ({found.reason})"),
        ("sha256", found.identity.model_sha256),
        ("labels sha256", found.identity.labels_sha256),
    )
    for name, text in rows:
        typer.echo(f"{name:<14}{text}")
