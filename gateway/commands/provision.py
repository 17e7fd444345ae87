"""``gateway provision``: the way to a hub by the Device Provisioning Service, step by step, in words."""

import asyncio
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.commands.options import ConfigOption, SetOption, load
from gateway.errors import LinkDown, OperatorError
from gateway.settings import CloudProvisioningSettings, Settings

if TYPE_CHECKING:
    from gateway.cloud.child_link import AzureIotHubLink
    from gateway.cloud.provisioning import Assignment, AssignmentFile

app = typer.Typer(
    help="Ask the Device Provisioning Service which hub this gateway belongs to, step by step; derive a device's key.",
    invoke_without_command=True,
)

_NOT_SET_UP = """\
no provisioning is set up. In the settings file:

  [cloud.provisioning]
  id_scope = "0ne000A1B2C"            # of the DPS instance, on its page in the portal
  registration_id = "greenhouse-3"    # this gateway's name there
  key_file = "device.key"             # chmod 600: its key; or group_key_file; or certificate_file with
                                      # certificate_key_file

A device's key in an enrolment group is made, where the group's key is kept, with:
  gateway provision derive-key --registration-id greenhouse-3 --group-key-file group.key"""


@app.callback()
def provision(
    context: typer.Context,
    config: ConfigOption = None,
    sets: SetOption = None,
    *,
    connect: Annotated[bool, typer.Option(help="Connect to the hub once, to see that it lets this gateway in.")] = True,
) -> None:
    """Ask which hub this gateway belongs to, and remember the answer in the data directory."""
    if context.invoked_subcommand is not None:
        return
    from gateway.log import configure_logging

    configure_logging("auto", "error")  # the steps tell it better
    settings = load(config, sets)
    if settings.cloud.identity_source != "provisioning":
        raise OperatorError(_NOT_SET_UP)
    asyncio.run(_Steps(settings).walk(connect=connect))


@app.command("derive-key")
def derive_key(
    *,
    registration_id: Annotated[str, typer.Option(help="The device's name at the service.")],
    group_key_file: Annotated[
        Path | None, typer.Option(help="The group's key in base64; without it, it is read from standard input.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the device's key to this new file (0600) instead of printing it.")
    ] = None,
) -> None:
    """Derive one device's key from its enrolment group's: copy that to the device, and keep the group's key."""
    from gateway.cloud.provisioning import derived_key
    from gateway.settings.forms import check_registration_id

    if not registration_id:
        raise OperatorError("a registration id is needed, for example --registration-id greenhouse-3")
    try:
        check_registration_id(registration_id)
        text = group_key_file.read_text() if group_key_file else sys.stdin.read()
        key = derived_key(text.strip(), registration_id)
    except OSError as error:
        raise OperatorError(f"{group_key_file} can't be read: {(error.strerror or '').lower()}") from error
    except ValueError as error:
        # Not its text: it may quote the key.
        raise OperatorError("that is no group key in base64, or no registration id") from error
    if out is None:
        typer.echo(key)
        return
    _write_new(out, key)
    typer.echo(f"the key of {registration_id} is in {out} (mode 0600)")


def _write_new(file: Path, key: str) -> None:
    try:
        file.touch(mode=0o600, exist_ok=False)
        file.write_text(key + "\n")
    except OSError as error:
        raise OperatorError(f"{file} can't be written: {(error.strerror or '').lower()}") from error


class _Steps:
    """The way, step by step; stops at the first that fails, with what to do."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._asked = settings.cloud.provisioning
        self._number = 0

    async def walk(self, *, connect: bool) -> None:
        from gateway.cloud.provisioning import AssignmentFile
        from gateway.outbox.files import prepare_directory

        data_dir = self._settings.gateway.data_dir
        prepare_directory(data_dir)
        file = AssignmentFile(data_dir)
        link = self._link(file)
        try:
            self._who()
            before = file.load(self._asked)
            answer = await self._ask(link)
            is_new = before is None or (before.hub, before.device_id) != (answer.hub, answer.device_id)
            self._remember(file, answer)
            if connect:
                await self._connect(link, is_new=is_new)
        except LinkDown as error:
            raise OperatorError(f"   That failed ({error.reason}): {error.detail}") from error
        finally:
            await link.close()

    def _link(self, file: "AssignmentFile") -> "AzureIotHubLink":
        from gateway.clock import SystemClock
        from gateway.cloud.child_link import AzureIotHubLink
        from gateway.metrics import Metrics

        return AzureIotHubLink(
            settings=self._settings.cloud,
            gateway_id=self._settings.gateway.id,
            clock=SystemClock(),
            meter=Metrics(),
            on_command=None,  # nobody here would keep one
            assignments=file,
        )

    async def _ask(self, link: "AzureIotHubLink") -> "Assignment":
        self._say(f"Asking {self._asked.host}: which hub does {self._asked.registration_id} belong to?")
        answer = await link.ask_for_hub()
        self._say(f"The answer: hub {answer.hub}, as device {answer.device_id}.")
        return answer

    def _remember(self, file: "AssignmentFile", answer: "Assignment") -> None:
        try:
            file.keep(answer)
        except OSError as error:
            raise OperatorError(f"   {file.path} can't be written: {(error.strerror or '').lower()}") from error
        self._say(f"Remembered in {file.path} (mode 0600, no key in it): the next start needs no service.")

    async def _connect(self, link: "AzureIotHubLink", *, is_new: bool) -> None:
        from gateway.commands.check import runs_already

        if runs_already(self._settings.gateway.data_dir):
            self._say("A gateway runs on this data: it uses the answer with its next session.")
        elif not is_new:
            # Commands may wait there for the gateway; whoever connects as this device takes them away.
            self._say("That hub is known already; gateway run connects to it.")
        else:
            self._say("Connecting to the hub ...")
            async with link.session():
                self._say("The hub lets this gateway in. All is well: gateway run.")

    def _who(self) -> None:
        asked = self._asked
        self._say(f"Settings: registration id {asked.registration_id} in scope {asked.id_scope}.")
        for file, what in _files(asked):
            # Modes were checked with the settings: a key that others can reach is refused there.
            self._say(f"Proof: {what}, {file} (mode {stat.S_IMODE(file.stat().st_mode):04o}).")

    def _say(self, text: str) -> None:
        self._number += 1
        typer.echo(f"{self._number}. {text}")


def _files(asked: CloudProvisioningSettings) -> list[tuple[Path, str]]:
    named = (
        (asked.key_file, "this device's symmetric key"),
        (asked.group_key_file, "the key of its enrolment group, from which this device's is derived"),
        (asked.certificate_file, "this device's certificate"),
        (asked.certificate_key_file, "the certificate's private key"),
    )
    return [(file, what) for file, what in named if file is not None]
