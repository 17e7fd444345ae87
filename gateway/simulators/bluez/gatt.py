"""The methods of org.bluez.GattCharacteristic1: read, write, and the two ways to have notifications."""

from dataclasses import dataclass
from typing import Any

from dbus_fast import Message, Variant

from gateway.simulators.bluez.acquired import AcquiredSocket
from gateway.simulators.bluez.faults import FAILED, NOT_PERMITTED, NOT_SUPPORTED, BluezError
from gateway.simulators.bluez.listeners import Listeners
from gateway.simulators.bluez.objects import CHARACTERISTIC, ObjectTree
from gateway.simulators.bluez.peripheral import Characteristic, Peripheral
from gateway.simulators.bluez.radio import Radio


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The reply to a call; ``handed_over`` is an acquired socket whose client's end goes with it."""

    signature: str = ""
    body: tuple[Any, ...] = ()
    handed_over: AcquiredSocket | None = None


NOTHING = Answer()


class GattMethods:
    """Each takes the call and returns the answer, or raises BluezError or KeyError (no such object)."""

    def __init__(self, radio: Radio, listeners: Listeners, objects: ObjectTree) -> None:
        self._radio = radio
        self._objects = objects
        self._listeners = listeners
        self._writing: dict[str, AcquiredSocket] = {}

    def read(self, call: Message) -> Answer:
        peripheral, row = self._linked(call)
        return Answer(signature="ay", body=(peripheral.read(row.uuid),))

    def write(self, call: Message) -> Answer:
        peripheral, row = self._linked(call)
        peripheral.wrote(row.uuid, bytes(call.body[0]))
        return NOTHING

    def start_notify(self, call: Message) -> Answer:
        peripheral, row = self._notifying(call)
        if self._listeners.is_acquired(str(call.path)):
            raise BluezError(NOT_PERMITTED, "Notify acquired")
        self._listeners.start(str(call.path), str(call.sender))
        peripheral.subscribed(row.uuid)
        return NOTHING

    def stop_notify(self, call: Message) -> Answer:
        self._listeners.stop(str(call.path), str(call.sender))
        return NOTHING

    def acquire_notify(self, call: Message) -> Answer:
        peripheral, row = self._notifying(call)
        path = str(call.path)
        if self._listeners.on(path):
            raise BluezError(NOT_PERMITTED, "Notify acquired")
        acquired = AcquiredSocket(received=_ignore, closed=lambda: self._listeners.released(path))
        self._listeners.acquired(path, acquired)
        peripheral.subscribed(row.uuid)
        return _socket_answer(acquired, peripheral.mtu)

    def acquire_write(self, call: Message) -> Answer:
        peripheral, row = self._linked(call)
        path = str(call.path)
        if "write-without-response" not in row.flags:
            raise BluezError(NOT_SUPPORTED, "Operation is not supported")
        if path in self._writing:
            raise BluezError(NOT_PERMITTED, "Write acquired")

        def received(value: bytes) -> None:
            if peripheral.air is not None:
                peripheral.wrote(row.uuid, value)

        def closed() -> None:
            del self._writing[path]
            self._objects.change(path, CHARACTERISTIC, WriteAcquired=Variant("b", False))  # noqa: FBT003

        acquired = AcquiredSocket(received=received, closed=closed)
        self._writing[path] = acquired
        self._objects.change(path, CHARACTERISTIC, WriteAcquired=Variant("b", True))  # noqa: FBT003
        return _socket_answer(acquired, peripheral.mtu)

    def close(self) -> None:
        """Hang up on those that write."""
        for one in self._writing.values():
            one.close()
        self._writing.clear()

    def _linked(self, call: Message) -> tuple[Peripheral, Characteristic]:
        peripheral, row = self._radio.at(str(call.path))
        if peripheral.air is None:
            raise BluezError(FAILED, "Not connected")
        return peripheral, row

    def _notifying(self, call: Message) -> tuple[Peripheral, Characteristic]:
        peripheral, row = self._linked(call)
        if not row.notifies:
            raise BluezError(NOT_SUPPORTED, "Operation is not supported")
        return peripheral, row


def _socket_answer(acquired: AcquiredSocket, mtu: int) -> Answer:
    return Answer(signature="hq", body=(0, mtu), handed_over=acquired)


def _ignore(_: bytes) -> None:
    """Do nothing: a client has nothing to say on a socket for notifications."""
