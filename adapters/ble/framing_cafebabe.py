"""``cafebabe``: the ESP32-CAM NimBLE sketch. A header with size and CRC-16, then raw chunks. Pure.

Header, little-endian ``<IIIH``: 0xCAFEBABE, size, milliseconds, CRC-16/CCITT-FALSE of the picture (polynomial 0x1021,
initially 0xFFFF, not reflected). Nothing numbers the pieces; size, CRC and the JPEG's ends catch loss, repetition and
exchange, but for one exchange in 65536.
"""

import binascii
import struct
from collections.abc import Sequence

from adapters.ble.contract import Action
from adapters.ble.framing_base import OneWayFraming, jpeg_fault
from adapters.ble.profiles import Profile

MAGIC = 0xCAFEBABE
HEADER = struct.Struct("<IIIH")
_CRC_START = 0xFFFF


class CafebabeFraming(OneWayFraming):
    """Collects the size that the header announced; what comes without a header is ignored."""

    def __init__(self, profile: Profile, *, image_bytes_max: int, attempts_max: int) -> None:
        super().__init__(profile, image_bytes_max=image_bytes_max, attempts_max=attempts_max)
        self._forget()

    def _forget(self) -> None:
        self._header = b""
        self._size = 0
        self._crc16 = 0
        self._data = bytearray()

    @property
    def _begun(self) -> bool:
        return self._size > 0

    @property
    def _held(self) -> str:
        return f"{len(self._data)} of {self._size} bytes"

    def _fell_silent(self) -> Sequence[Action]:
        return self._give_up("size", f"silence after {self._held}: a notification was lost")

    def _take(self, role: str, data: bytes) -> Sequence[Action]:
        if role != "data":
            return ()
        if len(data) == HEADER.size and HEADER.unpack(data)[0] == MAGIC:
            return self._begin(data)
        if not self._size:
            return ()
        self._data += data
        return self._filled() if len(self._data) >= self._size else ()

    def _begin(self, header: bytes) -> Sequence[Action]:
        if header == self._header and not self._data:
            return ()  # the same notification twice
        actions = self._give_up("size", f"a new picture began after {self._held}") if self._size else ()
        _, size, _, crc16 = HEADER.unpack(header)
        if not size or size > self._image_bytes_max:
            return [*actions, *self._give_up("too_large", f"{size} bytes were announced")]
        self._header, self._size, self._crc16 = header, size, crc16
        return actions

    def _filled(self) -> Sequence[Action]:
        if len(self._data) > self._size:
            return self._give_up("size", f"{self._held}: more than announced")
        picture = bytes(self._data)
        if binascii.crc_hqx(picture, _CRC_START) != self._crc16:
            return self._give_up("crc", f"{self._held}: wrong CRC-16")
        fault = jpeg_fault(picture)
        return self._give_up("gap", f"{self._held}: {fault}") if fault else self._complete(picture)
