"""A device of the fake: what it advertises, its GATT table, and what its firmware does when it is written to.

Subclass Peripheral for a camera. ``Air.notify`` hands a value to the radio; the fake bluetoothd delivers it, or loses
or doubles it when told to.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

BASE_UUID = "0000{:04x}-0000-1000-8000-00805f9b34fb"
# A notification has three bytes of head (Bluetooth Core, Vol 3 Part F 3.4.7.1).
ATT_HEAD_BYTES = 3


def short_uuid(number: int) -> str:
    """Return the full form of a 16-bit UUID."""
    return BASE_UUID.format(number)


@dataclass(kw_only=True)
class Characteristic:
    """One row of the GATT table; ``flags`` are BlueZ's words."""

    uuid: str
    flags: tuple[str, ...]
    value: bytes = b""

    @property
    def notifies(self) -> bool:
        """Whether its notifications (or indications) can be turned on."""
        return not {"notify", "indicate"}.isdisjoint(self.flags)


@dataclass(kw_only=True)
class Service:
    """A primary service."""

    uuid: str
    characteristics: list[Characteristic]


class Air(Protocol):
    """The link as the firmware sees it."""

    def notify(self, uuid: str, data: bytes) -> bool:
        """Send a notification. Returns False when there is no link or nobody asked for it."""

    def drop(self) -> None:
        """Lose the link."""

    async def room(self) -> None:
        """Return when the radio takes more."""


@dataclass(kw_only=True, eq=False)
class Peripheral:
    """A device in reach. ``silent`` stops its advertisements; ``links`` counts the connections it had."""

    address: str
    name: str = "camera"
    services: list[Service] = field(default_factory=list)
    manufacturer_data: Mapping[int, bytes] = field(default_factory=dict)
    service_data: Mapping[str, bytes] = field(default_factory=dict)
    advertised_uuids: tuple[str, ...] | None = None
    mtu: int = 247
    silent: bool = False
    rssi: int = -60
    air: Air | None = None
    links: int = 0

    @property
    def uuids(self) -> tuple[str, ...]:
        """The services that it advertises."""
        if self.advertised_uuids is not None:
            return self.advertised_uuids
        return tuple(service.uuid for service in self.services)

    @property
    def rows(self) -> tuple[Characteristic, ...]:
        """The characteristics of all its services."""
        return tuple(row for service in self.services for row in service.characteristics)

    def connected(self, air: Air) -> None:
        """Take note of a link."""
        self.air = air
        self.links += 1

    def disconnected(self) -> None:
        """Take note that the link is gone."""
        self.air = None

    def subscribed(self, uuid: str) -> None:
        """Take note that notifications of a characteristic were turned on."""

    def wrote(self, uuid: str, data: bytes) -> None:
        """Take what the gateway wrote."""

    def read(self, uuid: str) -> bytes:
        """Return the value of a characteristic."""
        return next(row for row in self.rows if row.uuid == uuid).value
