"""What a simulated camera is to whatever carries its bytes: writes and time in, notifications out. Pure, no radio.

Cameras are written from their protocols' descriptions, not from the gateway's code, so that a mistake there is not
repeated here. A camera answers writes with notifications; the bus or the test carries them, and may lose, double or
cut them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field


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
    """One camera. ``pictures`` is what it photographs, one after the other; without more, it is silent.

    ``photos`` counts those it took, ``acknowledged`` those that the gateway said it has, ``refused`` those it will
    never take. With ``interval_s`` it takes one so often by itself, while somebody listens. ``on_answer`` is called
    with the picture's number and the gateway's word on it.
    """

    name: str
    service_uuid: str
    characteristics: tuple[GattCharacteristic, ...]
    # Whether the protocol has a word for "I have it".
    acknowledges: bool = False
    mtu: int = 247

    def __init__(self, pictures: Iterator[bytes], *, att_payload_max: int = 244) -> None:
        self.photos = 0
        self.acknowledged = 0
        self.refused = 0
        self.picture_bytes = 0
        self.on_answer: Callable[[int, str], None] = _not_told
        self.interval_s: float | None = None
        self._pictures = pictures
        self._att_payload_max = att_payload_max
        self._photo_due_s: float | None = None

    def connected(self, *, att_payload_max: int) -> None:
        """Take note of a link whose notifications may have that many bytes."""
        self._att_payload_max = att_payload_max
        self._photo_due_s = None

    def listened(self) -> Sequence[Notification]:
        """Take note that all notifications are on; return what the camera sends at once."""
        return ()

    @abstractmethod
    def written(self, role: str, data: bytes) -> Sequence[Notification]:
        """Take what the gateway wrote; return what the camera then sends."""

    def supersedes(self, role: str, data: bytes) -> bool:  # noqa: ARG002 -- most cameras finish what they began
        """Whether a write makes the camera leave unsent what it has not sent yet."""
        return False

    def notified(self, notification: Notification) -> None:  # noqa: B027 -- most cameras don't count
        """Take note that the radio took a notification."""

    def ticked(self, now_s: float) -> Sequence[Notification]:
        """Time passed; return what the camera sends by itself. Called while notifications are on."""
        if self.interval_s is None:
            return ()
        if self._photo_due_s is None:
            self._photo_due_s = now_s + self.interval_s
        if now_s < self._photo_due_s:
            return ()
        self._photo_due_s = now_s + self.interval_s
        return self.photo()

    def photo(self) -> Sequence[Notification]:
        """Take the next picture; return what the camera sends for it, nothing if there is none."""
        picture = next(self._pictures, None)
        if picture is None:
            return ()
        self.photos += 1
        self.picture_bytes = len(picture)
        return tuple(self._notifications(picture))

    @abstractmethod
    def _notifications(self, picture: bytes) -> Iterator[Notification]:
        """Yield the notifications that carry a picture."""


def _not_told(_number: int, _word: str) -> None:
    """Do nothing: nobody asked to be told."""
