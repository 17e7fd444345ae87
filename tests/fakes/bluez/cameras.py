"""Simulated cameras: what the firmware of each built-in profile does."""

import asyncio
import binascii
import contextlib
import struct
import zlib
from abc import abstractmethod
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from adapters.ble.image1 import (
    CHUNK_HEADER_BYTES,
    VERSION,
    Announce,
    Chunk,
    Command,
    Content,
    End,
    Hello,
    Request,
    Status,
    encode_from_device,
    parse_from_gateway,
)
from tests.fakes.bluez.peripheral import Characteristic, Peripheral, Service, short_uuid

OPENGLASS_SERVICE = "19b10000-e8f2-537e-4f6c-d104768a1214"
OPENGLASS_DATA = "19b10005-e8f2-537e-4f6c-d104768a1214"
OPENGLASS_CONTROL = "19b10006-e8f2-537e-4f6c-d104768a1214"
NORDIC_SERVICE = "6e400001-b5a3-f393-e0a9-e50e24dcca3e"
NORDIC_RX = "6e400002-b5a3-f393-e0a9-e50e24dcca3e"
NORDIC_TX = "6e400003-b5a3-f393-e0a9-e50e24dcca3e"
NORDIC_INFO = "6e400004-b5a3-f393-e0a9-e50e24dcca3e"
BLEPHOTO_SERVICE = "4fafc201-1fb5-459e-8fcc-c5c9c331914b"
BLEPHOTO_DATA = "beb5483e-36e1-4688-b7f5-ea07361b26a8"
IMAGE1_SERVICE = "c1f7a000-52d4-4b0e-9c6a-3e8d17b0f4a9"
IMAGE1_DATA = "c1f7a001-52d4-4b0e-9c6a-3e8d17b0f4a9"
IMAGE1_CONTROL = "c1f7a002-52d4-4b0e-9c6a-3e8d17b0f4a9"
CAFEBABE = (0xCAFEBABE).to_bytes(4, "little")
CAFEBABE_ACK = (0xABCD4321).to_bytes(4, "little")
# Notifications between two turns of the event loop.
BURST = 64


