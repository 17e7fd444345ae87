"""A camera of gateway/simulators on a Bluetooth stack that is not BlueZ's."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from bumble.core import AdvertisingData
from bumble.device import Connection
from bumble.gatt import Characteristic, CharacteristicValue, Service

from gateway.simulators.devices.ble_firmware import BleCamera, GattCharacteristic, Notification
from tests.bluez_vm.guest.air import Air
from tests.bluez_vm.guest.peripheral import AiredPeripheral

log = logging.getLogger(__name__)

# Of each notification: opcode and handle.
ATT_HEAD_BYTES = 3
TICK_S = 0.1
_PROPERTIES = {
    "read": Characteristic.Properties.READ,
    "write": Characteristic.Properties.WRITE,
    "write-without-response": Characteristic.Properties.WRITE_WITHOUT_RESPONSE,
    "notify": Characteristic.Properties.NOTIFY,
}


class AiredCamera(AiredPeripheral):
    """A firmware behind a GATT server. ``pause_s`` lies between two notifications, as in cameras that pace them.

    ``written`` is what came on the link of now, or the last one.
    """

    def __init__(
        self, air: Air, *, address: str, name: str, firmware: BleCamera, mtu: int = 247, pause_s: float = 0.01
    ) -> None:
        self.firmware = firmware
        self.written: list[bytes] = []
        self._pause_s = pause_s
        self._rows = {row.role: self._characteristic(row) for row in firmware.characteristics}
        uuid = bytes.fromhex(firmware.service_uuid.replace("-", ""))[::-1]
        said = (
            (AdvertisingData.Type.COMPLETE_LIST_OF_128_BIT_SERVICE_CLASS_UUIDS, uuid),
            # An advertisement has 31 bytes: eight are left.
            (AdvertisingData.Type.SHORTENED_LOCAL_NAME, name.encode()[:8]),
        )
        service = Service(firmware.service_uuid, list(self._rows.values()))
        super().__init__(air, address=address, services=[service], said=said)
        self.device.gatt_server.max_mtu = mtu
        self._notifying = {role for role, row in self._rows.items() if row.properties & _PROPERTIES["notify"]}
        for role in self._notifying:
            self._rows[role].on(Characteristic.EVENT_SUBSCRIPTION, partial(self._subscribed, role))
        self._subscribed_to: set[str] = set()
        self._outgoing: deque[Notification] = deque()
        self._more = asyncio.Event()
        self._sender: asyncio.Task[None] | None = None
        self._going = asyncio.Event()
        self._going.set()
        self._countdown = 0
        self._then: Callable[[], None] = self.go_on

    @property
    def listened_to(self) -> bool:
        """Whether somebody has turned all notifications on."""
        return self.connection is not None and self._subscribed_to == self._notifying

    def take_photo(self) -> None:
        """Press its button."""
        self._queue(self.firmware.photo())

    def in_mid_transfer(self, notifications: int, then: Callable[[], None]) -> None:
        """Do something when so many more notifications have left: ``walk_away``, ``hold``."""
        self._countdown, self._then = notifications, then

    @property
    def happened(self) -> bool:
        """Whether that was done."""
        return self._countdown == 0

    def hold(self) -> None:
        """Send nothing until ``go_on``: what is done to the other side meanwhile is done in mid-transfer."""
        self._going.clear()

    def go_on(self) -> None:
        self._going.set()

    # --- the link -------------------------------------------------------------------------------------

    def link_began(self, connection: Connection) -> None:
        self.written.clear()
        self._outgoing.clear()
        connection.on(Connection.EVENT_CONNECTION_ATT_MTU_UPDATE, partial(self._agreed, connection))
        self._agreed(connection)
        log.info("%s: link %d", self.address, self.links)
        self._sender = asyncio.create_task(self._send(connection), name=f"camera-{self.address}")

    def link_ended(self) -> None:
        log.info("%s: link lost, %d notifications unsent", self.address, len(self._outgoing))
        self._outgoing.clear()
        self._subscribed_to.clear()
        if self._sender is not None:
            self._sender.cancel()

    def _subscribed(self, role: str, _: Connection, notify: bool, __: bool) -> None:
        (self._subscribed_to.add if notify else self._subscribed_to.discard)(role)
        if self.listened_to:
            self._queue(self.firmware.listened())

    def _agreed(self, connection: Connection) -> None:
        log.info("%s: ATT MTU %d", self.address, connection.att_mtu)
        self.firmware.connected(att_payload_max=connection.att_mtu - ATT_HEAD_BYTES)

    def _written(self, role: str, _: Connection, data: bytes) -> None:
        log.info("%s: %s was written %s", self.address, role, data.hex())
        self.written.append(bytes(data))
        if self.firmware.supersedes(role, data):
            self._outgoing.clear()
        self._queue(self.firmware.written(role, bytes(data)))

    def _queue(self, notifications: Iterable[Notification]) -> None:
        if self.connection is not None:
            self._outgoing.extend(notifications)
            self._more.set()

    async def _send(self, connection: Connection) -> None:
        while True:
            if not self._outgoing:
                await self._idle()
                continue
            one = self._outgoing.popleft()
            await self.device.notify_subscriber(connection, self._rows[one.role], one.data)
            self.firmware.notified(one)
            await asyncio.sleep(self._pause_s)
            self._count_down()
            await self._going.wait()

    def _count_down(self) -> None:
        if self._countdown > 0:
            self._countdown -= 1
            if self._countdown == 0:
                self._then()

    async def _idle(self) -> None:
        self._more.clear()
        try:
            async with asyncio.timeout(TICK_S):
                await self._more.wait()
        except TimeoutError:
            if self.listened_to:
                self._queue(self.firmware.ticked(time.monotonic()))

    def _characteristic(self, row: GattCharacteristic) -> Characteristic[bytes]:
        value = CharacteristicValue(read=_nothing, write=partial(self._written, row.role))
        return Characteristic(
            row.uuid, _properties(row.flags), Characteristic.READABLE | Characteristic.WRITEABLE, value
        )


def _properties(flags: Sequence[str]) -> Characteristic.Properties:
    together = Characteristic.Properties(0)
    for flag in flags:
        together |= _PROPERTIES[flag]
    return together


def _nothing(_: Connection) -> bytes:
    return b""
