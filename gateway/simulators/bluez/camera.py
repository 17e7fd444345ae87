"""A camera in reach of the fake: a firmware of simulators/devices behind a GATT table."""

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from gateway.simulators.bluez.peripheral import ATT_HEAD_BYTES, Air, Characteristic, Peripheral, Service
from gateway.simulators.devices.ble_firmware import BleCamera, Notification

# Notifications between two turns of the event loop.
BURST = 64
TICK_S = 0.1


@dataclass(kw_only=True, eq=False)
class SimulatedCamera(Peripheral):
    """One camera; ``services``, ``mtu`` and the like are its firmware's. ``pause_s`` lies between two notifications."""

    firmware: BleCamera
    name: str = ""
    mtu: int = 0
    pause_s: float = 0
    _listening: set[str] = field(default_factory=set)
    _outgoing: deque[Notification] = field(default_factory=deque)
    _more: asyncio.Event = field(default_factory=asyncio.Event)
    _sending: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        firmware = self.firmware
        self.name = self.name or firmware.name
        self.mtu = self.mtu or firmware.mtu
        rows = [Characteristic(uuid=row.uuid, flags=row.flags) for row in firmware.characteristics]
        self.services = [Service(uuid=firmware.service_uuid, characteristics=rows)]
        self._role_of = {row.uuid: row.role for row in firmware.characteristics}
        self._uuid_of = {row.role: row.uuid for row in firmware.characteristics}
        self._notifying = {row.uuid for row in rows if row.notifies}

    @property
    def photos(self) -> int:
        """How many it took."""
        return self.firmware.photos

    def connected(self, air: Air) -> None:
        super().connected(air)
        self.firmware.connected(att_payload_max=self.mtu - ATT_HEAD_BYTES)
        self._sending = asyncio.get_running_loop().create_task(self._send(air), name=f"camera-{self.name}")

    def disconnected(self) -> None:
        super().disconnected()
        self._listening.clear()
        self._outgoing.clear()
        if self._sending is not None:
            self._sending.cancel()

    def subscribed(self, uuid: str) -> None:
        self._listening.add(uuid)
        if self._listening == self._notifying:
            self._queue(self.firmware.listened())

    def wrote(self, uuid: str, data: bytes) -> None:
        role = self._role_of[uuid]
        if self.firmware.supersedes(role, data):
            self._outgoing.clear()
        self._queue(self.firmware.written(role, data))

    def take_photo(self) -> None:
        """Press its button."""
        self._queue(self.firmware.photo())

    def send(self, notifications: Iterable[Notification]) -> None:
        """Send something of the firmware's; lost when there is no link."""
        self._queue(tuple(notifications))

    def _queue(self, notifications: Sequence[Notification]) -> None:
        if self.air is not None and notifications:
            self._outgoing.extend(notifications)
            self._more.set()

    async def _send(self, air: Air) -> None:
        number = 0
        while True:
            if not self._outgoing:
                await self._idle()
                continue
            notification = self._outgoing.popleft()
            if air.notify(self._uuid_of[notification.role], notification.data):
                self.firmware.notified(notification)
            number += 1
            if self.pause_s or number % BURST == 0:
                await asyncio.sleep(self.pause_s)
            await air.room()

    async def _idle(self) -> None:
        self._more.clear()
        try:
            async with asyncio.timeout(TICK_S):
                await self._more.wait()
        except TimeoutError:
            if self._listening == self._notifying:
                self._queue(self.firmware.ticked(time.monotonic()))
