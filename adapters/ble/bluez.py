"""BlueZ itself, beside bleak: does it live, has it the adapter, is that powered; and the power switch.

bleak tells nobody when bluetoothd restarts, the adapter is unplugged or switched off: scans just fall silent. This
watches the signals on a D-Bus connection of its own.
"""

import asyncio
import contextlib
from collections.abc import Iterator, Mapping

import structlog
from dbus_fast import BusType, Message, MessageType, Variant
from dbus_fast.aio import MessageBus
from dbus_fast.errors import DBusError

from adapters.ble.diagnosis import NO_ADAPTER, NO_BLUEZ, NO_BUS, POWERED_OFF, RadioError, reason_of
from adapters.ble.radio import within

log = structlog.get_logger(__name__)

BLUEZ = "org.bluez"
ADAPTER_INTERFACE = "org.bluez.Adapter1"
DBUS_INTERFACE = "org.freedesktop.DBus"
PROPERTIES_INTERFACE = "org.freedesktop.DBus.Properties"
OBJECTS_INTERFACE = "org.freedesktop.DBus.ObjectManager"
CALL_TIMEOUT_S = 10.0
# A controller needs about a second to come up.
POWER_PAUSE_S = 1.0
# A bluetoothd that ends switches its adapters off, removes them, and leaves the bus within a tenth of a second (5.66).
ENDING_S = 0.5

_RULES = (
    f"type=signal,interface={DBUS_INTERFACE},member=NameOwnerChanged,arg0={BLUEZ}",
    f"type=signal,sender={BLUEZ},interface={OBJECTS_INTERFACE},member=InterfacesRemoved",
    f"type=signal,sender={BLUEZ},interface={PROPERTIES_INTERFACE},member=PropertiesChanged,arg0={ADAPTER_INTERFACE}",
)


