"""``gateway simulate device ble``: Bluetooth devices without a radio."""

import asyncio
import contextlib
import signal
from collections.abc import Coroutine, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.errors import OperatorError

if TYPE_CHECKING:
    from gateway.simulators.bluez.site import SimulatedBleSite


def ble(
    *,
    camera: Annotated[
        list[str] | None, typer.Option(help="A camera's profile; may be repeated. Without: one of each.")
    ] = None,
    beacons: Annotated[int, typer.Option(min=0, max=200, help="Sensors that advertise BTHome.")] = 1,
    thermometers: Annotated[int, typer.Option(min=0, max=50, help="Sensors whose values are read.")] = 1,
    count: Annotated[
        int | None, typer.Option(min=1, max=1_000_000, help="Pictures of each camera. Without: until Ctrl-C.")
    ] = None,
    interval: Annotated[float, typer.Option(min=0.1, max=86_400, help="Seconds between two pictures.")] = 10.0,
    picture: Annotated[
        list[Path] | None, typer.Option(help="A picture to send; may be repeated. Without: fruit is drawn.")
    ] = None,
    directory: Annotated[
        Path | None,
        typer.Option("--dir", help="Keep the bus's socket here, so that its address stays. Without: a new one."),
    ] = None,
    wait: Annotated[
        float, typer.Option(min=1, max=3600, help="With --count: seconds without progress before giving up.")
    ] = 60.0,
) -> None:
    """Run a stand-in for a Bluetooth radio, with cameras and sensors; prints the lines that point a gateway at it."""
    try:
        from gateway.simulators.bluez.run import pasted, run_ble_site
        from gateway.simulators.bluez.site import BleSiteOptions
    except ImportError as error:
        raise OperatorError(f"the simulated radio needs Linux and dbus-fast ({error}): pip install bleak") from error
    from gateway.simulators.devices.ble_cameras import CAMERAS
    from gateway.simulators.devices.pictures import pictures

    def announce(site: "SimulatedBleSite") -> None:
        _announce(pasted(site), [one.name for one in (*site.cameras, *site.sensors)], beacons=beacons)

    def seen(number: int) -> Iterator[bytes]:
        return islice(pictures(picture or (), seed=1000 * number), count)

    options = BleSiteOptions(
        pictures=seen,
        cameras=tuple(camera or CAMERAS),
        beacons=beacons,
        thermometers=thermometers,
        interval_s=interval,
        directory=None if directory is None else directory.absolute(),
        tell=typer.echo,
    )
    behind: Sequence[str] = ()
    with contextlib.suppress(asyncio.CancelledError):
        behind = asyncio.run(_until_told(run_ble_site(options, pictures_each=count, wait_s=wait, announce=announce)))
    if behind:
        typer.echo(f"Not done: {', '.join(behind)}.", err=True)
        raise typer.Exit(1)


async def _until_told(work: Coroutine[Any, Any, Sequence[str]]) -> Sequence[str]:
    """Do the work; Ctrl-C and SIGTERM cancel it, so that the bus's daemon is not left behind."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await work


def _announce(lines: str, names: Sequence[str], *, beacons: int) -> None:
    import importlib.util

    typer.echo(f"A Bluetooth radio without a radio. In its reach: {', '.join(names)}.\n")
    typer.echo("Paste these lines into another terminal, then: make run\n")
    typer.echo(lines)
    if beacons and importlib.util.find_spec("bthome_ble") is None:
        typer.echo("\nFor the beacons the gateway needs an extra: pip install 'gateway-bridge[ble]'")
    typer.echo("\nCtrl-C stops it.\n")
