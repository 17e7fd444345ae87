"""``gateway simulate edge`` and ``gateway simulate provisioning``: what stands between a gateway and its hub."""

import asyncio
import contextlib
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.errors import OperatorError


def edge(
    *,
    directory: Annotated[
        Path, typer.Option("--dir", help="Where its authority, keys and workload socket are kept.")
    ] = Path("data/edge"),
    address: Annotated[
        str, typer.Option(help="The loopback address of edgeHub, whose port is 8883; another where that is taken.")
    ] = "127.0.0.1",
    device: Annotated[str, typer.Option(help="The IoT Edge device's id.")] = "edge-1",
    module: Annotated[str, typer.Option(help="The module's id.")] = "gateway",
) -> None:
    """Run a stand-in for IoT Edge's runtime; prints the environment that makes a gateway its module."""
    from gateway.simulators.iot_hub.edge import EdgeDevice, EdgeOptions

    options = EdgeOptions(directory=directory.absolute(), gateway_hostname=address, device_id=device, module_id=module)

    async def serve() -> None:
        async with EdgeDevice(options) as runtime:
            title = f"IoT Edge stand-in: edgeHub at {address}:8883. What it received: {runtime.hub.describe().view}"
            _tell(title, runtime.environment())
            await asyncio.Event().wait()

    _run(serve(), "--address or another --dir")


def provisioning(
    *,
    directory: Annotated[Path, typer.Option("--dir", help="Where its authority and keys are kept.")] = Path(
        "data/provisioning"
    ),
    registration_id: Annotated[str, typer.Option(help="Who is enrolled, with a key of its own.")] = "gw1",
) -> None:
    """Run a stand-in for the Device Provisioning Service and a hub; prints the settings that make a gateway ask it."""
    from gateway.simulators.iot_hub.devices import new_key
    from gateway.simulators.iot_hub.provisioning import Enrolment, ProvisioningService

    place = directory.absolute()
    place.mkdir(parents=True, exist_ok=True)
    key_file = place / "device.key"
    if not key_file.exists():
        key_file.touch(mode=0o600)
        key_file.write_text(new_key() + "\n")

    async def serve() -> None:
        async with ProvisioningService(place) as service:
            service.enrol(Enrolment(registration_id=registration_id, key=key_file.read_text().strip()))
            (hub,) = service.hubs.values()
            title = f"Provisioning stand-in: assigns {hub.hostname}. What that received: {hub.describe().view}"
            _tell(title, service.environment(registration_id, key_file))
            await asyncio.Event().wait()

    _run(serve(), "another --dir")


def _tell(title: str, environment: Mapping[str, str]) -> None:
    typer.echo(f"{title}\n")
    for name, value in environment.items():
        typer.echo(f"  export {name}='{value}'")
    typer.echo("\nPaste these lines into another terminal, then: gateway check; gateway run. Ctrl-C stops it.")


def _run(work: Coroutine[Any, Any, None], otherwise: str) -> None:
    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(work)
    except OSError as error:
        raise OperatorError(
            f"the stand-in can't start ({error.strerror}): does one run already? Try {otherwise}"
        ) from error
