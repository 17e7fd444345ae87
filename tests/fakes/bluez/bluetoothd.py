"""A fake ``org.bluez`` that unmodified bleak runs on: one adapter, discovery, GATT clients, notifications.

As bluetoothd does it: an advertising device appears as an object and changes its RSSI; a connected one does not
advertise; GATT objects come with the first connection and stay; links outlive the D-Bus client that made them; each
D-Bus client that called StartNotify has every notification signalled once for itself, to everybody (two clients: two
signals, bleak issue 2002), and stops counting when its bus connection closes.

Source of names and signatures: https://github.com/bluez/bluez/tree/master/doc (org.bluez.Adapter.rst, Device, Gatt*).
"""

import asyncio
import contextlib
import select
from collections import deque
from collections.abc import Callable
from typing import Any

from dbus_fast import Message, MessageType, Variant
from dbus_fast.aio import MessageBus

from tests.fakes.bluez.faults import Fault, Faults
from tests.fakes.bluez.peripheral import Characteristic, Peripheral

ADAPTER = "org.bluez.Adapter1"
DEVICE = "org.bluez.Device1"
SERVICE = "org.bluez.GattService1"
CHARACTERISTIC = "org.bluez.GattCharacteristic1"
PROPERTIES = "org.freedesktop.DBus.Properties"
OBJECTS = "org.freedesktop.DBus.ObjectManager"
ADVERTISE_EVERY_S = 0.05
# A full socket is looked at again after this.
PUMP_AGAIN_S = 0.0005
# Messages that may wait before a peripheral must: a radio has credits, too.
CREDITS = 64

Props = dict[str, Variant]
Answer = tuple[str, list[Any]]


class BluezError(Exception):
    """Becomes an error reply."""

    def __init__(self, name: str, text: str = "") -> None:
        super().__init__(text)
        self.name = name
        self.text = text


class _Link:
    """Implements Air for one peripheral."""

    def __init__(self, daemon: "FakeBluetoothd", path: str) -> None:
        self._daemon = daemon
        self._path = path

    def notify(self, uuid: str, data: bytes) -> bool:
        return self._daemon.deliver(self._path, uuid, data)

    def drop(self) -> None:
        self._daemon.drop(self._path)

    async def room(self) -> None:
        while self._daemon.backlog > CREDITS:  # noqa: ASYNC110  a full socket is looked at again, too
            await asyncio.sleep(PUMP_AGAIN_S)


