"""``jpeg-stream``: raw JPEG in notifications, no header, no end: from FF D8 to FF D9 and silence. Pure.

TheHummel/BLEphoto speaks so. A picture is whole when silence, or the next one's beginning, follows an FF D9. A
notification lost from the middle leaves no trace in the protocol: this is the weakest of them, and the decoder is
the only other guard. Prefer any other framing for a camera of your own.
"""

from collections.abc import Sequence

from adapters.ble.contract import Action
from adapters.ble.framing_base import OneWayFraming, jpeg_fault
from adapters.ble.profiles import Profile

_START = b"\xff\xd8\xff"


class JpegStreamFraming(OneWayFraming):
    """Collects from a notification that begins as a JPEG; what comes before one is ignored."""

    def __init__(self, profile: Profile, *, image_bytes_max: int, attempts_max: int) -> None:
        super().__init__(profile, image_bytes_max=image_bytes_max, attempts_max=attempts_max)
        self._forget()

    def _forget(self) -> None:
        self._data = bytearray()

    @property
    def _begun(self) -> bool:
        return bool(self._data)

    @property
    def _held(self) -> str:
        return f"{len(self._data)} bytes"

    def _fell_silent(self) -> Sequence[Action]:
        return self._ended()

    def disconnected(self, now_s: float) -> Sequence[Action]:
        # Cameras that switch off after their picture: the end of the link is the silence.
        ended = self._ended() if self._data and jpeg_fault(bytes(self._data)) is None else ()
        return [*ended, *super().disconnected(now_s)]

    def _take(self, role: str, data: bytes) -> Sequence[Action]:
        if role != "data":
            return ()
        if not data.startswith(_START):
            return self._append(data) if self._data else ()
        actions = self._ended() if self._data else ()
        return [*actions, *self._append(data)]

    def _append(self, data: bytes) -> Sequence[Action]:
        if len(self._data) + len(data) > self._image_bytes_max:
            return self._give_up("too_large", f"more than {self._image_bytes_max} bytes")
        self._data += data
        return ()

    def _ended(self) -> Sequence[Action]:
        picture = bytes(self._data)
        fault = jpeg_fault(picture)
        return self._give_up("idle_timeout", f"{self._held}: {fault}") if fault else self._complete(picture)
