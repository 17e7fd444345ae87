"""``gateway config``: the settings file."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="The settings file.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep ``init`` a subcommand even while it is the only one."""


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Where to write; made when missing.")] = Path("config"),
    *,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that exist.")] = False,
) -> None:
    """Write out the annotated settings file and what ships beside it."""
    from gateway.config_files import write_config_files

    for written in write_config_files(folder, force=force):
        typer.echo(f"wrote {written}")
    typer.echo(f"Start with: gateway run --config {folder / 'gateway.toml'}")
