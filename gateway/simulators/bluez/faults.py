"""What shall go wrong: per D-Bus method, and on the air."""

from collections import defaultdict, deque
from dataclasses import dataclass, field

FAILED = "org.bluez.Error.Failed"
IN_PROGRESS = "org.bluez.Error.InProgress"
NOT_READY = "org.bluez.Error.NotReady"
NOT_PERMITTED = "org.bluez.Error.NotPermitted"
NOT_SUPPORTED = "org.bluez.Error.NotSupported"


class BluezError(Exception):
    """Becomes an error reply of that name."""

    def __init__(self, name: str, text: str = "") -> None:
        super().__init__(text)
        self.name = name
        self.text = text


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One call's fate: an error, no answer at all (``hang``), or an answer after ``delay_s``."""

    error: str | None = None
    text: str = "injected"
    hang: bool = False
    delay_s: float = 0


@dataclass(kw_only=True)
class Faults:
    """The switches. Each may be set and reset while everything runs.

    ``calls``: by method, spent one by one. ``always``: by method, until removed. Notifications are counted for each
    device, from 1: those in ``lose`` vanish; the one after ``drop_after`` is lost with its link. ``double``: each comes
    twice. ``mute``: nobody is heard. Power, adapter, daemon and bus have switches of their own: set_powered, unplug and
    stop of FakeBluetoothd, and kill of PrivateBus.
    """

    calls: dict[str, deque[Fault]] = field(default_factory=lambda: defaultdict(deque))
    always: dict[str, Fault] = field(default_factory=dict)
    lose: set[int] = field(default_factory=set)
    double: bool = False
    drop_after: int | None = None
    mute: bool = False

    def next(self, method: str) -> Fault | None:
        """Return what shall happen to this call."""
        if method in self.always:
            return self.always[method]
        queued = self.calls.get(method)
        return queued.popleft() if queued else None

    def add(self, method: str, *faults: Fault) -> None:
        """Let the next calls of a method meet these, one each."""
        self.calls[method].extend(faults)
