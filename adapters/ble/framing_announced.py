"""``announced-size``: Nordic's Image Transfer Service. The size on INFO, then raw JPEG on TX. Pure.

INFO (NordicPlayground/nrf52-ble-image-transfer-demo, ble_image_transfer_service.c): ``01`` and the size as u32
little-endian begins a picture; ``02`` tells link parameters. Nothing numbers the pieces: a lost one shows as a size
that is never reached, a doubled one as too many bytes or a JPEG that does not end. One lost *and* another of the same
length doubled in the same picture would pass: the decoder may then notice, this protocol can't.
"""

import struct
from collections.abc import Sequence

from adapters.ble.contract import Action
from adapters.ble.framing_base import OneWayFraming, jpeg_fault
from adapters.ble.profiles import Profile

_SIZE_FOLLOWS = 0x01
_SIZE_FORM = struct.Struct("<BI")


class AnnouncedSizeFraming(OneWayFraming):
    """Collects exactly as many bytes as INFO announced; what comes unannounced is ignored."""

    def __init__(self, profile: Profile, *, image_bytes_max: int, attempts_max: int) -> None:
        super().__init__(profile, image_bytes_max=image_bytes_max, attempts_max=attempts_max)
        self._forget()

    def _forget(self) -> None:
        self._size = 0
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
        if role == "info":
            return self._informed(data)
        if role != "data" or not self._size:
            return ()
        self._data += data
        if len(self._data) < self._size:
            return ()
        return self._filled()

    def _informed(self, data: bytes) -> Sequence[Action]:
        if len(data) < _SIZE_FORM.size or data[0] != _SIZE_FOLLOWS:
            return ()
        size = _SIZE_FORM.unpack_from(data)[1]
        if size == self._size and not self._data:
            return ()  # the same notification twice
        actions = self._give_up("size", f"a new picture began after {self._held}") if self._size else ()
        if not size or size > self._image_bytes_max:
            return [*actions, *self._give_up("too_large", f"{size} bytes were announced")]
        self._size = size
        return actions

    def _filled(self) -> Sequence[Action]:
        if len(self._data) > self._size:
            return self._give_up("size", f"{self._held}: more than announced")
        picture = bytes(self._data)
        fault = jpeg_fault(picture)
        return self._give_up("gap", f"{self._held}: {fault}") if fault else self._complete(picture)
