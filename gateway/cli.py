"""The command line: ``gateway run | demo | check | doctor | classify | model | outbox | devices | provision |
config | simulate``.

Exit codes: 0 done; 1 the command found something wrong with its input; 2 a
mistake in settings, arguments or the state of the site, told with its cure; 75
what passes by itself (a full disk, a damaged outbox that the next start
recovers): ``gateway run`` tries again.
"""

import sys
from typing import Annotated

import typer

from gateway import __version__
from gateway.commands import classify, config, demo, devices, doctor, model, outbox, provision, run, simulate
from gateway.errors import DiskNotReady, OperatorError, OutboxDamaged

TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h

app = typer.Typer(
    name="gateway",
    help="Offline-first gateway bridge: pictures and readings in, classified on site, on disk before the "
    "acknowledgement, forwarded to Azure IoT Hub whenever there is a connection.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command("run")(run.run)
app.command("check")(run.check)
app.command("doctor")(doctor.doctor)
app.command("classify")(classify.classify)
app.command("demo")(demo.demo)
app.add_typer(model.app, name="model")
app.add_typer(outbox.app, name="outbox")
app.add_typer(devices.app, name="devices")
app.add_typer(provision.app, name="provision")
app.add_typer(config.app, name="config")
app.add_typer(simulate.app, name="simulate")


def _tell_version(value: bool) -> None:  # noqa: FBT001  typer's callback
    if value:
        version()
        raise typer.Exit


@app.callback()
def _options(
    *,
    tell_version: Annotated[
        bool, typer.Option("--version", is_eager=True, help="Print the version.", callback=_tell_version)
    ] = False,
) -> None:
    """Take options that belong to no command."""
    del tell_version  # acted on by its callback


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(f"gateway-bridge {__version__}")


def cli() -> None:
    """Run the command line; an operator's mistake ends with its text and exit code 2, without a traceback."""
    try:
        app()
    except OutboxDamaged as error:  # the next start recovers it
        typer.echo(str(error), err=True)
        sys.exit(TRY_AGAIN)
    except OperatorError as error:
        typer.echo(str(error), err=True)
        sys.exit(2)
    except DiskNotReady as error:
        typer.echo(str(error), err=True)
        sys.exit(TRY_AGAIN)
