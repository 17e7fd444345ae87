"""``gateway devices``: which devices are connected, and a command for one of them."""

import json
import time
from typing import Annotated, Any

import typer

from gateway.commands.options import ConfigOption, JsonOption, SetOption, load
from gateway.commands.tables import table
from gateway.errors import OperatorError

app = typer.Typer(help="The devices: who is connected; commands for them.", no_args_is_help=True)

LOOK_EVERY_S = 0.2


@app.command("list")
def list_(config: ConfigOption = None, sets: SetOption = None, *, as_json: JsonOption = False) -> None:
    """List the devices that have connected since the gateway started, the latest change first."""
    rows: list[dict[str, Any]] = list(_ask(config, sets, "devices", {})["devices"])
    if as_json:
        for row in rows:
            typer.echo(json.dumps(row))
        return
    if not rows:
        typer.echo("No device has connected since the gateway started. (Devices that send over HTTP do not stay.)")
        return
    head = ("device_id", "transport", "state", "since", "detail")
    table(tuple(name.replace("_", " ") for name in head), [tuple(str(row[name]) for name in head) for row in rows])


@app.command()
def command(
    device: Annotated[str, typer.Argument(help="The device id.")],
    name: Annotated[str, typer.Argument(help="What it shall do, e.g. photo or interval.")],
    config: ConfigOption = None,
    sets: SetOption = None,
    *,
    value: Annotated[int | None, typer.Option(help="A number, where the command needs one.")] = None,
    wait: Annotated[float, typer.Option(min=0, max=3600, help="Seconds to wait for the outcome.")] = 10.0,
) -> None:
    """Tell a device something, as a message from the cloud would. It waits until the device is there."""
    from gateway.outbox.inspection import command_outcome

    arguments = {"device_id": device, "command": name, "value": value}
    command_id = str(_ask(config, sets, "command", arguments)["command_id"])
    data_dir = load(config, sets).gateway.data_dir
    deadline = time.monotonic() + wait
    while (outcome := command_outcome(data_dir, command_id))[0] == "waiting" and time.monotonic() < deadline:
        time.sleep(LOOK_EVERY_S)
    state, detail = outcome
    if state == "waiting":
        typer.echo(f"waiting: {device} is not here yet; it is told when it comes (devices.command_keep_s)")
        return
    typer.echo(f"{state}{': ' if detail else ''}{detail}")
    if state != "told":
        raise typer.Exit(1)


def _ask(config: Any, sets: Any, what: str, arguments: dict[str, Any]) -> Any:
    from gateway.control import ask_running_gateway

    data_dir = load(config, sets).gateway.data_dir
    answer = ask_running_gateway(data_dir, what, arguments)
    if answer is None:
        raise OperatorError(
            f"no gateway runs on {data_dir}: start it with gateway run, or name its settings (--config)"
        )
    return answer
