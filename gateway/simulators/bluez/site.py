"""A site without a radio: a private bus, the fake org.bluez, and the cameras and sensors in its reach.

An async context manager, for ``gateway simulate device ble``, for demonstrations and for tests of a gateway in a
process of its own. Left, nothing of it remains.
"""

import asyncio
import contextlib
import json
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from gateway.errors import OperatorError
from gateway.simulators.bluez.bluetoothd import FakeBluetoothd
from gateway.simulators.bluez.camera import SimulatedCamera
from gateway.simulators.bluez.private_bus import ADDRESS_VARIABLE, PrivateBus
from gateway.simulators.bluez.sensor import Beacon, SimulatedSensor, Thermometer
from gateway.simulators.devices.ble_cameras import CAMERAS
from gateway.simulators.devices.ble_image1_camera import GatewayImage1Camera
from gateway.simulators.devices.pictures import Prefetched

# How often sensors look.
MEASURE_EVERY_S = 5.0
READ_EVERY_S = 10
# The gateway's own default and bound of ble.connections_max.
CONNECTIONS_DEFAULT = 5
CONNECTIONS_MAX = 32
# Addresses are counted in one byte.
DEVICES_MAX = 250


@dataclass(frozen=True, slots=True, kw_only=True)
class BleSiteOptions:
    """What is there. ``cameras`` names the profile of each; ``pictures`` gives what camera number n sees.

    Cameras take a photo every ``interval_s`` by themselves while the gateway listens, and when it asks for one.
    ``directory`` holds the bus's socket: one of our own if None. ``tell`` gets a line for each picture.
    """

    pictures: Callable[[int], Iterator[bytes]]
    cameras: Sequence[str] = tuple(CAMERAS)
    beacons: int = 1
    thermometers: int = 1
    interval_s: float = 10.0
    directory: Path | None = None
    tell: Callable[[str], None] = print


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedBleSite:
    """The running site. Its ``bluez`` has the fault switches."""

    bus: PrivateBus
    bluez: FakeBluetoothd
    cameras: Sequence[SimulatedCamera]
    sensors: Sequence[SimulatedSensor]

    def environment(self) -> Mapping[str, str]:
        """Return what a gateway needs in its environment to serve this site."""
        devices = [{"name": camera.name} for camera in self.cameras] + [_listed(sensor) for sensor in self.sensors]
        linked = len(self.cameras) + sum(isinstance(sensor, Thermometer) for sensor in self.sensors)
        # More than it has connections for take turns, and a camera that waits for its turn is late with its pictures.
        more = min(linked, CONNECTIONS_MAX) if linked > CONNECTIONS_DEFAULT else 0
        return {
            ADDRESS_VARIABLE: self.bus.address,
            "GATEWAY_BLE__ENABLED": "true",
            **({"GATEWAY_BLE__CONNECTIONS_MAX": str(more)} if more else {}),
            "GATEWAY_BLE__DEVICE": json.dumps(devices),
        }

    def behind(self, pictures: int) -> Sequence[str]:
        """Return the cameras with fewer pictures answered or, where no word for that exists, sent."""
        return tuple(camera.name for camera in self.cameras if camera.ended < pictures)

    @property
    def progress(self) -> int:
        """How many pictures have come to an end."""
        return sum(camera.ended for camera in self.cameras)


@contextlib.asynccontextmanager
async def simulated_ble_site(options: BleSiteOptions) -> AsyncIterator[SimulatedBleSite]:
    """Yield a site in which devices advertise. Raises OperatorError, e.g. where dbus-daemon is missing."""
    _check(options)
    async with contextlib.AsyncExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(1, "ble-pictures"))
        pictures = [Prefetched(options.pictures(number), pool) for number in range(1, len(options.cameras) + 1)]
        for one in pictures:
            await one.ready()
        cameras, sensors = _cameras(options, pictures), _sensors(options)
        folder = options.directory
        if folder is None:
            made = stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-ble-"))
            folder = Path(made)
        folder.mkdir(parents=True, exist_ok=True)
        bus = PrivateBus(folder)
        await bus.start()
        stack.push_async_callback(bus.kill)
        bluez = FakeBluetoothd(bus.address)
        await bluez.start()
        stack.push_async_callback(bluez.stop)
        bluez.add(*cameras, *sensors)
        measuring = asyncio.create_task(_measure(sensors), name="ble-weather")
        stack.push_async_callback(_ended, measuring)
        yield SimulatedBleSite(bus=bus, bluez=bluez, cameras=cameras, sensors=sensors)


def _check(options: BleSiteOptions) -> None:
    unknown = sorted(set(options.cameras) - set(CAMERAS))
    if unknown:
        raise OperatorError(f"no simulated camera speaks {', '.join(unknown)}. Those there are: {', '.join(CAMERAS)}.")
    devices = len(options.cameras) + options.beacons + options.thermometers
    if devices > DEVICES_MAX:
        raise OperatorError(f"{devices} devices are too many: at most {DEVICES_MAX}.")


def _cameras(options: BleSiteOptions, pictures: Sequence[Iterator[bytes]]) -> Sequence[SimulatedCamera]:
    cameras = []
    for number, profile in enumerate(options.cameras, start=1):
        firmware = CAMERAS[profile](pictures[number - 1])
        firmware.interval_s = options.interval_s
        if isinstance(firmware, GatewayImage1Camera):
            firmware.photo()  # it keeps pictures, and has one when the gateway comes; others would lose it
        same = options.cameras[:number].count(profile)
        name = profile if same == 1 else f"{profile}-no{same}"
        cameras.append(SimulatedCamera(address=_address(number), name=name, firmware=firmware, tell=options.tell))
    return cameras


def _sensors(options: BleSiteOptions) -> Sequence[SimulatedSensor]:
    numbers = count(len(options.cameras) + 1)
    kinds = [("beacon", Beacon, options.beacons), ("thermometer", Thermometer, options.thermometers)]
    return [
        kind(address=_address(next(numbers)), name=f"{word}-{place}", place=place)
        for word, kind, number in kinds
        for place in range(1, number + 1)
    ]


def _address(number: int) -> str:
    """Return a random static address (Bluetooth Core, Vol 6 Part B 1.3.2.1: the two highest bits are set)."""
    return f"C0:FF:EE:00:00:{number:02X}"


def _listed(sensor: SimulatedSensor) -> Mapping[str, object]:
    if isinstance(sensor, Beacon):
        return {"name": sensor.name}
    return {
        "name": sensor.name,
        "readings": ["temperature", "humidity", "battery"],
        "read_interval_s": READ_EVERY_S,
    }


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})


async def _measure(sensors: Sequence[SimulatedSensor]) -> None:
    began_s = time.monotonic()
    while True:
        for sensor in sensors:
            sensor.measure(time.monotonic() - began_s)
        await asyncio.sleep(MEASURE_EVERY_S)
