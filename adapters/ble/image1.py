"""The packets of ``gateway-image-1``, version 1: bytes to values and back, both sides. Pure.

docs/PROTOCOLS-ble.md specifies them byte by byte. All numbers are unsigned, little-endian, as everywhere in Bluetooth.
The first byte says which packet it is; every packet but a chunk's data fits the 20 bytes of the smallest ATT MTU.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

VERSION = 1

_ANNOUNCE, _CHUNK, _END = 0x01, 0x02, 0x03
_HELLO, _REQUEST, _STATUS, _COMMAND = 0x10, 0x11, 0x12, 0x13

_ANNOUNCE_FORM = struct.Struct("<BBBBIIIHH")
# Kind, id's lowest byte, index. Public with CHUNK_MARK: a picture has hundreds of chunks, and the gateway makes no
# object of each.
CHUNK_FORM = struct.Struct("<BBH")
_END_FORM = struct.Struct("<BB")
_HELLO_FORM = struct.Struct("<BBH")
_REQUEST_FORM = struct.Struct("<BB")
_RANGE_FORM = struct.Struct("<HH")
_STATUS_FORM = struct.Struct("<BBIH")
_COMMAND_FORM = struct.Struct("<BBI")

CHUNK_HEADER_BYTES = CHUNK_FORM.size
CHUNK_MARK = bytes([_CHUNK])
# Indexes have 16 bits.
CHUNKS_MAX = 65_536
# What fits the smallest MTU, so that no device needs room for more: (20 - 2) // 4.
RANGES_MAX = 4


class Content(IntEnum):
    """What is carried."""

    IMAGE = 1
    READING = 2


class StatusCode(IntEnum):
    """What became of a transfer. Below 0x40: done. 0x40 to 0x7F: keep it, try later. From 0x80: never send it again."""

    ON_DISK = 0x00
    TRY_LATER = 0x40
    DAMAGED = 0x41
    REFUSED = 0x80
    TOO_LARGE = 0x81
    VERSION_UNKNOWN = 0x82
    ANNOUNCEMENT_INVALID = 0x83


class CommandCode(IntEnum):
    """What the gateway may ask of a device. It may ignore it."""

    PHOTO = 1
    INTERVAL = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Announce:
    """What a device wants to hand over. ``version`` may be one that this gateway does not know."""

    version: int
    content: int
    orientation: int
    transfer_id: int
    total_bytes: int
    crc32: int
    chunk_bytes: int

    @property
    def identity(self) -> tuple[int, int, int, int]:
        """What makes it the same thing as one announced before, whatever the size of its chunks."""
        return self.content, self.transfer_id, self.total_bytes, self.crc32

    @property
    def chunks(self) -> int:
        """How many chunks the whole has; every one but the last carries ``chunk_bytes``."""
        return -(-self.total_bytes // self.chunk_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A piece. ``id_low`` is the last byte of the transfer's id: it tells a straggler of another one."""

    id_low: int
    index: int
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """Everything of the last request was sent."""

    id_low: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """The gateway listens: announce what you have. ``notification_bytes_max`` is what it believes to fit."""

    version: int
    notification_bytes_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """``count`` chunks from ``first`` on; a count of 0 stands for all 65536."""

    first: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Send these chunks, then End. Replaces any earlier request."""

    id_low: int
    ranges: Sequence[Range]


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What became of a transfer. ``retry_after_s`` counts for the codes that say try later."""

    code: int
    transfer_id: int
    retry_after_s: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """Something to do."""

    code: int
    value: int


FromDevice = Announce | Chunk | End
FromGateway = Hello | Request | Status | Command


def parse_from_device(data: bytes) -> FromDevice | None:
    """Return the packet of a notification, or None for what is none. Fields are not judged here."""
    kind = data[0] if data else None
    if kind == _ANNOUNCE and len(data) >= _ANNOUNCE_FORM.size:
        _, version, content, orientation, transfer_id, total, crc32, chunk_bytes, _ = _ANNOUNCE_FORM.unpack_from(data)
        return Announce(
            version=version,
            content=content,
            orientation=orientation,
            transfer_id=transfer_id,
            total_bytes=total,
            crc32=crc32,
            chunk_bytes=chunk_bytes,
        )
    if kind == _CHUNK and len(data) > CHUNK_HEADER_BYTES:
        _, id_low, index = CHUNK_FORM.unpack_from(data)
        return Chunk(id_low=id_low, index=index, data=data[CHUNK_HEADER_BYTES:])
    if kind == _END and len(data) == _END_FORM.size:
        return End(id_low=data[1])
    return None


def parse_from_gateway(data: bytes) -> FromGateway | None:
    """Return the packet of a write, or None for what is none: what a device does."""
    kind, size = (data[0] if data else None), len(data)
    if kind == _HELLO and size >= _HELLO_FORM.size:
        _, version, most = _HELLO_FORM.unpack_from(data)
        return Hello(version=version, notification_bytes_max=most)
    if kind == _REQUEST and size > _REQUEST_FORM.size and (size - _REQUEST_FORM.size) % _RANGE_FORM.size == 0:
        pairs = _RANGE_FORM.iter_unpack(data[_REQUEST_FORM.size :])
        return Request(id_low=data[1], ranges=tuple(Range(first=first, count=count) for first, count in pairs))
    if kind == _STATUS and size >= _STATUS_FORM.size:
        _, code, transfer_id, retry_after_s = _STATUS_FORM.unpack_from(data)
        return Status(code=code, transfer_id=transfer_id, retry_after_s=retry_after_s)
    if kind == _COMMAND and size >= _COMMAND_FORM.size:
        _, code, value = _COMMAND_FORM.unpack_from(data)
        return Command(code=code, value=value)
    return None


def encode_from_device(packet: FromDevice) -> bytes:
    """Return the notification that carries ``packet``."""
    match packet:
        case Announce():
            return _ANNOUNCE_FORM.pack(
                _ANNOUNCE,
                packet.version,
                packet.content,
                packet.orientation,
                packet.transfer_id,
                packet.total_bytes,
                packet.crc32,
                packet.chunk_bytes,
                0,
            )
        case Chunk():
            return CHUNK_FORM.pack(_CHUNK, packet.id_low, packet.index) + packet.data
        case End():
            return _END_FORM.pack(_END, packet.id_low)


def encode_from_gateway(packet: FromGateway) -> bytes:
    """Return the write that carries ``packet``."""
    match packet:
        case Hello():
            return _HELLO_FORM.pack(_HELLO, packet.version, packet.notification_bytes_max)
        case Request():
            ranges = (_RANGE_FORM.pack(one.first, one.count % CHUNKS_MAX) for one in packet.ranges)
            return _REQUEST_FORM.pack(_REQUEST, packet.id_low) + b"".join(ranges)
        case Status():
            return _STATUS_FORM.pack(_STATUS, packet.code, packet.transfer_id, packet.retry_after_s)
        case Command():
            return _COMMAND_FORM.pack(_COMMAND, packet.code, packet.value)
