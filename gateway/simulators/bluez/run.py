"""Keeps a simulated BLE site going for somebody who looks on."""

import asyncio
import shlex
from collections.abc import Callable, Sequence

from gateway.simulators.bluez.site import BleSiteOptions, SimulatedBleSite, simulated_ble_site

LOOK_EVERY_S = 0.2
# What was just sent is still on its way through the bus, and a jpeg-stream ends with a second of silence.
LINGER_S = 3.0


def pasted(site: SimulatedBleSite) -> str:
    """Return the lines that a newcomer pastes into the shell of the gateway."""
    given = dict(site.environment())
    devices = given.pop("GATEWAY_BLE__DEVICE")
    bus, *switches = [f"{name}={shlex.quote(value)}" for name, value in given.items()]
    lines = [bus, " ".join(switches), f"GATEWAY_BLE__DEVICE={shlex.quote(devices)}"]
    return "\n".join(f"export {line}" for line in lines)


async def run_ble_site(
    options: BleSiteOptions,
    *,
    pictures_each: int | None,
    wait_s: float,
    announce: Callable[[SimulatedBleSite], None],
) -> Sequence[str]:
    """Serve until cancelled or, with ``pictures_each``, until every camera has got rid of so many.

    Returns the cameras that have not, once nothing has come to an end for ``wait_s`` since the first link. Raises
    OperatorError.
    """
    async with simulated_ble_site(options) as site:
        announce(site)
        if pictures_each is None:
            await asyncio.Event().wait()
        assert pictures_each is not None
        behind = await _finished(site, pictures_each, wait_s)
        await asyncio.sleep(LINGER_S)
        return behind


async def _finished(site: SimulatedBleSite, pictures_each: int, wait_s: float) -> Sequence[str]:
    while not site.bluez.links_high:  # noqa: ASYNC110  somebody may start the gateway tomorrow
        await asyncio.sleep(LOOK_EVERY_S)
    loop = asyncio.get_running_loop()
    progress, give_up_at = site.progress, loop.time() + wait_s
    while (behind := site.behind(pictures_each)) and loop.time() < give_up_at:
        await asyncio.sleep(LOOK_EVERY_S)
        if site.progress != progress:
            progress, give_up_at = site.progress, loop.time() + wait_s
    return behind
