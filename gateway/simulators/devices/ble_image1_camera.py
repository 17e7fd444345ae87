"""The device's side of ``gateway-image-1``, written from docs/PROTOCOLS-ble.md alone. Pure, no radio."""

import struct
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

from gateway.simulators.devices.ble_firmware import BleCamera, GattCharacteristic, Notification

PICTURE, READING = 1, 2
# "again every 5 s or more while it gets neither REQUEST nor STATUS"
ANNOUNCE_EVERY_S = 5.0
WORDS = {0x00: "on disk", 0x41: "it came damaged too often", 0x80: "refused", 0x81: "refused: too large"}


class Told(NamedTuple):
    """A status that came."""

    transfer_id: int
    code: int


class Commanded(NamedTuple):
    """A command that came."""

    what: int
    value: int


@dataclass(slots=True)
class _Item:
    transfer_id: int
    content: int
    payload: bytes
    chunk_bytes: int = 0


class GatewayImage1Camera(BleCamera):
    """Keeps each picture or reading until the gateway says *on disk*.

    A real one needs, beside its picture: the announcement (20 bytes), four ranges (16), and one packet to send.
    ``sent_chunks`` counts the chunks that the radio took, to see that nothing is sent again needlessly.
    """

    name = "GatewayCam"
    service_uuid = "c1f7a000-52d4-4b0e-9c6a-3e8d17b0f4a9"
    characteristics = (
        GattCharacteristic(role="data", uuid="c1f7a001-52d4-4b0e-9c6a-3e8d17b0f4a9", flags=("notify",)),
        GattCharacteristic(role="control", uuid="c1f7a002-52d4-4b0e-9c6a-3e8d17b0f4a9", flags=("write",)),
    )
    acknowledges = True

    def __init__(
        self, pictures: Iterator[bytes], *, att_payload_max: int = 244, first_id: int = 1, orientation: int = 0
    ) -> None:
        super().__init__(pictures, att_payload_max=att_payload_max)
        self._ids = count(first_id)
        self._orientation = orientation
        self._waiting: deque[_Item] = deque()
        self._announce_due_s: float | None = None
        self.statuses: list[Told] = []
        self.commands: list[Commanded] = []
        self.retry_after_s = 0
        self.sent_chunks = 0

    @property
    def kept(self) -> int:
        """How many things the gateway has not taken yet."""
        return len(self._waiting)

    @property
    def on_disk(self) -> list[int]:
        """The ids that the gateway said it has on disk, as often as it said so."""
        return [told.transfer_id for told in self.statuses if told.code == 0x00]

    def offer(
        self, payload: bytes, *, transfer_id: int | None = None, content: int = PICTURE
    ) -> Sequence[Notification]:
        """Keep something for the gateway; return what to send at once."""
        chosen = next(self._ids) & 0xFFFFFFFF if transfer_id is None else transfer_id
        self._waiting.append(_Item(chosen, content, payload))
        return self.announce() if len(self._waiting) == 1 else ()

    def reading(self, body: bytes) -> Sequence[Notification]:
        """Offer a reading (a JSON object, UTF-8); return what to send at once."""
        return self.offer(body, content=READING)

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
            self._orientation if item.content == PICTURE else 0,
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
        self._announce_due_s = None
        self.retry_after_s = 0
        if data[0] == 0x10:
            return self.announce()
        if data[0] == 0x11:
            return tuple(self._requested(data))
        if data[0] == 0x12:
            return self._told(data)
        return self._commanded(data) if data[0] == 0x13 else ()

    def supersedes(self, role: str, data: bytes) -> bool:
        return role == "control" and data[:1] == b"\x11"

    def notified(self, notification: Notification) -> None:
        self.sent_chunks += notification.data[0] == 0x02

    def ticked(self, now_s: float) -> Sequence[Notification]:
        taken = super().ticked(now_s)
        if taken or not self._waiting:
            return taken
        wait_s = self.retry_after_s or ANNOUNCE_EVERY_S
        if self._announce_due_s is None:
            self._announce_due_s = now_s + wait_s
        if now_s < self._announce_due_s:
            return ()
        self._announce_due_s = now_s + ANNOUNCE_EVERY_S
        return self.announce()

    def _notifications(self, picture: bytes) -> Iterator[Notification]:
        yield from self.offer(picture)

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
        _, code, transfer_id, retry_after_s = struct.unpack("<BBIH", data[:8])
        self.statuses.append(Told(transfer_id, code))
        self.on_answer(transfer_id, _word(code, retry_after_s))
        if not self._waiting or self._waiting[0].transfer_id != transfer_id:
            return ()
        if 0x40 <= code < 0x80:
            self.retry_after_s = retry_after_s
            return ()
        self.acknowledged += code == 0x00
        self.refused += code >= 0x80
        self._waiting.popleft()
        return self.announce()

    def _commanded(self, data: bytes) -> Sequence[Notification]:
        command = Commanded(*struct.unpack("<BI", data[1:6]))
        self.commands.append(command)
        if command.what == 2:
            self.interval_s = float(command.value) or None
        return self.photo() if command.what == 1 else ()


def _word(code: int, retry_after_s: int) -> str:
    if code in WORDS:
        return WORDS[code]
    return f"try later, in {retry_after_s} s" if 0x40 <= code < 0x80 else f"refused (status {code:02X})"
