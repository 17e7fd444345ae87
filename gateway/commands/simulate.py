"""``gateway simulate``: stand-ins for what a desk does not have."""

import asyncio
import contextlib
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Stand-ins for what a desk does not have: an IoT Hub.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep ``hub`` a subcommand even while it is the only one."""


@app.command()
def hub(
    directory: Annotated[Path, typer.Option("--dir", help="Where its certificates and keys are kept.")] = Path(
        "data/hub"
    ),
    device: Annotated[list[str] | None, typer.Option(help="A device id it knows; may be repeated.")] = None,
    view_port: Annotated[int, typer.Option(help="Port of its page and JSON view; 0: any free one.")] = 8090,
    record: Annotated[Path | None, typer.Option(help="Append every message to this file, as JSON lines.")] = None,
) -> None:
    """Run an IoT Hub stand-in that the real SDK accepts; prints the lines that point a gateway at it."""
    from gateway.simulators.iot_hub.hub import HubDescription, HubOptions, run_hub

    def announce(description: HubDescription) -> None:
        typer.echo(description.text())
        typer.echo("\nPaste the lines of a device into another terminal, then: make run")
        typer.echo("Ctrl-C stops it.")

    options = HubOptions(
        directory=directory, device_ids=tuple(device or ("gw1",)), view_port=view_port, record_file=record
    )
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run_hub(options, announce=announce))
