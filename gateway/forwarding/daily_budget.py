"""How many bytes may go to the cloud in a day, on links that are paid by the byte. Pure: state is data.

A day is the site's calendar day while the wall clock is trusted. While it is not, a day is 24 hours of powered time
from the window's begin; a clock that becomes right in the middle of a window names its day and gives nothing back.
Spending is kept across restarts by the outbox, so that a gateway that restarts does not spend twice.
"""

from dataclasses import dataclass, replace
from datetime import date

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """What was spent in the current window. ``day`` None: the clock was not right since it began."""

    began_age_s: float
    day: date | None
    byte_count: int = 0

    def at(self, *, today: date | None, age_s: float) -> "Spending":
        """Return the window that is current at ``age_s`` of powered time; ``today`` None while no clock is trusted."""
        is_over = age_s - self.began_age_s >= DAY_S
        if today is not None and self.day is not None:
            # A calendar that went back begins nothing: it would be a day's budget more for each correction.
            is_over = today > self.day
        if is_over:
            return Spending(began_age_s=age_s, day=today)
        return self if today is None or self.day is not None else replace(self, day=today)

    def spent(self, byte_count: int) -> "Spending":
        """Return the window after ``byte_count`` bytes more."""
        return replace(self, byte_count=self.byte_count + byte_count)

    def leaves(self, budget_bytes: int) -> int:
        """Return how many bytes of ``budget_bytes`` are left."""
        return max(0, budget_bytes - self.byte_count)
