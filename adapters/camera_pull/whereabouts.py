"""At which addresses a camera is, as far as they may be gone to.

A name that can't be resolved now, because the name server went with the uplink, is where it was the last time.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from adapters.camera_pull.faults import CameraFault, Reason
from gateway.identifiers import shortened
from gateway.settings import CameraPullSettings
from gateway.web_targets import Target, address_of, may_have_camera

Lookup = Callable[[str, int], Awaitable[Sequence[str]]]

# A resolver of the site answers in milliseconds; without one the system tries for ten seconds and more.
LOOKUP_TIMEOUT_S = 3.0


class Whereabouts:
    """One for each camera."""

    def __init__(self, *, lookup: Lookup, settings: CameraPullSettings) -> None:
        self._lookup = lookup
        self._networks = settings.allowed_networks
        self._last: dict[str, Sequence[str]] = {}

    async def addresses(self, target: Target) -> Sequence[str]:
        """Return the addresses, the preferred first, at least one. Raises CameraFault."""
        found = await self._found(target)
        allowed = [
            text for text in found if may_have_camera(address_of(text), host=target.host, networks=self._networks)
        ]
        if not allowed:
            where = ", ".join(found[:3])
            raise CameraFault(Reason.ADDRESS_REFUSED, f"{target.host} is at {where}: see camera_pull.allowed_networks")
        self._last[target.host] = allowed
        return allowed

    async def _found(self, target: Target) -> Sequence[str]:
        try:
            address_of(target.host)
        except ValueError:
            return await self._looked_up(target)
        return (target.host,)

    async def _looked_up(self, target: Target) -> Sequence[str]:
        try:
            async with asyncio.timeout(LOOKUP_TIMEOUT_S):
                return await self._lookup(target.host, target.port)
        except (OSError, UnicodeError) as error:  # TimeoutError is an OSError
            if target.host in self._last:
                return self._last[target.host]
            why = str(error) or f"no answer in {LOOKUP_TIMEOUT_S:g} s"
            raise CameraFault(Reason.NAME_UNKNOWN, f"{target.host} is not found: {shortened(why)}") from error
