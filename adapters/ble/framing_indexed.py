"""``indexed-chunks``: OpenGlass, omiGlass. Notifications of a 16-bit index and data; an end mark; no checksum.

omiGlass puts an orientation byte (0 to 3, quarter turns) after the index of chunk 0; older firmware begins with the
JPEG's FF there (BasedHardware/omi, omiGlass firmware; BasedHardware/OpenGlass, firmware.ino). A lost chunk shows as a
gap, one lost at the end by the JPEG that does not end. Bytes changed on the way are not seen here: Bluetooth's own
24-bit CRC guards them.
"""

from array import array
from collections.abc import Sequence

from adapters.ble.contract import Action
from adapters.ble.framing_base import OneWayFraming, jpeg_fault
from adapters.ble.profiles import Profile

# omiGlass's quarter turns clockwise → the EXIF orientation that undoes the same: 0, 90, 180, 270 degrees.
EXIF_OF_QUARTER_TURNS = (1, 6, 3, 8)
INDEX_BYTES = 2


class IndexedChunksFraming(OneWayFraming):
    """Collects chunks in order. The same chunk twice is taken once; other data under a known index is a fault."""

    def __init__(self, profile: Profile, *, image_bytes_max: int, attempts_max: int) -> None:
        super().__init__(profile, image_bytes_max=image_bytes_max, attempts_max=attempts_max)
        self._end = bytes.fromhex(profile.parameters.end_hex)
        self._order = profile.parameters.index_order
        self._has_orientation = profile.parameters.orientation_byte
        self._forget()

    def _forget(self) -> None:
        self._chunks = bytearray()
        self._starts = array("I")  # where each chunk begins

    @property
    def _begun(self) -> bool:
        return bool(self._starts)

    @property
    def _held(self) -> str:
        return f"{len(self._starts)} chunks"

    def _take(self, role: str, data: bytes) -> Sequence[Action]:
        if role != "data":
            return ()
        if data == self._end:
            return self._ended() if self._starts else ()
        if len(data) <= INDEX_BYTES:
            return ()
        return self._take_chunk(int.from_bytes(data[:INDEX_BYTES], self._order), data[INDEX_BYTES:])

    def _take_chunk(self, index: int, chunk: bytes) -> Sequence[Action]:
        due = len(self._starts)
        if index == due:
            return self._append(chunk)
        if not due or (index < due and self._chunk(index) == chunk):
            return ()  # the rest of a picture that was given up; or the same chunk twice
        if index > due:
            return self._give_up("gap", f"chunk {index} came where {due} was due")
        if index:
            return self._give_up("protocol", f"chunk {index} came again with other data")
        actions = self._give_up("gap", f"a new picture began after chunk {due - 1}, before the end")
        return [*actions, *self._append(chunk)]

    def _append(self, chunk: bytes) -> Sequence[Action]:
        if len(self._chunks) + len(chunk) > self._image_bytes_max + 1:
            return self._give_up("too_large", f"more than {self._image_bytes_max} bytes")
        self._starts.append(len(self._chunks))
        self._chunks += chunk
        return ()

    def _chunk(self, index: int) -> bytes:
        end = self._starts[index + 1] if index + 1 < len(self._starts) else len(self._chunks)
        return bytes(self._chunks[self._starts[index] : end])

    def _ended(self) -> Sequence[Action]:
        orientation, picture = self._oriented(bytes(self._chunks))
        fault = jpeg_fault(picture)
        if fault is not None:
            return self._give_up("gap", f"{self._held}, {len(picture)} bytes: {fault}")
        return self._complete(picture, orientation=orientation)

    def _oriented(self, payload: bytes) -> tuple[int, bytes]:
        """Split off the orientation byte of new firmware; the old one begins with the JPEG's own FF."""
        if self._has_orientation and payload[0] < len(EXIF_OF_QUARTER_TURNS):
            return EXIF_OF_QUARTER_TURNS[payload[0]], payload[1:]
        return 1, payload
