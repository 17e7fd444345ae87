"""The door to name resolution for the gateway's own requests.

``getaddrinfo`` blocks its thread for ten seconds and more when no name server answers, which is every day on a site
that is offline. So each lookup has a daemon thread of its own: asyncio's default executor, where the intake's hashes
are made, never fills with them, and no stop waits for one. Limit: ``LOOKUPS_MAX`` at once; more wait for their turn.
"""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Sequence

LOOKUPS_MAX = 4


class NameLookup:
    """One for each asker. A call is ``await lookup(host, port)``."""

    def __init__(self) -> None:
        self._room = asyncio.Semaphore(LOOKUPS_MAX)

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """Return the addresses of ``host``, the preferred first. Raises OSError; UnicodeError for what is no name."""
        await self._room.acquire()
        loop = asyncio.get_running_loop()
        found: asyncio.Future[Sequence[str]] = loop.create_future()

        def settle(result: Sequence[str] | Exception) -> None:
            # Here, not when the caller gives up: a thread that still waits holds its place.
            self._room.release()
            if found.done():
                return
            if isinstance(result, Exception):
                found.set_exception(result)
            else:
                found.set_result(result)

        def look_up() -> None:
            result = _addresses(host, port)
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(settle, result)

        threading.Thread(target=look_up, name="name-lookup", daemon=True).start()
        return await found


def _addresses(host: str, port: int) -> Sequence[str] | Exception:
    try:
        return [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError) as error:
        return error