class FakeBluetoothd:
    """The service. ``start`` and ``stop`` are a restart of bluetoothd; what it knew of devices is forgotten."""

    def __init__(self, bus_address: str, *, adapter: str = "hci0") -> None:
        self.adapter_path = f"/org/bluez/{adapter}"
        self.faults = Faults()
        self.peripherals: dict[str, Peripheral] = {}
        self.calls: list[str] = []
        self.links_high = 0
        self.powered = True
        self.has_adapter = True
        self.discovering: set[str] = set()
        self._address = bus_address
        self._objects: dict[str, dict[str, Props]] = {}
        self._notify_clients: dict[str, set[str]] = {}
        self._notifications = 0
        self._bus: MessageBus | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._outgoing: deque[Message] = deque()
        self._pump_waits = False

    # --- life -----------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Take the name org.bluez and answer on it."""
        self._bus = await MessageBus(bus_address=self._address, negotiate_unix_fd=True).connect()
        self._bus.add_message_handler(self._take)
        await self._bus.call(_watch_names())
        self._objects = {"/org/bluez": {}}
        if self.has_adapter:
            self._objects[self.adapter_path] = {ADAPTER: self._adapter_props()}
        await self._bus.request_name("org.bluez")
        self._spawn(self._advertise())

    async def stop(self) -> None:
        """End, as bluetoothd does when it is restarted: links go, nothing is signalled."""
        for peripheral in self.peripherals.values():
            if peripheral.air is not None:
                peripheral.disconnected()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self.discovering.clear()
        self._notify_clients.clear()
        bus, self._bus = self._bus, None
        if bus is not None and bus.connected:
            bus.disconnect()
            with contextlib.suppress(EOFError, OSError):
                await bus.wait_for_disconnect()  # type: ignore[no-untyped-call]

    def add(self, *peripherals: Peripheral) -> None:
        """Bring devices into reach."""
        for peripheral in peripherals:
            self.peripherals[self.path(peripheral)] = peripheral

    def path(self, peripheral: Peripheral) -> str:
        return f"{self.adapter_path}/dev_{peripheral.address.replace(':', '_')}"

    @property
    def links(self) -> int:
        return sum(peripheral.air is not None for peripheral in self.peripherals.values())

    @property
    def notify_clients(self) -> int:
        """How many (client, characteristic) pairs have notifications on."""
        return sum(len(clients) for clients in self._notify_clients.values())

    def set_powered(self, powered: bool) -> None:
        """Switch the radio, as a person or the kernel would. Off ends every link and the discovery."""
        self.powered = powered
        if not powered:
            for path, peripheral in self.peripherals.items():
                if peripheral.air is not None:
                    self.drop(path)
            self.discovering.clear()
        self._change(
            self.adapter_path, ADAPTER, Powered=Variant("b", powered), Discovering=Variant("b", bool(self.discovering))
        )

    def leave_linked(self, peripheral: Peripheral) -> None:
        """Hold a link whose D-Bus client is gone, as a gateway that was killed leaves it."""
        path = self.path(peripheral)
        peripheral.connected(_Link(self, path))
        self._put(path, DEVICE, self._device_props(peripheral))
        self._show_gatt(path, peripheral)
        self._change(path, DEVICE, ServicesResolved=Variant("b", True))

    def unplug(self) -> None:
        """Take the adapter away with everything on it."""
        for path, peripheral in self.peripherals.items():
            if peripheral.air is not None:
                self.drop(path)
        for path in [path for path in self._objects if path.startswith(self.adapter_path)][::-1]:
            self._remove(path)
        self.has_adapter = False
        self.discovering.clear()

    def plug_in(self) -> None:
        """Bring the adapter (back)."""
        self.has_adapter = True
        self._put(self.adapter_path, ADAPTER, self._adapter_props())

    # --- the air --------------------------------------------------------------------------------------

    async def _advertise(self) -> None:
        while True:
            if self.discovering and self.powered and self.has_adapter and not self.faults.mute:
                for path, peripheral in list(self.peripherals.items()):
                    if not peripheral.silent and peripheral.air is None:
                        self._seen(path, peripheral)
            await asyncio.sleep(ADVERTISE_EVERY_S)

    def _seen(self, path: str, peripheral: Peripheral) -> None:
        if path not in self._objects:
            self._put(path, DEVICE, self._device_props(peripheral))
            return
        peripheral.rssi = -60 if peripheral.rssi != -60 else -61
        changes = {"RSSI": Variant("n", peripheral.rssi)}
        if peripheral.service_data:
            changes["ServiceData"] = _service_data(peripheral)
        if peripheral.manufacturer_data:
            changes["ManufacturerData"] = _manufacturer_data(peripheral)
        self._change(path, DEVICE, **changes)

    def deliver(self, path: str, uuid: str, data: bytes) -> bool:
        """Signal a notification, once for each client that has it on; the faults may lose, double or cut it."""
        peripheral = self.peripherals[path]
        found = self._characteristic_path(path, uuid)
        clients = self._notify_clients.get(found or "", set())
        if peripheral.air is None or found is None or not clients:
            return False
        self._notifications += 1
        if self.faults.drop_after is not None and self._notifications > self.faults.drop_after:
            self.faults.drop_after = None
            self.drop(path)
            return False
        if self._notifications in self.faults.lose:
            return True
        for _ in range(len(clients) * (2 if self.faults.double else 1)):
            self._change(found, CHARACTERISTIC, Value=Variant("ay", data))
        return True

    def drop(self, path: str) -> None:
        """Lose the link to a device."""
        peripheral = self.peripherals[path]
        if peripheral.air is None:
            return
        peripheral.disconnected()
        self._change(path, DEVICE, Connected=Variant("b", False), ServicesResolved=Variant("b", False))

    # --- D-Bus ----------------------------------------------------------------------------------------

    def _take(self, message: Message) -> Message | bool | None:
        if message.message_type is MessageType.SIGNAL and message.member == "NameOwnerChanged":
            self._client_changed(*message.body)
            return None
        if message.message_type is not MessageType.METHOD_CALL or not str(message.path).startswith("/"):
            return None
        member = str(message.member)
        if message.interface in {OBJECTS, PROPERTIES, ADAPTER, DEVICE, CHARACTERISTIC}:
            self.calls.append(member)
            self._spawn(self._answer(message, member))
            return True
        return None

    async def _answer(self, message: Message, member: str) -> None:
        fault = self.faults.next(member)
        if fault is not None and not await _survives(fault):
            return
        try:
            if fault is not None and fault.error is not None:
                raise BluezError(fault.error, fault.text)
            signature, body = self._methods()[member](message)
        except BluezError as error:
            self._send(Message.new_error(message, error.name, error.text))
        except KeyError:
            self._send(Message.new_error(message, "org.freedesktop.DBus.Error.UnknownObject", message.path or ""))
        else:
            self._send(Message.new_method_return(message, signature, body))

    def _methods(self) -> dict[str, Callable[[Message], Answer]]:
        return {
            "GetManagedObjects": lambda _: ("a{oa{sa{sv}}}", [{k: v for k, v in self._objects.items() if v}]),
            "Get": lambda m: ("v", [self._objects[str(m.path)][m.body[0]][m.body[1]]]),
            "GetAll": lambda m: ("a{sv}", [self._objects[str(m.path)][m.body[0]]]),
            "Set": self._set,
            "SetDiscoveryFilter": lambda m: self._nothing(self._objects[str(m.path)]),
            "StartDiscovery": self._start_discovery,
            "StopDiscovery": self._stop_discovery,
            "RemoveDevice": self._remove_device,
            "Connect": self._connect,
            "Disconnect": self._disconnect,
            "StartNotify": self._start_notify,
            "StopNotify": self._stop_notify,
            "WriteValue": self._write,
            "ReadValue": lambda m: ("ay", [self._at(m)[0].read(self._at(m)[1].uuid)]),
        }

    def _nothing(self, _: object = None) -> Answer:
        return "", []

    def _set(self, message: Message) -> Answer:
        interface, name, value = message.body
        if interface == ADAPTER and name == "Powered":
            self.set_powered(value.value)
        return self._nothing()

    def _start_discovery(self, message: Message) -> Answer:
        self._objects[str(message.path)]
        if not self.powered:
            raise BluezError("org.bluez.Error.NotReady", "Resource Not Ready")
        if message.sender in self.discovering:
            raise BluezError("org.bluez.Error.InProgress", "Operation already in progress")
        self.discovering.add(str(message.sender))
        self._change(self.adapter_path, ADAPTER, Discovering=Variant("b", True))
        return self._nothing()

    def _stop_discovery(self, message: Message) -> Answer:
        if message.sender not in self.discovering:
            raise BluezError("org.bluez.Error.Failed", "No discovery started")
        self.discovering.discard(str(message.sender))
        self._change(self.adapter_path, ADAPTER, Discovering=Variant("b", bool(self.discovering)))
        return self._nothing()

    def _connect(self, message: Message) -> Answer:
        path = str(message.path)
        peripheral = self.peripherals[path]
        self._objects[path]
        if not self.powered:
            raise BluezError("org.bluez.Error.NotReady", "Resource Not Ready")
        if peripheral.silent:
            raise BluezError("org.bluez.Error.Failed", "le-connection-abort-by-local")
        peripheral.connected(_Link(self, path))
        self.links_high = max(self.links_high, self.links)
        self._change(path, DEVICE, Connected=Variant("b", True))
        self._show_gatt(path, peripheral)
        self._change(path, DEVICE, ServicesResolved=Variant("b", True))
        return self._nothing()

    def _disconnect(self, message: Message) -> Answer:
        self._objects[str(message.path)]
        self.drop(str(message.path))
        return self._nothing()

    def _start_notify(self, message: Message) -> Answer:
        peripheral, row = self._at(message)
        if not {"notify", "indicate"} & set(row.flags):
            raise BluezError("org.bluez.Error.NotSupported", "Operation is not supported")
        if peripheral.air is None:
            raise BluezError("org.bluez.Error.Failed", "Not connected")
        clients = self._notify_clients.setdefault(str(message.path), set())
        first = not clients
        clients.add(str(message.sender))
        if first:
            self._change(str(message.path), CHARACTERISTIC, Notifying=Variant("b", True))
        peripheral.subscribed(row.uuid)
        return self._nothing()

    def _stop_notify(self, message: Message) -> Answer:
        self._notify_clients.get(str(message.path), set()).discard(str(message.sender))
        return self._nothing()

    def _write(self, message: Message) -> Answer:
        peripheral, row = self._at(message)
        if peripheral.air is None:
            raise BluezError("org.bluez.Error.Failed", "Not connected")
        peripheral.wrote(row.uuid, bytes(message.body[0]))
        return self._nothing()

    # --- objects --------------------------------------------------------------------------------------

    def _at(self, message: Message) -> tuple[Peripheral, Characteristic]:
        path = str(message.path)
        uuid = self._objects[path][CHARACTERISTIC]["UUID"].value
        peripheral = self.peripherals["/".join(path.split("/")[:5])]
        rows = (row for service in peripheral.services for row in service.characteristics)
        return peripheral, next(row for row in rows if row.uuid == uuid)

    def _characteristic_path(self, device: str, uuid: str) -> str | None:
        for path, interfaces in self._objects.items():
            props = interfaces.get(CHARACTERISTIC)
            if props is not None and path.startswith(f"{device}/") and props["UUID"].value == uuid:
                return path
        return None

    def _show_gatt(self, path: str, peripheral: Peripheral) -> None:
        handle = 1
        for service in peripheral.services:
            service_path = f"{path}/service{handle:04x}"
            handle += 1
            self._put(service_path, SERVICE, _service_props(service.uuid, path))
            for row in service.characteristics:
                self._put(
                    f"{service_path}/char{handle:04x}",
                    CHARACTERISTIC,
                    _characteristic_props(row, service_path, peripheral.mtu),
                )
                handle += 2

    def _remove_device(self, message: Message) -> Answer:
        device = message.body[0]
        self.drop(device)
        for path in [path for path in self._objects if path.startswith(device)][::-1]:
            self._remove(path)
        return self._nothing()

    def _put(self, path: str, interface: str, props: Props) -> None:
        known = self._objects.setdefault(path, {})
        if interface in known:
            return
        known[interface] = props
        self._signal("/", OBJECTS, "InterfacesAdded", "oa{sa{sv}}", [path, {interface: props}])

    def _remove(self, path: str) -> None:
        interfaces = list(self._objects.pop(path))
        self._notify_clients.pop(path, None)
        self._signal("/", OBJECTS, "InterfacesRemoved", "oas", [path, interfaces])

    def _change(self, path: str, interface: str, **changed: Variant) -> None:
        if path not in self._objects:
            return
        self._objects[path][interface].update(changed)
        self._signal(path, PROPERTIES, "PropertiesChanged", "sa{sv}as", [interface, changed, []])

    def _adapter_props(self) -> Props:
        return {
            "Address": Variant("s", "00:00:00:00:00:01"),
            "Name": Variant("s", "fake"),
            "Alias": Variant("s", "fake"),
            "Powered": Variant("b", self.powered),
            "Discovering": Variant("b", False),
            "Roles": Variant("as", ["central", "peripheral"]),
        }

    def _device_props(self, peripheral: Peripheral) -> Props:
        props = {
            "Address": Variant("s", peripheral.address),
            "AddressType": Variant("s", "random"),
            "Name": Variant("s", peripheral.name),
            "Alias": Variant("s", peripheral.name),
            "Adapter": Variant("o", self.adapter_path),
            "UUIDs": Variant("as", list(peripheral.uuids)),
            "Connected": Variant("b", peripheral.air is not None),
            "ServicesResolved": Variant("b", False),
            "Paired": Variant("b", False),
            "RSSI": Variant("n", peripheral.rssi),
        }
        if peripheral.service_data:
            props["ServiceData"] = _service_data(peripheral)
        if peripheral.manufacturer_data:
            props["ManufacturerData"] = _manufacturer_data(peripheral)
        return props

    # --- plumbing -------------------------------------------------------------------------------------

    def _client_changed(self, name: str, _old: str, new: str) -> None:
        if new:
            return
        self.discovering.discard(name)
        for clients in self._notify_clients.values():
            clients.discard(name)

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

    @property
    def backlog(self) -> int:
        """How many messages wait for room in the socket."""
        return len(self._outgoing)

    def _send(self, message: Message) -> None:
        self._outgoing.append(message)
        if not self._pump_waits:
            self._pump()

    def _pump(self) -> None:
        # dbus-fast 5.2 takes a full socket for a broken one and closes it: write only where there is room.
        self._pump_waits = False
        bus = self._bus
        if bus is None or not bus.connected:
            self._outgoing.clear()
            return
        poll = select.poll()
        assert bus._sock is not None
        poll.register(bus._sock, select.POLLOUT)
        while self._outgoing:
            if not poll.poll(0):
                self._pump_waits = True
                asyncio.get_running_loop().call_later(PUMP_AGAIN_S, self._pump)
                return
            bus.send(self._outgoing.popleft()).add_done_callback(_overlook)

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _overlook(sent: "asyncio.Future[None]") -> None:
    """A message that a dying bus did not take is lost, as it is for bluetoothd."""
    if not sent.cancelled():
        sent.exception()


