"""The door to bleak: scanning, links and adopted links, with bleak's many errors turned into ``RadioError``.

Every call has an end: bluetoothd may accept a D-Bus call and never answer it. Importing this module loads bleak.

What was learned from a real bluetoothd (5.66): a link must be closed by ``disconnect()`` even after the peer dropped
it, or the next connection has every notification twice (bleak issue 2002); a scan dies silently with bluetoothd; the
size that a write may have is known only some time after the connection.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import structlog
from bleak import BleakAdapter, BleakClient, BleakScanner
from bleak.backends.bluezdbus import manager as bluez_manager
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData
from bleak.exc import BleakError
from bleak_retry_connector import establish_connection

from adapters.ble.diagnosis import BUSY, TIMED_OUT, RadioError, reason_of

log = structlog.get_logger(__name__)

T = TypeVar("T")

# What bleak and dbus-fast raise when a link, a bus or bluetoothd goes away below them. The last three are not meant:
# bleak asserts on a bus that it has just lost, and looks up objects that are gone.
BLEAK_ERRORS = (BleakError, OSError, EOFError, TimeoutError, AssertionError, AttributeError, KeyError)
# bleak answers a cancellation with a Disconnect of its own, which a hung bluetoothd does not answer either.
CANCEL_GRACE_S = 1.0
CANCELS_MAX = 5
SCAN_CALL_TIMEOUT_S = 10.0
# establish_connection's own tries, for errors that pass within a second; longer back-off is the roster's.
CONNECT_ATTEMPTS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Advert:
    """One advertisement, or a link that was found at start (``linked``: BlueZ holds it, so nobody advertises)."""

    device: BLEDevice
    name: str
    service_uuids: frozenset[str]
    service_data: Mapping[str, bytes]
    manufacturer_data: Mapping[int, bytes]
    rssi: int
    linked: bool = False

    @property
    def address(self) -> str:
        """The device's address, upper case."""
        return self.device.address.upper()


async def within(limit_s: float, work: Awaitable[T]) -> T:
    """Return what ``work`` does, or raise TimeoutError; it is cancelled, again if its cleaning up hangs."""
    task = asyncio.ensure_future(work)
    try:
        done, _ = await asyncio.wait({task}, timeout=limit_s)
        if not done:
            raise TimeoutError(f"no answer within {limit_s:g} s")
        return task.result()
    finally:
        for _ in range(CANCELS_MAX):
            if task.done():
                break
            task.cancel()
            await asyncio.wait({task}, timeout=CANCEL_GRACE_S)
        if task.done() and not task.cancelled():
            task.exception()


@contextlib.contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except BLEAK_ERRORS as error:
        raise RadioError(reason_of(error), f"{what}: {str(error) or type(error).__name__}") from error


class Scan:
    """One scan. ``on_advert`` is called on the event loop and must not block."""

    def __init__(self, adapter: str, on_advert: Callable[[Advert], None]) -> None:
        self._on_advert = on_advert
        self._scanner = BleakScanner(self._detected, bluez={"adapter": adapter} if adapter else {})

    async def start(self) -> None:
        """Return when scanning. Raises RadioError."""
        try:
            with _translated("cannot scan"):
                await within(SCAN_CALL_TIMEOUT_S, self._scanner.start())
        except RadioError as error:
            if error.reason in {BUSY, TIMED_OUT}:
                # bluetoothd may believe that we scan: it does so for a client until its connection to the bus closes.
                forget_bus()
            raise

    async def stop(self, limit_s: float) -> None:
        """End it; a scan that bluetoothd forgot is none, too."""
        if _bus_is_dead():
            forget_bus()
            return
        try:
            await within(limit_s, self._scanner.stop())
        except TimeoutError as error:
            log.info("ble_scan_stop_failed", error=str(error))
            forget_bus()
        except BLEAK_ERRORS as error:
            log.debug("ble_scan_stop_failed", error=str(error))

    def _detected(self, device: BLEDevice, data: AdvertisementData) -> None:
        self._on_advert(
            Advert(
                device=device,
                name=data.local_name or device.name or "",
                service_uuids=frozenset(uuid.lower() for uuid in data.service_uuids),
                service_data=data.service_data,
                manufacturer_data=data.manufacturer_data,
                rssi=data.rssi,
            )
        )


