"""A device in reach of the guest's controller: Bumble's host and GATT server on a controller of its own."""

import asyncio
from collections.abc import Sequence

from bumble.core import AdvertisingData
from bumble.device import Connection, Device
from bumble.gatt import Service
from bumble.hci import Address
from bumble.host import Host
from bumble.transport.common import AsyncPipeSink

from tests.bluez_vm.guest.air import Air, Radio

ADVERTISE_EVERY_MS = 200
# General discoverable, no BR/EDR (Core Specification Supplement, Part A 1.3).
_FLAGS = b"\x06"
AdvertisingField = tuple[AdvertisingData.Type, bytes]


class AiredPeripheral:
    """Connectable, if somebody wants to. ``links`` counts how often that was."""

    def __init__(
        self, air: Air, *, address: str, services: Sequence[Service], said: Sequence[AdvertisingField]
    ) -> None:
        self.address = address
        self.links = 0
        self.connection: Connection | None = None
        self._air = air
        self._radio = Radio(address, link=air)
        self.device = Device(address=Address(address), host=Host(self._radio, AsyncPipeSink(self._radio)))
        for service in services:
            self.device.add_service(service)
        self.device.advertising_interval_min = self.device.advertising_interval_max = ADVERTISE_EVERY_MS
        self.device.on(Device.EVENT_CONNECTION, self._connected)
        self._said = tuple(said)
        self._on = False
        self._alone = asyncio.Event()
        self._alone.set()

    @property
    def device_id(self) -> str:
        """What a gateway calls it that has no [[ble.device]] for it."""
        return f"ble-{self.address.replace(':', '').lower()}"

    async def switch_on(self) -> None:
        """Advertise, after each link again."""
        if not self._on:
            await self.device.power_on()
            self._on = True
        await self.say(*self._said)

    async def say(self, *said: AdvertisingField) -> None:
        """Advertise this from now on."""
        await self.device.stop_advertising()
        data = bytes(AdvertisingData([(AdvertisingData.Type.FLAGS, _FLAGS), *said]))
        await self.device.start_advertising(auto_restart=True, advertising_data=data)

    async def switch_off(self) -> None:
        """Fall silent, as a device whose battery is taken out."""
        await self.device.stop_advertising()
        self.walk_away()
        # Its host hears of the lost link in the next turns of the loop.
        await self._alone.wait()

    def walk_away(self) -> None:
        """Lose the link without a word, and come back into reach at once."""
        self._air.lose(self._radio)

    def _connected(self, connection: Connection) -> None:
        self.links += 1
        self._alone.clear()
        self.connection = connection
        connection.on(Connection.EVENT_DISCONNECTION, self._disconnected)
        self.link_began(connection)

    def _disconnected(self, _: int) -> None:
        self.connection = None
        self._alone.set()
        self.link_ended()

    def link_began(self, connection: Connection) -> None:
        """Do what the device does on a link."""

    def link_ended(self) -> None:
        """Forget the link."""
