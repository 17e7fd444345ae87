"""The camera's side of each BLE protocol that the gateway knows: what a device would send. Pure, no radio.

Written from the protocols' descriptions, not from the gateway's code, so that a mistake there is not repeated here.
A camera answers writes with notifications; the bus or the test carries them, and may lose, double or cut them.
"""

import binascii
import struct
import zlib
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count


@dataclass(frozen=True, slots=True, kw_only=True)
class GattCharacteristic:
    """A characteristic of a simulated device; ``flags`` are BlueZ's words."""

    role: str
    uuid: str
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """A value that a device notifies on the characteristic of that role."""

    role: str
    data: bytes = field(repr=False)


class BleCamera(ABC):
    """One camera. ``pictures`` is what it photographs, one after the other; without more, it is silent."""

    name: str
    service_uuid: str
    characteristics: tuple[GattCharacteristic, ...]

    def __init__(self, pictures: Iterator[bytes], *, att_payload_max: int = 244) -> None:
        self._pictures = pictures
        self._att_payload_max = att_payload_max

    def connected(self, *, att_payload_max: int) -> None:
        """Take note of a link whose notifications may have that many bytes."""
        self._att_payload_max = att_payload_max

    @abstractmethod
    def written(self, role: str, data: bytes) -> Sequence[Notification]:
        """Take what the gateway wrote; return what the camera then sends."""

    def photo(self) -> Sequence[Notification]:
        """Return what the camera sends for its next picture; nothing if it has none."""
        picture = next(self._pictures, None)
        return () if picture is None else tuple(self._notifications(picture))

    @abstractmethod
    def _notifications(self, picture: bytes) -> Iterator[Notification]:
        """Yield the notifications that carry a picture."""


class OpenGlassCamera(BleCamera):
    """BasedHardware/OpenGlass, firmware.ino: index u16le and up to 200 bytes; FF FF at the end."""

    name = "OpenGlass"
    service_uuid = "19b10000-e8f2-537e-4f6c-d104768a1214"
    characteristics = (
        GattCharacteristic(role="data", uuid="19b10005-e8f2-537e-4f6c-d104768a1214", flags=("read", "notify")),
        GattCharacteristic(role="control", uuid="19b10006-e8f2-537e-4f6c-d104768a1214", flags=("write",)),
    )
    chunk_bytes_max = 200

    def written(self, role: str, data: bytes) -> Sequence[Notification]:
        return self.photo() if role == "control" and data == b"\xff" else ()

    def _notifications(self, picture: bytes) -> Iterator[Notification]:
        size = min(self.chunk_bytes_max, self._att_payload_max - 2)
        for index, start in enumerate(range(0, len(picture), size)):
            yield Notification(role="data", data=struct.pack("<H", index) + picture[start : start + size])
        yield Notification(role="data", data=b"\xff\xff")


class OmiGlassCamera(OpenGlassCamera):
    """BasedHardware/omi, omiGlass: the first chunk has an orientation byte (quarter turns) after its index."""

    name = "OMI Glass"

    def __init__(self, pictures: Iterator[bytes], *, att_payload_max: int = 244, quarter_turns: int = 0) -> None:
        super().__init__(pictures, att_payload_max=att_payload_max)
        self._quarter_turns = quarter_turns

    def _notifications(self, picture: bytes) -> Iterator[Notification]:
        yield from super()._notifications(bytes([self._quarter_turns]) + picture)


