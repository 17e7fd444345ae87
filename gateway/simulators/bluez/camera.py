"""A camera in reach of the fake: a firmware of simulators/devices behind a GATT table."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from gateway.simulators.bluez.peripheral import ATT_HEAD_BYTES, Air, Characteristic, Peripheral, Service
from gateway.simulators.devices.ble_firmware import BleCamera, Notification

# Notifications between two turns of the event loop.
BURST = 64
TICK_S = 0.1
# Of so many pictures it remembers when they were taken.
REMEMBERED_MAX = 64


def _silently(_: str) -> None:
    """Do nothing: nobody asked to be told."""


@dataclass(kw_only=True, eq=False)
class SimulatedCamera(Peripheral):
    """One camera; ``services``, ``mtu`` and the like are its firmware's. ``pause_s`` lies between two notifications.

    ``tell`` gets a line for each picture: when it is acknowledged or, by the protocols that have no word for that, when
    it is sent. ``sent`` counts the latter.
    """

    firmware: BleCamera
    name: str = ""
    mtu: int = 0
    pause_s: float = 0
    tell: Callable[[str], None] = _silently
    sent: int = 0
    _listening: set[str] = field(default_factory=set)
    _outgoing: deque[Notification] = field(default_factory=deque)
    _more: asyncio.Event = field(default_factory=asyncio.Event)
    _sending: asyncio.Task[None] | None = None
    _taken_s: dict[int, float] = field(default_factory=dict)
    _picture_under_way: bool = False

    def __post_init__(self) -> None:
        firmware = self.firmware
        firmware.on_answer = self._answered
        self._note_photo()
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

    @property
    def ended(self) -> int:
        """How many were answered for good or, by the protocols that have no word for that, sent."""
        firmware = self.firmware
        return firmware.acknowledged + firmware.refused if firmware.acknowledges else self.sent

    # --- its radio ------------------------------------------------------------------------------------

    def connected(self, air: Air) -> None:
        super().connected(air)
        self.firmware.connected(att_payload_max=self.mtu - ATT_HEAD_BYTES)
        self._sending = asyncio.get_running_loop().create_task(self._send(air), name=f"camera-{self.name}")

    def disconnected(self) -> None:
        super().disconnected()
        self._listening.clear()
        self._outgoing.clear()
        self._picture_under_way = False
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
        """Press its button. Without a link the picture waits if the firmware keeps pictures, else it is lost."""
        self._queue(self.firmware.photo())

    def send(self, notifications: Iterable[Notification]) -> None:
        """Send something of the firmware's; lost when there is no link."""
        self._queue(tuple(notifications))

    async def _send(self, air: Air) -> None:
        number = 0
        while True:
            if not self._outgoing:
                self._all_sent()
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

    def _queue(self, notifications: Sequence[Notification]) -> None:
        self._note_photo()
        if self.air is not None and notifications:
            self._outgoing.extend(notifications)
            self._more.set()

    # --- what became of its pictures ------------------------------------------------------------------

    def _note_photo(self) -> None:
        if not self.photos or self.photos in self._taken_s:
            return
        self._taken_s[self.photos] = time.monotonic()
        self._picture_under_way = self.air is not None
        while len(self._taken_s) > REMEMBERED_MAX:
            del self._taken_s[next(iter(self._taken_s))]

    def _all_sent(self) -> None:
        if self.firmware.acknowledges or not self._picture_under_way:
            return
        self._picture_under_way = False
        self.sent += 1
        sent = f"{self.firmware.picture_bytes} bytes sent in {self._since_taken_s(self.photos):.2f} s"
        self.tell(f"{self.name} picture {self.photos}: {sent}; its protocol acknowledges nothing")

    def _answered(self, number: int, word: str) -> None:
        self._note_photo()
        self.tell(f"{self.name} picture {number}: {word}, {self._since_taken_s(number):.2f} s after it was taken")

    def _since_taken_s(self, number: int) -> float:
        now_s = time.monotonic()
        return now_s - self._taken_s.get(number, now_s)