@dataclass(kw_only=True, eq=False)
class Camera(Peripheral):
    """One with a picture. ``photos`` counts those it began to send."""

    picture: bytes = b""
    photos: int = 0
    pause_s: float = 0
    _sending: set[asyncio.Task[None]] = field(default_factory=set)

    def disconnected(self) -> None:
        super().disconnected()
        for task in self._sending:
            task.cancel()

    async def send(self, uuid: str, frames: Iterable[bytes]) -> None:
        """Notify frames as fast as the radio takes them."""
        for number, frame in enumerate(frames):
            if self.air is None or not self.air.notify(uuid, frame):
                return
            if self.pause_s or number % BURST == 0:
                await asyncio.sleep(self.pause_s)
            if self.air is not None:
                await self.air.room()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something for as long as the link is up."""
        task = asyncio.get_running_loop().create_task(work)
        self._sending.add(task)
        task.add_done_callback(partial(_forget, self._sending))


@dataclass(kw_only=True, eq=False)
class OneShotCamera(Camera):
    """Sends its picture whole when ``trigger`` is written to ``control``."""

    @property
    @abstractmethod
    def control(self) -> tuple[str, bytes]:
        """The characteristic and the bytes that take a photo."""

    @abstractmethod
    async def photo(self) -> None:
        """Send the picture."""

    def wrote(self, uuid: str, data: bytes) -> None:
        super().wrote(uuid, data)
        if (uuid, data) == self.control:
            self.photos += 1
            self.spawn(self.photo())


@dataclass(kw_only=True, eq=False)
class OpenGlassCamera(OneShotCamera):
    """BasedHardware/OpenGlass, firmware.ino: u16le index and up to 200 bytes, then FF FF; control FF takes one photo.

    With an ``orientation`` it is omiGlass (omiGlass/firmware/src/app.cpp): chunk 0 has that byte after its index.
    """

    orientation: int | None = None
    chunk: int = 200

    def __post_init__(self) -> None:
        self.services = [_service(OPENGLASS_SERVICE, (OPENGLASS_DATA, "read", "notify"), (OPENGLASS_CONTROL, "write"))]

    @property
    def control(self) -> tuple[str, bytes]:
        return OPENGLASS_CONTROL, b"\xff"

    async def photo(self) -> None:
        head = b"" if self.orientation is None else bytes([self.orientation])
        chunks = _chunks(head + self.picture, self.chunk)
        frames = [index.to_bytes(2, "little") + chunk for index, chunk in enumerate(chunks)]
        await self.send(OPENGLASS_DATA, [*frames, b"\xff\xff"])


@dataclass(kw_only=True, eq=False)
class NordicItsCamera(OneShotCamera):
    """nrf52-ble-image-transfer-demo: INFO 01 and u32 size, then raw JPEG on TX; RX 01 takes one photo."""

    def __post_init__(self) -> None:
        rows = (NORDIC_RX, "write", "write-without-response"), (NORDIC_TX, "notify"), (NORDIC_INFO, "notify")
        self.services = [_service(NORDIC_SERVICE, *rows)]

    @property
    def control(self) -> tuple[str, bytes]:
        return NORDIC_RX, b"\x01"

    async def photo(self) -> None:
        await self.send(NORDIC_INFO, [b"\x01" + len(self.picture).to_bytes(4, "little")])
        await self.send(NORDIC_TX, _chunks(self.picture, self.mtu - 3))


@dataclass(kw_only=True, eq=False)
class CafebabeCamera(OneShotCamera):
    """The ESP32-CAM NimBLE sketch: ``<IIIH`` magic, size, ms, CRC16-CCITT (init FFFF), then chunks of 244 bytes."""

    def __post_init__(self) -> None:
        rows = (short_uuid(0xFFE1), "notify"), (short_uuid(0xFFE2), "write")
        self.services = [_service(short_uuid(0xFFE0), *rows)]

    @property
    def control(self) -> tuple[str, bytes]:
        return short_uuid(0xFFE2), CAFEBABE

    async def photo(self) -> None:
        crc = binascii.crc_hqx(self.picture, 0xFFFF)
        header = struct.pack("<IIIH", 0xCAFEBABE, len(self.picture), 1234, crc)
        await self.send(short_uuid(0xFFE1), [header, *_chunks(self.picture, 244)])

    @property
    def acknowledged(self) -> int:
        return self.written.count((short_uuid(0xFFE2), CAFEBABE_ACK))


@dataclass(kw_only=True, eq=False)
class JpegStreamCamera(Camera):
    """TheHummel/BLEphoto: raw JPEG in 512-byte notifications as soon as somebody listens."""

    mtu: int = 517

    def __post_init__(self) -> None:
        self.services = [_service(BLEPHOTO_SERVICE, (BLEPHOTO_DATA, "read", "notify"))]

    def subscribed(self, uuid: str) -> None:
        self.photos += 1
        self.spawn(self.send(uuid, _chunks(self.picture, 512)))


@dataclass(kw_only=True, eq=False)
class GatewayImage1Camera(Camera):
    """A device of ``gateway-image-1``: announces each payload of its queue until a status settles it.

    ``statuses`` are what the gateway said. ``sent_chunks`` counts chunks, to see that nothing is sent again needlessly.
    """

    queue: list[tuple[int, Content, bytes]] = field(default_factory=list)
    statuses: list[Status] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    sent_chunks: int = 0

    def __post_init__(self) -> None:
        self.services = [_service(IMAGE1_SERVICE, (IMAGE1_DATA, "notify"), (IMAGE1_CONTROL, "write"))]
        self._chunk_bytes = 16

    def offer(self, transfer_id: int, payload: bytes, content: Content = Content.IMAGE) -> None:
        """Put something into the queue; announce it if somebody listens."""
        self.queue.append((transfer_id, content, payload))
        if self.air is not None and len(self.queue) == 1:
            self._announce()

    def wrote(self, uuid: str, data: bytes) -> None:
        super().wrote(uuid, data)
        packet = parse_from_gateway(data)
        if isinstance(packet, Hello):
            self._chunk_bytes = packet.notification_bytes_max - CHUNK_HEADER_BYTES
            self._announce()
        elif isinstance(packet, Request):
            self.spawn(self._answer(packet))
        elif isinstance(packet, Status):
            self._told(packet)
        elif isinstance(packet, Command):
            self.commands.append(packet)

    def _announce(self) -> None:
        if not self.queue:
            return
        transfer_id, content, payload = self.queue[0]
        announce = Announce(
            version=VERSION,
            content=content,
            orientation=0,
            transfer_id=transfer_id,
            total_bytes=len(payload),
            crc32=zlib.crc32(payload),
            chunk_bytes=self._chunk_bytes,
        )
        self.spawn(self.send(IMAGE1_DATA, [encode_from_device(announce)]))

    async def _answer(self, request: Request) -> None:
        transfer_id, _, payload = self.queue[0]
        chunks = _chunks(payload, self._chunk_bytes)
        low = transfer_id & 0xFF
        wanted = [index for one in request.ranges for index in range(one.first, one.first + one.count)]
        for index in wanted:
            if self.air is None:
                return
            self.sent_chunks += 1
            chunk = Chunk(id_low=low, index=index, data=chunks[index])
            await self.send(IMAGE1_DATA, [encode_from_device(chunk)])
        await self.send(IMAGE1_DATA, [encode_from_device(End(id_low=low))])

    def _told(self, status: Status) -> None:
        self.statuses.append(status)
        if not self.queue or status.transfer_id != self.queue[0][0]:
            return
        if 0x40 <= status.code < 0x80:
            self.spawn(self._later(status.retry_after_s))
            return
        self.queue.pop(0)
        self._announce()

    async def _later(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._announce()


def _service(uuid: str, *rows: Sequence[str]) -> Service:
    return Service(
        uuid=uuid, characteristics=[Characteristic(uuid=row_uuid, flags=tuple(flags)) for row_uuid, *flags in rows]
    )


def _chunks(payload: bytes, size: int) -> list[bytes]:
    return [payload[at : at + size] for at in range(0, len(payload), size)]


def _forget(tasks: set[asyncio.Task[None]], task: asyncio.Task[None]) -> None:
    tasks.discard(task)
    with contextlib.suppress(asyncio.CancelledError):
        task.result()
