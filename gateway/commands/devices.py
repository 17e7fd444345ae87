"""``gateway devices``: which devices are known and connected, their secrets, and commands for them."""

import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.commands.options import ConfigOption, JsonOption, SetOption, load
from gateway.commands.tables import table
from gateway.errors import OperatorError, Rejected
from gateway.identifiers import device_id_checked
from gateway.printable import one_line

app = typer.Typer(help="The devices: who is known and connected, their secrets, commands.", no_args_is_help=True)

LOOK_EVERY_S = 0.2


@app.command()
def add(
    device: Annotated[str, typer.Argument(help="The device id: 1 to 128 of A-Z a-z 0-9 . _ : @ -.")],
    config: ConfigOption = None,
    sets: SetOption = None,
    *,
    password: Annotated[bool, typer.Option("--password", help="Ask for a password instead of making a token.")] = False,
    no_secret: Annotated[
        bool, typer.Option("--no-secret", help='Known by its id alone, for listeners with access = "known".')
    ] = False,
    certificate: Annotated[
        Path | None,
        typer.Option(
            help="Give it a certificate of the local authority instead: its files are written into this folder.",
            metavar="FOLDER",
            file_okay=False,
        ),
    ] = None,
) -> None:
    """Make a device known; prints its token, once. The running gateway takes note within a second."""
    from gateway.devices.book import BookedDevice, add_device
    from gateway.devices.secret import kept_password, kept_token, new_token

    if password + no_secret + (certificate is not None) > 1:
        raise typer.BadParameter("--password, --no-secret and --certificate exclude each other")
    device_id = _device_id(device)
    data_dir = load(config, sets).gateway.data_dir
    if certificate is not None:
        _add_with_certificate(data_dir, device_id, certificate)
        return
    token = None if password or no_secret else new_token()
    secret = kept_token(token) if token else kept_password(_asked()) if password else None
    add_device(data_dir, BookedDevice(device_id=device_id, added_at=datetime.now(UTC), secret=secret))
    if token:
        typer.echo(f"{device_id} is known. Its token, shown this once:\n\n  {token}\n")
        typer.echo("HTTP: Authorization: Bearer TOKEN, or ?key=TOKEN. MQTT: the password.")
    else:
        typer.echo(f"{device_id} is known{'' if no_secret else ', with its password'}.")


def _add_with_certificate(data_dir: Path, device_id: str, folder: Path) -> None:
    from gateway.devices.book import BookedDevice, add_device
    from gateway.tls.authority import COMMON_NAME_CHARS_MAX, LocalAuthority
    from gateway.tls.files import AUTHORITY, FOLDER

    if len(device_id) > COMMON_NAME_CHARS_MAX:
        raise OperatorError(f"a certificate names at most {COMMON_NAME_CHARS_MAX} characters: choose a shorter id")
    add_device(
        data_dir,
        BookedDevice(device_id=device_id, added_at=datetime.now(UTC), secret=None, by_certificate=True),
    )
    try:
        LocalAuthority(data_dir / FOLDER).issue_device(device_id, folder)
    except OSError as error:
        raise OperatorError(f"{folder} can't be written to ({error.strerror}): check its owner") from error
    typer.echo(f"{device_id} is known by its certificate. For the device, and kept nowhere else:\n")
    typer.echo(f"  {folder / device_id}.pem  {folder / device_id}.key\n")
    typer.echo(f"The gateway's own is trusted with {folder / AUTHORITY}. Listeners: http.client_certificates.")


@app.command()
def revoke(
    device: Annotated[str, typer.Argument(help="The device id.")], config: ConfigOption = None, sets: SetOption = None
) -> None:
    """Forget a device and its secret. The running gateway turns it away within a second."""
    from gateway.devices.book import revoke_device

    was_known = revoke_device(load(config, sets).gateway.data_dir, _device_id(device))
    if was_known:
        typer.echo(f"{device} is revoked. A connection that it has open ends with its next login.")
    else:
        typer.echo(f"{device} was not in the book. A certificate that names it proves nothing from now on.")


@app.command("list")
def list_(config: ConfigOption = None, sets: SetOption = None, *, as_json: JsonOption = False) -> None:
    """List known devices, and those that have connected since the gateway started."""
    from gateway.control import ask_running_gateway
    from gateway.devices.book import read_book

    data_dir = load(config, sets).gateway.data_dir
    book = read_book(data_dir)
    rows = {
        one.device_id: {"device_id": one.device_id, "proof": one.proof, "added_at": one.added_at.isoformat()}
        for one in book.devices.values()
    }
    rows |= {device_id: {"device_id": device_id, "proof": "revoked"} for device_id in sorted(book.revoked)}
    answer = ask_running_gateway(data_dir, "devices")
    for connected in () if answer is None else answer["devices"]:
        rows[connected["device_id"]] = rows.get(connected["device_id"], {"proof": "not known"}) | connected
    if as_json:
        for row in rows.values():
            typer.echo(json.dumps(row))
        return
    if not rows:
        typer.echo("No device is known, and none has connected. (Devices that send over HTTP do not stay.)")
    else:
        head = ("device_id", "proof", "transport", "state", "since", "detail")
        table(
            tuple(name.replace("_", " ") for name in head),
            [tuple(str(row.get(name, "")) for name in head) for row in rows.values()],
        )
    if answer is None:
        typer.echo("No gateway runs here: who is connected is not known.", err=True)


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
    typer.echo(one_line(f"{state}{': ' if detail else ''}{detail}"))
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


def _device_id(given: str) -> str:
    try:
        return device_id_checked(given)
    except Rejected as error:
        raise OperatorError(f"{error}: {error.cure}") from error


def _asked() -> str:
    from gateway.devices.secret import PASSWORD_CHARS_MIN, SECRET_CHARS_MAX

    if sys.stdin.isatty():
        password = str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))
    else:
        password = sys.stdin.readline().rstrip("\r\n")  # a script's: nothing to hide from, and nobody to ask
    if not PASSWORD_CHARS_MIN <= len(password) <= SECRET_CHARS_MAX:
        raise OperatorError(f"a password has {PASSWORD_CHARS_MIN} to {SECRET_CHARS_MAX} characters")
    return password