class NordicItsCamera(BleCamera):
    """Nordic's Image Transfer Service: INFO tells the size, TX carries raw JPEG."""

    name = "Image Transfer Demo"
    service_uuid = "6e400001-b5a3-f393-e0a9-e50e24dcca3e"
    characteristics = (
        GattCharacteristic(
            role="control", uuid="6e400002-b5a3-f393-e0a9-e50e24dcca3e", flags=("write", "write-without-response")
        ),
        GattCharacteristic(role="data", uuid="6e400003-b5a3-f393-e0a9-e50e24dcca3e", flags=("notify",)),
        GattCharacteristic(role="info", uuid="6e400004-b5a3-f393-e0a9-e50e24dcca3e", flags=("notify",)),
    )

    def written(self, role: str, data: bytes) -> Sequence[Notification]:
        return self.photo() if role == "control" and data[:1] == b"\x01" else ()

    def _notifications(self, picture: bytes) -> Iterator[Notification]:
        yield Notification(role="info", data=struct.pack("<BHHBB", 2, self._att_payload_max + 3, 6, 1, 1))
        yield Notification(role="info", data=struct.pack("<BI", 1, len(picture)))
        for start in range(0, len(picture), self._att_payload_max):
            yield Notification(role="data", data=picture[start : start + self._att_payload_max])


class CafebabeCamera(BleCamera):
    """The ESP32-CAM sketch: a header with CRC-16, chunks of 244 bytes; it waits for an acknowledgement."""

    name = "ESP32CAM-BLE"
    service_uuid = "0000ffe0-0000-1000-8000-00805f9b34fb"
    characteristics = (
        GattCharacteristic(role="data", uuid="0000ffe1-0000-1000-8000-00805f9b34fb", flags=("notify",)),
        GattCharacteristic(role="control", uuid="0000ffe2-0000-1000-8000-00805f9b34fb", flags=("write",)),
    )
    chunk_bytes_max = 244

    def __init__(self, pictures: Iterator[bytes], *, att_payload_max: int = 244) -> None:
        super().__init__(pictures, att_payload_max=att_payload_max)
        self.acknowledged = 0

    def written(self, role: str, data: bytes) -> Sequence[Notification]:
        if role == "control" and data == struct.pack("<I", 0xABCD4321):
            self.acknowledged += 1
        return self.photo() if role == "control" and data == struct.pack("<I", 0xCAFEBABE) else ()

    def _notifications(self, picture: bytes) -> Iterator[Notification]:
        crc16 = binascii.crc_hqx(picture, 0xFFFF)
        yield Notification(role="data", data=struct.pack("<IIIH", 0xCAFEBABE, len(picture), 1234, crc16))
        size = min(self.chunk_bytes_max, self._att_payload_max)
        for start in range(0, len(picture), size):
            yield Notification(role="data", data=picture[start : start + size])


class JpegStreamCamera(BleCamera):
    """TheHummel/BLEphoto: raw JPEG in pieces, and nothing else. It sends when it likes."""

    name = "BLEphoto"
    service_uuid = "4fafc201-1fb5-459e-8fcc-c5c9c331914b"
    characteristics = (
        GattCharacteristic(role="data", uuid="beb5483e-36e1-4688-b7f5-ea07361b26a8", flags=("read", "notify")),
    )
    chunk_bytes_max = 512

    def written(self, role: str, data: bytes) -> Sequence[Notification]:  # noqa: ARG002 -- it can't be asked
        return ()

    def _notifications(self, picture: bytes) -> Iterator[Notification]:
        size = min(self.chunk_bytes_max, self._att_payload_max)
        for start in range(0, len(picture), size):
            yield Notification(role="data", data=picture[start : start + size])


@dataclass(slots=True)
class _Item:
    transfer_id: int
    content: int
    payload: bytes
    chunk_bytes: int = 0