async def _survives(fault: Fault) -> bool:
    if fault.hang:
        return False
    await asyncio.sleep(fault.delay_s)
    return True


def _watch_names() -> Message:
    return Message(
        destination="org.freedesktop.DBus",
        path="/org/freedesktop/DBus",
        interface="org.freedesktop.DBus",
        member="AddMatch",
        signature="s",
        body=["type=signal,interface=org.freedesktop.DBus,member=NameOwnerChanged"],
    )


def _service_data(peripheral: Peripheral) -> Variant:
    return Variant("a{sv}", {uuid: Variant("ay", data) for uuid, data in peripheral.service_data.items()})


def _manufacturer_data(peripheral: Peripheral) -> Variant:
    return Variant("a{qv}", {company: Variant("ay", data) for company, data in peripheral.manufacturer_data.items()})


def _service_props(uuid: str, device: str) -> Props:
    return {"UUID": Variant("s", uuid), "Primary": Variant("b", True), "Device": Variant("o", device)}


def _characteristic_props(row: Characteristic, service: str, mtu: int) -> Props:
    props = {
        "UUID": Variant("s", row.uuid),
        "Service": Variant("o", service),
        "Value": Variant("ay", row.value),
        "Flags": Variant("as", list(row.flags)),
        "MTU": Variant("q", mtu),
    }
    if {"notify", "indicate"} & set(row.flags):
        props["Notifying"] = Variant("b", False)
    return props
