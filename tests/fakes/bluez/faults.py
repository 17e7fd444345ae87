"""What shall go wrong: per D-Bus method, and on the air."""

from collections import defaultdict, deque
from dataclasses import dataclass, field

FAILED = "org.bluez.Error.Failed"
IN_PROGRESS = "org.bluez.Error.InProgress"
NOT_READY = "org.bluez.Error.NotReady"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One call's fate: an error, no answer at all (``hang``), or an answer after ``delay_s``."""

    error: str | None = None
    text: str = "injected"
    hang: bool = False
    delay_s: float = 0


@dataclass
class Faults:
    """``calls`` are spent one by one; ``always`` holds until removed. ``lose`` and ``double`` count notifications."""

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
        self.calls[method].extend(faults)
