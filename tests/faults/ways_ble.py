"""BLE cameras of ``gateway-image-1`` on a fake BlueZ that lives here, so that links outlive the gateway."""

import asyncio
import contextlib
import struct
import threading
from collections import deque
from collections.abc import Mapping, Sequence

from gateway.simulators.bluez.bluetoothd import FakeBluetoothd
from gateway.simulators.bluez.camera import SimulatedCamera
from gateway.simulators.devices.ble_firmware import Notification
from gateway.simulators.devices.ble_image1_camera import PICTURE, READING, GatewayImage1Camera
from tests.fakes.ble_site import private_bus
from tests.fakes.gateway_process import GatewayProcess
from tests.faults.payloads import Payload
from tests.faults.ways import Place

ADDRESSES = ("AA:BB:CC:DD:EE:01", "AA:BB:CC:DD:EE:02")
# What a camera holds: the transfer under way, and one that waits.
KEPT_MAX = 2
START_TIMEOUT_S = 20.0
# About ten notifications a picture: some 50 ms on the fake radio.
MTU = 100
PAUSE_S = 0.003
TICK_S = 0.01
# The gateway may ask for a minute's patience (a full disk); these cameras have less. Whole seconds on the wire.
RETRY_AFTER_MAX_S = 1
_HELLO = 0x10


class LedgerFirmware(GatewayImage1Camera):
    """Tells the ledger what became of its transfers."""

    def __init__(self, place: Place) -> None:
        super().__init__(iter(()))
        self._place = place
        self._offered: deque[Payload] = deque()
        self._settled_chunks = 0

    def take_one(self) -> Sequence[Notification]:
        """Offer one more picture or reading, unless enough wait; return what to send at once."""
        if self.kept >= KEPT_MAX:
            return ()
        payload = self._place.payloads.next()
        self._offered.append(payload)
        content = PICTURE if payload.is_picture else READING
        return self.offer(payload.data, transfer_id=payload.number, content=content)

    def written(self, role: str, data: bytes) -> Sequence[Notification]:
        # The link outlives a gateway: a new one's HELLO is how a camera learns that the old one is gone.
        if data[:1] == bytes((_HELLO,)):
            self._place.ledger.cut(int(self.sent_chunks > self._settled_chunks))
            self._settled_chunks = self.sent_chunks
        return super().written(role, data)

    def _told(self, data: bytes) -> Sequence[Notification]:
        self._settled_chunks = self.sent_chunks
        _, code, transfer_id, _ = struct.unpack("<BBIH", data[:8])
        if self._offered and self._offered[0].number == transfer_id:
            self._settle(code)
        notifications = super()._told(data)
        self.retry_after_s = min(self.retry_after_s, RETRY_AFTER_MAX_S)
        return notifications

    def _settle(self, code: int) -> None:
        if code == 0x00:
            self._place.ledger.acknowledge(self._offered.popleft().sha256)
        elif not 0x40 <= code < 0x80:
            self._place.ledger.refuse(self._offered.popleft().sha256)


class BleCameras:
    """Implements ``ways.Way``: a bus, bluetoothd and cameras in a thread with an event loop of its own."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._loading = False
        self._ended: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready = threading.Event()
        self._firmwares = [LedgerFirmware(place) for _ in ADDRESSES]
        self._thread = threading.Thread(target=lambda: asyncio.run(self._live()), name="bluez")
        self._thread.start()
        assert self._ready.wait(START_TIMEOUT_S), "the fake BlueZ did not start"

    def environment(self) -> Mapping[str, str]:
        return {"GATEWAY_BLE__ENABLED": "true", "GATEWAY_BLE__UNLISTED_CAMERAS": "true"}

    def attach(self, gateway: GatewayProcess) -> None:
        """Nothing to do: the gateway comes to the cameras."""

    def detach(self) -> None:
        """Nothing to do: devices notice by themselves."""

    def resume(self) -> None:
        self._loading = True

    def pause(self) -> None:
        self._loading = False

    def settled(self) -> bool:
        return not any(firmware.kept for firmware in self._firmwares)

    def close(self) -> None:
        assert self._loop is not None
        assert self._ended is not None
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        async with private_bus(self._place.folder) as bus:
            bluez = FakeBluetoothd(bus.address)
            await bluez.start()
            cameras = [
                (firmware, SimulatedCamera(address=address, firmware=firmware, mtu=MTU, pause_s=PAUSE_S))
                for address, firmware in zip(ADDRESSES, self._firmwares, strict=True)
            ]
            for _, camera in cameras:
                bluez.add(camera)
            self._ready.set()
            try:
                await self._offer_until_ended(cameras, self._ended)
            finally:
                await bluez.stop()

    async def _offer_until_ended(
        self, cameras: Sequence[tuple[LedgerFirmware, SimulatedCamera]], ended: asyncio.Event
    ) -> None:
        while not ended.is_set():
            for firmware, camera in cameras:
                if self._loading:
                    camera.send(firmware.take_one())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), TICK_S)