class BlueZ:
    """A watch over one adapter. ``open`` first; ``lost`` is done with a RadioError when scanning can't go on."""

    def __init__(self, adapter: str) -> None:
        self.lost: asyncio.Future[RadioError] = asyncio.get_running_loop().create_future()
        self.adapter_path = f"/org/bluez/{adapter}" if adapter else ""
        self.adapter_address = ""
        self._bus: MessageBus | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._switching = False
        self._losing: asyncio.TimerHandle | None = None

    async def open(self) -> None:
        """Return when BlueZ lives and has the adapter, powered. Raises RadioError."""
        try:
            self._bus = MessageBus(bus_type=BusType.SYSTEM)
            await within(CALL_TIMEOUT_S, self._bus.connect())
            self._bus.add_message_handler(self._take)
            for rule in _RULES:
                await self._call(_message(DBUS_INTERFACE, "/org/freedesktop/DBus", DBUS_INTERFACE, "AddMatch", rule))
            reply = await self._call(_message(BLUEZ, "/", OBJECTS_INTERFACE, "GetManagedObjects"))
        except (DBusError, OSError, EOFError, TimeoutError) as error:
            await self.close(CALL_TIMEOUT_S)
            raise RadioError(reason_of(error), str(error) or type(error).__name__) from error
        except RadioError:
            await self.close(CALL_TIMEOUT_S)
            raise
        self._choose(reply.body[0])
        self._watcher = asyncio.create_task(self._watch_bus(self._bus), name="ble-bus")

    async def close(self, limit_s: float) -> None:
        """Leave the bus."""
        if self._losing is not None:
            self._losing.cancel()
        bus, self._bus = self._bus, None
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait({self._watcher})
            self._watcher = None
        if bus is not None:
            bus.disconnect()
            with contextlib.suppress(EOFError, OSError, TimeoutError):
                if bus.connected:
                    await within(limit_s, _disconnected(bus))

    async def power_cycle(self) -> None:
        """Switch the adapter off and on. Every link ends. Raises RadioError."""
        with self.switching():
            try:
                for powered in (False, True):
                    await self._set_powered(powered=powered)
                    await asyncio.sleep(POWER_PAUSE_S)
            except TimeoutError as error:
                raise RadioError(reason_of(error), "bluetoothd does not switch the adapter") from error

    @contextlib.contextmanager
    def switching(self) -> Iterator[None]:
        """While it lasts the adapter is switched off by ourselves: that is no loss."""
        self._switching = True
        try:
            yield
        finally:
            self._switching = False

    async def _set_powered(self, *, powered: bool) -> None:
        call = _message(BLUEZ, self.adapter_path, PROPERTIES_INTERFACE, "Set")
        call.signature, call.body = "ssv", [ADAPTER_INTERFACE, "Powered", Variant("b", powered)]
        await self._call(call)

    # --- what is there --------------------------------------------------------------------------------

    def _choose(self, objects: Mapping[str, Mapping[str, Mapping[str, Variant]]]) -> None:
        adapters = {path: rows[ADAPTER_INTERFACE] for path, rows in objects.items() if ADAPTER_INTERFACE in rows}
        if self.adapter_path:
            adapters = {path: props for path, props in adapters.items() if path == self.adapter_path}
        if not adapters:
            raise RadioError(NO_ADAPTER, f"BlueZ has no {self.adapter_path or 'adapter'}")
        powered = [path for path, props in adapters.items() if props["Powered"].value]
        if not powered:
            raise RadioError(POWERED_OFF, f"{min(adapters)} is not powered")
        self.adapter_path = min(powered)
        self.adapter_address = str(adapters[self.adapter_path]["Address"].value)

    async def _call(self, call: Message) -> Message:
        assert self._bus is not None, "not open"
        reply = await within(CALL_TIMEOUT_S, self._bus.call(call))
        assert reply is not None, "a call always has a reply"
        if reply.message_type is MessageType.ERROR:
            text = f"{reply.error_name}: {reply.body[0] if reply.body else ''}"
            raise RadioError(reason_of(DBusError(reply.error_name or "", text)), text)
        return reply

    # --- signals --------------------------------------------------------------------------------------

    def _take(self, message: Message) -> None:
        if message.message_type is not MessageType.SIGNAL:
            return
        if message.member == "NameOwnerChanged" and message.body[0] == BLUEZ:
            self._lose(NO_BLUEZ, "bluetoothd ended or was restarted")
        elif message.member == "InterfacesRemoved" and message.body[0] == self.adapter_path:
            if ADAPTER_INTERFACE in message.body[1]:
                self._lose_soon(NO_ADAPTER, f"{self.adapter_path} was removed")
        elif message.member == "PropertiesChanged" and message.path == self.adapter_path and not self._switching:
            powered = message.body[1].get("Powered") if message.body[0] == ADAPTER_INTERFACE else None
            if powered is not None and not powered.value:
                self._lose_soon(POWERED_OFF, f"{self.adapter_path} was switched off")

    async def _watch_bus(self, bus: MessageBus) -> None:
        try:
            await _disconnected(bus)
        except (EOFError, OSError, DBusError) as error:
            log.debug("ble_bus_lost", error=str(error))
        self._lose(NO_BUS, "the connection to the D-Bus system bus broke")

    def _lose_soon(self, reason: str, detail: str) -> None:
        """Leave a bluetoothd that is ending the time to be told as that; of what comes before, the last counts."""
        if self._losing is not None:
            self._losing.cancel()
        self._losing = asyncio.get_running_loop().call_later(ENDING_S, self._lose, reason, detail)

    def _lose(self, reason: str, detail: str) -> None:
        if not self.lost.done():
            self.lost.set_result(RadioError(reason, detail))


def _message(to: str, path: str, interface: str, member: str, *texts: str) -> Message:
    return Message(
        destination=to, path=path, interface=interface, member=member, signature="s" * len(texts), body=list(texts)
    )


async def _disconnected(bus: MessageBus) -> None:
    await bus.wait_for_disconnect()  # type: ignore[no-untyped-call]  # dbus-fast leaves it without types
