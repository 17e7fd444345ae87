"""The objects of ``org.bluez``: paths, interfaces, properties, and the signals that tell of their changes.

Source of names and signatures: https://github.com/bluez/bluez/tree/master/doc (org.bluez.Adapter.rst, Device, Gatt*).
"""

from collections.abc import Callable, Mapping
from typing import Any

from dbus_fast import Message, MessageType, Variant

from gateway.simulators.bluez.peripheral import Characteristic, Peripheral

ADAPTER = "org.bluez.Adapter1"
DEVICE = "org.bluez.Device1"
SERVICE = "org.bluez.GattService1"
CHARACTERISTIC = "org.bluez.GattCharacteristic1"
PROPERTIES = "org.freedesktop.DBus.Properties"
OBJECTS = "org.freedesktop.DBus.ObjectManager"

Props = dict[str, Variant]


class ObjectTree:
    """Every change is signalled through ``send``. Asking for what is not there raises KeyError."""

    def __init__(self, send: Callable[[Message], None]) -> None:
        self._send = send
        self._objects: dict[str, dict[str, Props]] = {}
        # (device, UUID) → path: looked up for every notification.
        self._characteristics: dict[tuple[str, str], str] = {}

    def reset(self) -> None:
        """Forget all, telling nobody: a new bluetoothd."""
        self._objects = {"/org/bluez": {}}
        self._characteristics.clear()

    @property
    def managed(self) -> Mapping[str, Mapping[str, Props]]:
        """What GetManagedObjects answers."""
        return {path: interfaces for path, interfaces in self._objects.items() if interfaces}

    def props(self, path: str, interface: str) -> Props:
        """Return the properties of an object."""
        return self._objects[path][interface]

    def require(self, path: str) -> None:
        """Raise KeyError if there is no such object."""
        self._objects[path]

    def has(self, path: str) -> bool:
        return path in self._objects

    def put(self, path: str, interface: str, props: Props) -> None:
        """Add an interface to an object, which is made if need be; one that it has stays as it is."""
        known = self._objects.setdefault(path, {})
        if interface in known:
            return
        known[interface] = props
        self._signal("/", OBJECTS, "InterfacesAdded", "oa{sa{sv}}", [path, {interface: props}])

    def change(self, path: str, interface: str, **changed: Variant) -> None:
        """Set properties of an object, if it is there."""
        if path not in self._objects:
            return
        self._objects[path][interface].update(changed)
        self._signal(path, PROPERTIES, "PropertiesChanged", "sa{sv}as", [interface, changed, []])

    def remove_below(self, path: str) -> None:
        """Take away an object and all below it, the deepest first."""
        for one in [known for known in self._objects if known == path or known.startswith(f"{path}/")][::-1]:
            interfaces = list(self._objects.pop(one))
            self._characteristics = {key: at for key, at in self._characteristics.items() if at != one}
            self._signal("/", OBJECTS, "InterfacesRemoved", "oas", [one, interfaces])

    def characteristic(self, device: str, uuid: str) -> str | None:
        """Return the path of a device's first characteristic of that kind."""
        return self._characteristics.get((device, uuid))

    def show_gatt(self, device: str, peripheral: Peripheral) -> None:
        """Add a device's services and characteristics."""
        handle = 1
        for service in peripheral.services:
            service_path = f"{device}/service{handle:04x}"
            handle += 1
            self.put(service_path, SERVICE, _service_props(service.uuid, device))
            for row in service.characteristics:
                props = _characteristic_props(row, service_path, peripheral.mtu)
                path = f"{service_path}/char{handle:04x}"
                self.put(path, CHARACTERISTIC, props)
                self._characteristics.setdefault((device, row.uuid), path)
                handle += 2

    def _signal(self, path: str, interface: str, member: str, signature: str, body: list[Any]) -> None:
        self._send(
            Message(
                message_type=MessageType.SIGNAL,
                path=path,
                interface=interface,
                member=member,
                signature=signature,
                body=body,
            )
        )


def adapter_props(*, powered: bool) -> Props:
    """Return what an adapter that does not discover says of itself."""
    return {
        "Address": Variant("s", "00:00:00:00:00:01"),
        "Name": Variant("s", "fake"),
        "Alias": Variant("s", "fake"),
        "Powered": Variant("b", powered),
        "Discovering": Variant("b", False),  # noqa: FBT003  the value of a property
        "Roles": Variant("as", ["central", "peripheral"]),
    }


def device_props(peripheral: Peripheral, adapter_path: str) -> Props:
    """Return what is known of a device whose services are not resolved."""
    return {
        "Address": Variant("s", peripheral.address),
        "AddressType": Variant("s", "random"),
        "Name": Variant("s", peripheral.name),
        "Alias": Variant("s", peripheral.name),
        "Adapter": Variant("o", adapter_path),
        "UUIDs": Variant("as", list(peripheral.uuids)),
        "Connected": Variant("b", peripheral.air is not None),
        "ServicesResolved": Variant("b", False),  # noqa: FBT003  the value of a property
        "Paired": Variant("b", False),  # noqa: FBT003  the value of a property
        "RSSI": Variant("n", peripheral.rssi),
        **advertised_data(peripheral),
    }


def advertised_data(peripheral: Peripheral) -> Props:
    """Return the properties that carry what a device advertises beside its name."""
    props: Props = {}
    if peripheral.service_data:
        data = {uuid: Variant("ay", value) for uuid, value in peripheral.service_data.items()}
        props["ServiceData"] = Variant("a{sv}", data)
    if peripheral.manufacturer_data:
        by_company = {company: Variant("ay", value) for company, value in peripheral.manufacturer_data.items()}
        props["ManufacturerData"] = Variant("a{qv}", by_company)
    return props


def _service_props(uuid: str, device: str) -> Props:
    return {"UUID": Variant("s", uuid), "Primary": Variant("b", True), "Device": Variant("o", device)}  # noqa: FBT003


def _characteristic_props(row: Characteristic, service: str, mtu: int) -> Props:
    props = {
        "UUID": Variant("s", row.uuid),
        "Service": Variant("o", service),
        "Value": Variant("ay", row.value),
        "Flags": Variant("as", list(row.flags)),
        "MTU": Variant("q", mtu),
    }
    # bleak acquires only where BlueZ says that it can be.
    if row.notifies:
        props |= {"Notifying": Variant("b", False), "NotifyAcquired": Variant("b", False)}  # noqa: FBT003
    if "write-without-response" in row.flags:
        props["WriteAcquired"] = Variant("b", False)  # noqa: FBT003  the value of a property
    return props