class Link:
    """A connection to one device. ``lost`` is set when it is gone; ``close`` must be called all the same."""

    def __init__(self, client: BleakClient, lost: asyncio.Event, gatt_timeout_s: float) -> None:
        self.lost = lost
        self._client = client
        self._timeout_s = gatt_timeout_s
        self._acquired: list[BleakGATTCharacteristic] = []

    @property
    def address(self) -> str:
        """The device's address, upper case."""
        return self._client.address.upper()

    def characteristic(self, service_uuid: str, uuid: str) -> BleakGATTCharacteristic | None:
        """Return the characteristic of that service, or None."""
        with _translated("cannot see the services"):
            service = self._client.services.get_service(service_uuid)
            return None if service is None else service.get_characteristic(uuid)

    def any_characteristic(self, uuid: str) -> BleakGATTCharacteristic | None:
        """Return the first characteristic of that kind in any service, or None."""
        with _translated("cannot see the services"):
            rows = (row for service in self._client.services for row in service.characteristics)
            return next((row for row in rows if row.uuid == uuid), None)

    def services(self) -> Mapping[str, Mapping[str, frozenset[str]]]:
        """Return service UUID → characteristic UUID → properties, lower case."""
        with _translated("cannot see the services"):
            return {
                service.uuid: {row.uuid: frozenset(row.properties) for row in service.characteristics}
                for service in self._client.services
            }

    async def subscribe(
        self, row: BleakGATTCharacteristic, callback: Callable[[bytes], None], *, acquire: bool = False
    ) -> None:
        """Return when notifications are on; ``acquire`` has them through a socket of their own (AcquireNotify)."""

        def notified(_: BleakGATTCharacteristic, data: bytearray) -> None:
            callback(bytes(data))

        if acquire:
            self._acquired.append(row)
        with _translated("cannot turn notifications on"):
            started = self._client.start_notify(row, notified, bluez={"use_start_notify": not acquire})
            await within(self._timeout_s, started)

    async def write(self, row: BleakGATTCharacteristic, data: bytes, *, with_response: bool) -> None:
        """Return when written (with a response: when the device has confirmed it)."""
        with _translated("cannot write"):
            await within(self._timeout_s, self._client.write_gatt_char(row, data, response=with_response))

    async def read(self, row: BleakGATTCharacteristic) -> bytes:
        """Return the value that the device has now."""
        with _translated("cannot read"):
            return bytes(await within(self._timeout_s, self._client.read_gatt_char(row)))

    async def close(self, limit_s: float) -> bool:
        """Disconnect, always: see the module's text. Returns whether it is sure that BlueZ holds the link no more."""
        self.lost.set()
        try:
            await within(limit_s, self._disconnect())
        except BLEAK_ERRORS as error:
            log.info("ble_disconnect_failed", address=self._client.address, error=str(error))
            return False
        return True

    async def _disconnect(self) -> None:
        try:
            for row in self._acquired:
                # bleak closes its end of the socket here, or when the other end is closed; not when it disconnects.
                if self._client.is_connected:
                    await self._client.stop_notify(row)
        finally:
            await self._client.disconnect()


async def connect(device: BLEDevice, *, name: str, timeout_s: float, gatt_timeout_s: float) -> Link:
    """Return a link whose services are known. Raises RadioError; then nothing is left of it."""
    lost = asyncio.Event()

    def disconnected(_: BleakClient) -> None:
        lost.set()

    with _translated("cannot connect"):
        client = await within(
            timeout_s,
            establish_connection(
                BleakClient,
                device,
                name,
                disconnected_callback=disconnected,
                max_attempts=CONNECT_ATTEMPTS,
                # A camera's new firmware has another table: bleak's cache would not know.
                use_services_cache=False,
            ),
        )
    return Link(client, lost, gatt_timeout_s)


def forget_bus() -> None:
    """Close the bus connection that bleak scans on, and let it make a new one at its next use.

    bleak keeps one manager for an event loop, with a connection and the callbacks of its scans. There is no public way
    to end it; test_ble_canaries.py watches these names.
    """
    found = bluez_manager._global_instances.pop(asyncio.get_running_loop(), None)  # noqa: SLF001
    if found is not None and found._bus is not None:  # noqa: SLF001
        found._bus.disconnect()  # noqa: SLF001


def _bus_is_dead() -> bool:
    """Whether the bus died that bleak scans on.

    Stopping a scan there would call on a closed socket, and dbus-fast 5.2 (MessageBus._call) leaves a future of that
    behind which nobody can await: "Future exception was never retrieved".
    """
    found = bluez_manager._global_instances.get(asyncio.get_running_loop())  # noqa: SLF001
    return found is not None and found._bus is not None and not found._bus.connected  # noqa: SLF001


async def links_left(adapter: str, service_uuids: Sequence[str]) -> tuple[Advert, ...]:
    """Return the devices with one of these services that BlueZ holds a link to: a killed gateway leaves them so."""
    with _translated("cannot list links"):
        radio = await within(SCAN_CALL_TIMEOUT_S, _adapter(adapter))
        devices = await within(SCAN_CALL_TIMEOUT_S, radio.get_connected_devices(list(service_uuids)))
    return tuple(_linked(device) for device in devices)


async def _adapter(adapter: str) -> BleakAdapter:
    return await BleakAdapter.get(bluez={"adapter": adapter} if adapter else {})


def _linked(device: BLEDevice) -> Advert:
    known = device.details["props"].get("UUIDs", ())
    return Advert(
        device=device,
        name=device.name or "",
        service_uuids=frozenset(uuid.lower() for uuid in known),
        service_data={},
        manufacturer_data={},
        rssi=0,
        linked=True,
    )
