"""BLE cameras of ``gateway-image-1`` on a fake BlueZ that lives here, so that links outlive the gateway."""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.fakes.bluez.bluetoothd import FakeBluetoothd
from tests.fakes.bluez.cameras import GatewayImage1Camera
from tests.fakes.bluez.private_bus import private_bus

from adapters.ble.image1 import Content, Hello, Status, StatusCode, parse_from_gateway
from tests.fakes.gateway_process import GatewayProcess
from tests.faults.payloads import Payload
from tests.faults.ways import RETRY_AFTER_MAX_S, Place

CAMERAS = 2
START_TIMEOUT_S = 20.0
# About ten notifications a picture: some 50 ms on the fake radio.
MTU = 100
PAUSE_S = 0.003
TICK_S = 0.01


@dataclass(kw_only=True, eq=False)
class LedgerCamera(GatewayImage1Camera):
    """A camera that tells the ledger what became of its transfers, and has at most one more waiting."""

    place: Place
    offered: deque[Payload] = field(default_factory=deque)
    settled_chunks: int = 0

    def offer_one(self) -> None:
        """Take one more picture or reading, unless two wait already."""
        if len(self.queue) >= 2:
            return
        payload = self.place.payloads.next()
        self.offered.append(payload)
        self.offer(payload.number, payload.data, Content.IMAGE if payload.is_picture else Content.READING)

    def wrote(self, uuid: str, data: bytes) -> None:
        # The link outlives a gateway: a new one's Hello is how a camera learns that the old one is gone.
        if isinstance(parse_from_gateway(data), Hello):
            self.place.ledger.cut(int(self.sent_chunks > self.settled_chunks))
            self.settled_chunks = self.sent_chunks
        super().wrote(uuid, data)

    def _told(self, status: Status) -> None:
        self.settled_chunks = self.sent_chunks
        if self.offered and status.transfer_id == self.offered[0].number and self.queue:
            self._settle(status)
        super()._told(status)

    async def _later(self, seconds: float) -> None:
        await super()._later(min(seconds, RETRY_AFTER_MAX_S))

    def _settle(self, status: Status) -> None:
        if status.code == StatusCode.ON_DISK:
            self.place.ledger.acknowledge(self.offered.popleft().sha256)
        elif not 0x40 <= status.code < 0x80:
            self.place.ledger.refuse(self.offered.popleft().sha256)


class BleCameras:
    """Implements ``ways.Way``: a bus, bluetoothd and cameras in a thread with an event loop of its own."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._loading = False
        self._ended: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready = threading.Event()
        self._cameras = [
            LedgerCamera(address=f"AA:BB:CC:DD:EE:{n:02X}", mtu=MTU, pause_s=PAUSE_S, place=place)
            for n in range(1, CAMERAS + 1)
        ]
        self._thread = threading.Thread(target=lambda: asyncio.run(self._live()), name="bluez")
        self._thread.start()
        assert self._ready.wait(START_TIMEOUT_S), "the fake BlueZ did not start"

    def environment(self) -> Mapping[str, str]:
        return {"GATEWAY_BLE__ENABLED": "true", "GATEWAY_BLE__UNLISTED_CAMERAS": "true"}

    def attach(self, gateway: GatewayProcess) -> None:
        """Nothing to do: the gateway comes to the cameras."""

    def resume(self) -> None:
        self._loading = True

    def pause(self) -> None:
        self._loading = False

    def settled(self) -> bool:
        return not any(camera.queue for camera in self._cameras)

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
            for camera in self._cameras:
                bluez.add(camera)
            self._ready.set()
            try:
                await self._offer_until_ended(self._ended)
            finally:
                await bluez.stop()

    async def _offer_until_ended(self, ended: asyncio.Event) -> None:
        while not ended.is_set():
            if self._loading:
                for camera in self._cameras:
                    camera.offer_one()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), TICK_S)
