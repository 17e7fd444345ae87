"""What the gateway tells systemd: that it serves, that it is alive, that it stops. Silent where nobody asks.

The protocol is sd_notify(3): lines of text in a datagram to ``$NOTIFY_SOCKET``. The process that systemd started is
the parent (gateway/respawn.py), which sleeps and would be alive whatever happens; so its child speaks, from the event
loop that serves devices, and the unit says ``NotifyAccess=all``. A loop that stalls misses its pings, and systemd ends
both. There is no ping before it serves: that would start systemd's clock on a start that a slow board may need minutes
for. The parent speaks only between two lives of the child, so that its back-off is not taken for a stall.

Standard library only, and asyncio not before it is needed: the parent imports this.
"""

import contextlib
import os
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

NOTIFY_SOCKET = "NOTIFY_SOCKET"
WATCHDOG_USEC = "WATCHDOG_USEC"
WATCHDOG_PID = "WATCHDOG_PID"
# sd_watchdog_enabled(3) advises half; a third lets one ping come late on a busy board.
PINGS_A_TIMEOUT = 3

READY = "READY=1"
ALIVE = "WATCHDOG=1"
STOPPING = "STOPPING=1"


class ServiceManager:
    """systemd, or nobody: then every call does nothing."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._address = _address(environment.get(NOTIFY_SOCKET, ""))
        self.ping_every_s = _ping_every_s(environment)

    def tell(self, *lines: str) -> None:
        """Send ``lines`` without waiting. One that systemd can't take is lost; the next ping tells it the same."""
        if self._address is None:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifier:
            notifier.settimeout(0)
            notifier.sendto("\n".join(lines).encode(), self._address)

    async def keep_pinging(self, from_then: "asyncio.Event") -> None:
        """Say "alive" for ever from this event loop, as often as WatchdogSec asks for; returns if it does not ask."""
        import asyncio

        await from_then.wait()
        while self.ping_every_s is not None:
            self.tell(ALIVE)
            await asyncio.sleep(self.ping_every_s)


def _address(text: str) -> str | None:
    """Return the socket's address; "@" stands for the zero byte of Linux's abstract names."""
    if text.startswith("@"):
        return "\0" + text[1:]
    return text if text.startswith("/") else None


def _ping_every_s(environment: Mapping[str, str]) -> float | None:
    timeout_us, asked = environment.get(WATCHDOG_USEC, ""), environment.get(WATCHDOG_PID, "")
    # Ours or our parent's: variables that another service's process handed down are not meant for us.
    if not timeout_us.isdigit() or int(timeout_us) == 0 or asked not in {"", str(os.getpid()), str(os.getppid())}:
        return None
    return int(timeout_us) / 1e6 / PINGS_A_TIMEOUT
