"""What is in reach of the fake's adapter: advertisements, links, and what goes over them, or is lost on the way.

As bluetoothd does it: an advertising device appears as an object and changes its RSSI; a connected one does not
advertise; GATT objects come with the first connection and stay; links outlive the D-Bus client that made them.
"""

import asyncio
from collections import Counter

from dbus_fast import Variant

from gateway.simulators.bluez.faults import FAILED, NOT_READY, BluezError, Faults
from gateway.simulators.bluez.listeners import Listeners
from gateway.simulators.bluez.objects import (
    ADAPTER,
    CHARACTERISTIC,
    DEVICE,
    ObjectTree,
    adapter_props,
    advertised_data,
    device_props,
)
from gateway.simulators.bluez.outlet import CREDITS, PUMP_AGAIN_S, Outlet
from gateway.simulators.bluez.peripheral import Characteristic, Peripheral

ADVERTISE_EVERY_S = 0.05


class _Link:
    """Implements Air for one peripheral."""

    def __init__(self, radio: "Radio", path: str) -> None:
        self._radio = radio
        self._path = path

    def notify(self, uuid: str, data: bytes) -> bool:
        return self._radio.deliver(self._path, uuid, data)

    def drop(self) -> None:
        self._radio.drop(self._path)

    async def room(self) -> None:
        await self._radio.room()


class Radio:
    """The adapter and its surroundings. ``peripherals`` are by D-Bus path."""

    def __init__(
        self, *, adapter_path: str, objects: ObjectTree, listeners: Listeners, faults: Faults, outlet: Outlet
    ) -> None:
        self.adapter_path = adapter_path
        self.peripherals: dict[str, Peripheral] = {}
        self.discovering: set[str] = set()
        self.powered = True
        self.plugged_in = True
        self.links_high = 0
        self._objects = objects
        self._listeners = listeners
        self._faults = faults
        self._outlet = outlet
        self._notifications: Counter[str] = Counter()

    # --- the adapter ----------------------------------------------------------------------------------

    def show(self) -> None:
        """Add the adapter's object, if there is an adapter."""
        if self.plugged_in:
            self._objects.put(self.adapter_path, ADAPTER, adapter_props(powered=self.powered))

    def restart(self) -> None:
        """Lose every link and the discovery, telling nobody."""
        for path, peripheral in self.peripherals.items():
            if peripheral.air is not None:
                peripheral.disconnected()
                self._listeners.link_lost(path)
        self.discovering.clear()

    def set_powered(self, *, powered: bool) -> None:
        """Switch it. Off ends every link and the discovery."""
        self.powered = powered
        if not powered:
            self._drop_all()
            self.discovering.clear()
        self._objects.change(self.adapter_path, ADAPTER, Powered=Variant("b", powered))
        self._tell_discovery()

    def unplug(self) -> None:
        """Take the adapter away with everything on it."""
        self._drop_all()
        self._objects.remove_below(self.adapter_path)
        self.plugged_in = False
        self.discovering.clear()

    def start_discovery(self, client: str) -> None:
        """Look around for a client. Raises BluezError."""
        self._require_power()
        if client in self.discovering:
            raise BluezError("org.bluez.Error.InProgress", "Operation already in progress")
        self.discovering.add(client)
        self._tell_discovery()

    def stop_discovery(self, client: str) -> None:
        """End that. Raises BluezError."""
        if client not in self.discovering:
            raise BluezError(FAILED, "No discovery started")
        self.discovering.discard(client)
        self._tell_discovery()

    # --- advertisements -------------------------------------------------------------------------------

    async def advertise(self) -> None:
        """Let everybody in reach advertise, for ever."""
        while True:
            if self.discovering and self.powered and self.plugged_in and not self._faults.mute:
                for path, peripheral in list(self.peripherals.items()):
                    if not peripheral.silent and peripheral.air is None:
                        self._seen(path, peripheral)
            await asyncio.sleep(ADVERTISE_EVERY_S)

    def _seen(self, path: str, peripheral: Peripheral) -> None:
        if not self._objects.has(path):
            self._objects.put(path, DEVICE, device_props(peripheral, self.adapter_path))
            return
        peripheral.rssi = -60 if peripheral.rssi != -60 else -61
        self._objects.change(path, DEVICE, RSSI=Variant("n", peripheral.rssi), **advertised_data(peripheral))

    # --- links ----------------------------------------------------------------------------------------

    @property
    def links(self) -> int:
        """How many there are."""
        return sum(peripheral.air is not None for peripheral in self.peripherals.values())

    def connect(self, path: str) -> None:
        """Make a link to a device that was seen. Raises BluezError, or KeyError if it was not."""
        self._objects.require(path)
        self._require_power()
        if self.peripherals[path].silent:
            raise BluezError(FAILED, "le-connection-abort-by-local")
        self.link(path)

    def link(self, path: str) -> None:
        """Make a link, whoever holds it."""
        peripheral = self.peripherals[path]
        if peripheral.air is None:
            peripheral.connected(_Link(self, path))
        self.links_high = max(self.links_high, self.links)
        self._objects.put(path, DEVICE, device_props(peripheral, self.adapter_path))
        self._objects.change(path, DEVICE, Connected=Variant("b", True))  # noqa: FBT003  the value of a property
        self._objects.show_gatt(path, peripheral)
        self._objects.change(path, DEVICE, ServicesResolved=Variant("b", True))  # noqa: FBT003

    def drop(self, path: str) -> None:
        """Lose the link to a device."""
        peripheral = self.peripherals[path]
        if peripheral.air is None:
            return
        peripheral.disconnected()
        self._listeners.link_lost(path)
        gone = Variant("b", False)  # noqa: FBT003  the value of a property
        self._objects.change(path, DEVICE, Connected=gone, ServicesResolved=gone)

    def remove(self, path: str) -> None:
        """Forget a device, as RemoveDevice does."""
        self.drop(path)
        self._listeners.forget_below(path)
        self._objects.remove_below(path)

    def deliver(self, path: str, uuid: str, data: bytes) -> bool:
        """Hand a notification to those who listen; the faults may lose, double or cut it."""
        found = self._objects.characteristic(path, uuid)
        if self.peripherals[path].air is None or found is None or not self._listeners.on(found):
            return False
        self._notifications[path] += 1
        number = self._notifications[path]
        if self._faults.drop_after is not None and number == self._faults.drop_after + 1:
            self.drop(path)
            return False
        if number not in self._faults.lose:
            self._listeners.hand_over(found, data, times=2 if self._faults.double else 1)
        return True

    async def room(self) -> None:
        """Return when the radio takes more: neither the bus nor an acquired socket is behind."""
        await self._outlet.room()
        while self._listeners.backlog > CREDITS:  # noqa: ASYNC110  a full socket is looked at again, too
            await asyncio.sleep(PUMP_AGAIN_S)

    def at(self, path: str) -> tuple[Peripheral, Characteristic]:
        """Return whose characteristic that is, and which. Raises KeyError."""
        uuid = self._objects.props(path, CHARACTERISTIC)["UUID"].value
        peripheral = self.peripherals["/".join(path.split("/")[:5])]
        return peripheral, next(row for row in peripheral.rows if row.uuid == uuid)

    def _drop_all(self) -> None:
        for path in self.peripherals:
            self.drop(path)

    def _require_power(self) -> None:
        if not self.powered:
            raise BluezError(NOT_READY, "Resource Not Ready")

    def _tell_discovery(self) -> None:
        self._objects.change(self.adapter_path, ADAPTER, Discovering=Variant("b", bool(self.discovering)))
