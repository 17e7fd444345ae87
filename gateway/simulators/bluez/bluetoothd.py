"""A fake ``org.bluez`` that unmodified bleak runs on: one adapter, discovery, GATT clients, notifications, faults.

The names and signatures are BlueZ's (objects.py), what it does on the air is in radio.py. Here: its life on the bus,
and the answers to calls.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from dbus_fast import Message, MessageType
from dbus_fast.aio import MessageBus

from gateway.simulators.bluez.faults import BluezError, Fault, Faults
from gateway.simulators.bluez.gatt import NOTHING, Answer, GattMethods
from gateway.simulators.bluez.listeners import Listeners
from gateway.simulators.bluez.objects import ADAPTER, CHARACTERISTIC, DEVICE, OBJECTS, PROPERTIES, ObjectTree
from gateway.simulators.bluez.outlet import Outlet
from gateway.simulators.bluez.peripheral import Peripheral
from gateway.simulators.bluez.radio import Radio

_SERVED = frozenset({OBJECTS, PROPERTIES, ADAPTER, DEVICE, CHARACTERISTIC})


class FakeBluetoothd:
    """The service. ``start`` and ``stop`` are a restart of bluetoothd; what it knew of devices is forgotten.

    ``calls`` counts the calls of each method.
    """

    def __init__(self, bus_address: str, *, adapter: str = "hci0") -> None:
        self.faults = Faults()
        self.calls: Counter[str] = Counter()
        self._address = bus_address
        self._outlet = Outlet()
        self._objects = ObjectTree(self._outlet.send)
        self._listeners = Listeners(self._objects)
        self.radio = Radio(
            adapter_path=f"/org/bluez/{adapter}",
            objects=self._objects,
            listeners=self._listeners,
            faults=self.faults,
            outlet=self._outlet,
        )
        self._gatt = GattMethods(self.radio, self._listeners, self._objects)
        self._methods = self._method_table()
        self._bus: MessageBus | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    # --- life -----------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Take the name org.bluez and answer on it."""
        self._bus = await MessageBus(bus_address=self._address, negotiate_unix_fd=True).connect()
        self._bus.add_message_handler(self._take)
        await self._bus.call(_watch_names())
        self._objects.reset()
        self._outlet.open(self._bus)
        self.radio.show()
        await self._bus.request_name("org.bluez")
        self._spawn(self.radio.advertise())

    async def stop(self) -> None:
        """End, as bluetoothd does when it is restarted: links go, nothing is signalled."""
        self._outlet.close()
        self.radio.restart()
        self._listeners.clear()
        self._gatt.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        bus, self._bus = self._bus, None
        if bus is not None and bus.connected:
            bus.disconnect()
            with contextlib.suppress(EOFError, OSError):
                await bus.wait_for_disconnect()  # type: ignore[no-untyped-call]

    # --- who is there ---------------------------------------------------------------------------------

    def add(self, *peripherals: Peripheral) -> None:
        """Bring devices into reach."""
        for peripheral in peripherals:
            self.radio.peripherals[self.path(peripheral)] = peripheral

    def path(self, peripheral: Peripheral) -> str:
        """Return the path of a device's object."""
        return f"{self.radio.adapter_path}/dev_{peripheral.address.replace(':', '_')}"

    @property
    def objects(self) -> tuple[str, ...]:
        """The paths of all objects."""
        return tuple(self._objects.managed)

    @property
    def links(self) -> int:
        """How many links there are now."""
        return self.radio.links

    @property
    def links_high(self) -> int:
        """How many there were at most."""
        return self.radio.links_high

    @property
    def discovering(self) -> frozenset[str]:
        """The D-Bus clients that scan."""
        return frozenset(self.radio.discovering)

    @property
    def powered(self) -> bool:
        return self.radio.powered

    @property
    def notify_clients(self) -> int:
        """How many (client, characteristic) pairs have notifications on."""
        return self._listeners.count

    # --- switches -------------------------------------------------------------------------------------

    def set_powered(self, *, powered: bool) -> None:
        """Switch the adapter, as a person or the kernel would. Off ends every link and the discovery."""
        self.radio.set_powered(powered=powered)

    def unplug(self) -> None:
        """Take the adapter away with everything on it."""
        self.radio.unplug()

    def plug_in(self) -> None:
        """Bring the adapter (back)."""
        self.radio.plugged_in = True
        self.radio.show()

    def drop(self, peripheral: Peripheral) -> None:
        """Lose the link to a device."""
        self.radio.drop(self.path(peripheral))

    def leave_linked(self, peripheral: Peripheral) -> None:
        """Hold a link whose D-Bus client is gone, as a gateway that was killed leaves it."""
        self.radio.link(self.path(peripheral))

    # --- D-Bus ----------------------------------------------------------------------------------------

    def _take(self, message: Message) -> Message | bool | None:
        if message.message_type is MessageType.SIGNAL and message.member == "NameOwnerChanged":
            name, _, owner = message.body
            if not owner:
                self.radio.discovering.discard(name)
                self._listeners.client_gone(name)
            return None
        if message.message_type is not MessageType.METHOD_CALL or message.interface not in _SERVED:
            return None
        self.calls[str(message.member)] += 1
        self._spawn(self._answer(message, str(message.member)))
        return True

    async def _answer(self, call: Message, member: str) -> None:
        fault = self.faults.next(member)
        if fault is not None and not await _survives(fault):
            return
        try:
            if fault is not None and fault.error is not None:
                raise BluezError(fault.error, fault.text)
            answer = self._methods[member](call)
        except BluezError as error:
            self._outlet.send(Message.new_error(call, error.name, error.text))
        except KeyError:
            self._outlet.send(Message.new_error(call, "org.freedesktop.DBus.Error.UnknownObject", str(call.path)))
        else:
            self._reply(call, answer or NOTHING)

    def _reply(self, call: Message, answer: Answer) -> None:
        given = answer.handed_over
        fds = [] if given is None else [given.client_fd]
        reply = Message.new_method_return(call, answer.signature, list(answer.body), unix_fds=fds)
        if given is None:
            self._outlet.send(reply)
        else:
            self._outlet.send(reply, after=given.handed_over)

    def _method_table(self) -> Mapping[str, Callable[[Message], Answer | None]]:
        return {
            "GetManagedObjects": lambda _: Answer(signature="a{oa{sa{sv}}}", body=(self._objects.managed,)),
            "Get": lambda call: Answer(signature="v", body=(self._props(call)[call.body[1]],)),
            "GetAll": lambda call: Answer(signature="a{sv}", body=(self._props(call),)),
            "Set": self._set,
            "SetDiscoveryFilter": lambda call: self._objects.require(str(call.path)),
            "StartDiscovery": self._start_discovery,
            "StopDiscovery": lambda call: self.radio.stop_discovery(str(call.sender)),
            "RemoveDevice": lambda call: self.radio.remove(call.body[0]),
            "Connect": lambda call: self.radio.connect(str(call.path)),
            "Disconnect": self._disconnect,
            "StartNotify": self._gatt.start_notify,
            "StopNotify": self._gatt.stop_notify,
            "AcquireNotify": self._gatt.acquire_notify,
            "AcquireWrite": self._gatt.acquire_write,
            "WriteValue": self._gatt.write,
            "ReadValue": self._gatt.read,
        }

    def _props(self, call: Message) -> Mapping[str, Any]:
        return self._objects.props(str(call.path), call.body[0])

    def _set(self, call: Message) -> None:
        interface, name, value = call.body
        if interface == ADAPTER and name == "Powered":
            self.radio.set_powered(powered=value.value)

    def _start_discovery(self, call: Message) -> None:
        self._objects.require(str(call.path))
        self.radio.start_discovery(str(call.sender))

    def _disconnect(self, call: Message) -> None:
        self._objects.require(str(call.path))
        self.radio.drop(str(call.path))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name="fake-bluetoothd")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


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