class GatewayImage1Camera(BleCamera):
    """``gateway-image-1`` as docs/PROTOCOLS-ble.md tells it: keeps each thing until the gateway says *on disk*.

    A real one needs, beside its picture: the announcement (20 bytes), four ranges (16), and one packet to send.
    """

    name = "GatewayCam"
    service_uuid = "c1f7a000-52d4-4b0e-9c6a-3e8d17b0f4a9"
    characteristics = (
        GattCharacteristic(role="data", uuid="c1f7a001-52d4-4b0e-9c6a-3e8d17b0f4a9", flags=("notify",)),
        GattCharacteristic(role="control", uuid="c1f7a002-52d4-4b0e-9c6a-3e8d17b0f4a9", flags=("write",)),
    )

    def __init__(
        self, pictures: Iterator[bytes], *, att_payload_max: int = 244, first_id: int = 1, orientation: int = 0
    ) -> None:
        super().__init__(pictures, att_payload_max=att_payload_max)
        self._ids = count(first_id)
        self._orientation = orientation
        self._waiting: deque[_Item] = deque()
        # (transfer id, status code) of every status that came.
        self.statuses: list[tuple[int, int]] = []
        self.retry_after_s = 0
        self.interval_s: int | None = None

    @property
    def kept(self) -> int:
        """How many things the gateway has not taken yet."""
        return len(self._waiting)

    def reading(self, body: bytes) -> Sequence[Notification]:
        """Offer a reading (a JSON object, UTF-8); return what to send at once."""
        return self._offer(_Item(next(self._ids) & 0xFFFFFFFF, 2, body))

    def announce(self) -> Sequence[Notification]:
        """Return the announcement of the oldest thing that waits."""
        if not self._waiting:
            return ()
        item = self._waiting[0]
        # Chunks keep their size through reconnects, so that what came before still counts; unless they can't.
        if not 0 < item.chunk_bytes <= self._att_payload_max - 4:
            item.chunk_bytes = self._att_payload_max - 4
        packed = struct.pack(
            "<BBBBIIIHH",
            0x01,
            1,
            item.content,
            self._orientation if item.content == 1 else 0,
            item.transfer_id,
            len(item.payload),
            zlib.crc32(item.payload),
            item.chunk_bytes,
            0,
        )
        return (Notification(role="data", data=packed),)

    def written(self, role: str, data: bytes) -> Sequence[Notification]:
        if role != "control" or not data:
            return ()
        if data[0] == 0x10:
            return self.announce()
        if data[0] == 0x11:
            return tuple(self._requested(data))
        if data[0] == 0x12:
            return self._told(data)
        return self._commanded(data) if data[0] == 0x13 else ()

    def _notifications(self, picture: bytes) -> Iterator[Notification]:
        yield from self._offer(_Item(next(self._ids) & 0xFFFFFFFF, 1, picture))

    def _offer(self, item: _Item) -> Sequence[Notification]:
        self._waiting.append(item)
        return self.announce() if len(self._waiting) == 1 else ()

    def _requested(self, data: bytes) -> Iterator[Notification]:
        item = self._waiting[0] if self._waiting else None
        if item is None or data[1] != item.transfer_id & 0xFF:
            return
        size = item.chunk_bytes
        for first, number in struct.iter_unpack("<HH", data[2:]):
            for index in range(first, first + (number or 65536)):
                piece = item.payload[index * size : (index + 1) * size]
                if piece:
                    yield Notification(role="data", data=struct.pack("<BBH", 0x02, data[1], index) + piece)
        yield Notification(role="data", data=struct.pack("<BB", 0x03, data[1]))

    def _told(self, data: bytes) -> Sequence[Notification]:
        _, code, transfer_id, self.retry_after_s = struct.unpack("<BBIH", data[:8])
        self.statuses.append((transfer_id, code))
        if not self._waiting or self._waiting[0].transfer_id != transfer_id or 0x40 <= code < 0x80:
            return ()
        self._waiting.popleft()
        return self.announce()

    def _commanded(self, data: bytes) -> Sequence[Notification]:
        _, code, value = struct.unpack("<BBI", data[:6])
        if code == 2:
            self.interval_s = value
        return self.photo() if code == 1 else ()


CAMERAS: dict[str, type[BleCamera]] = {
    "openglass": OpenGlassCamera,
    "omiglass": OmiGlassCamera,
    "nordic-its": NordicItsCamera,
    "esp32cam-cafebabe": CafebabeCamera,
    "jpeg-stream": JpegStreamCamera,
    "gateway-image-1": GatewayImage1Camera,
}
