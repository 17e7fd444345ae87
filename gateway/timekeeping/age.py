"""The age that keeping times and times to live are counted in: what does the clock of the machine say of the book?"""

from collections.abc import Callable

from gateway.ports import BootClock
from gateway.timekeeping.boots import BootBook


class PoweredAge:
    """Seconds of powered time since the outbox file was made. Never goes back; may be asked from any thread.

    ``book`` returns the starts of the machine as they are known now. It loses at a power cut what was not yet kept:
    the time since the last event, and at most KEEP_TIME_EVERY_S (gateway/outbox/writer.py).
    """

    def __init__(self, *, clock: BootClock, book: Callable[[], BootBook]) -> None:
        self._clock = clock
        self._book = book

    def age_s(self) -> float:
        """Return the age now: to be stored with what is to be judged by age later."""
        return self._book().age_s(self._clock.reading().boottime_s)

    def cutoff_s(self, older_than_s: float) -> float:
        """Return the stored age at or below which things are at least ``older_than_s`` old now.

        Not ``age_s() - older_than_s``: time without power between two synchronised starts counts here.
        """
        return self._book().cutoff_s(older_than_s, boottime_s=self._clock.reading().boottime_s)
