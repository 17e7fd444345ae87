"""Whether the uplink may be used now: quiet hours, and bytes left of the day's budget.

Both use the wall clock only while it is trusted: an untrusted one knows no quiet hours, and its days are 24 hours of
powered time. Nothing set: always allowed, at no cost.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from gateway.forwarding.daily_budget import DAY_S, Spending
from gateway.forwarding.spending_file import SpendingFile
from gateway.ports import Clock, Meter, Timekeeper
from gateway.settings import CloudSettings
from gateway.settings.hours import Span, parse_span, quiet_for

# One hundredth of the budget is lost at a crash at most, and at most this many writes a day.
CHUNKS_A_DAY = 100
# A clock that is set, or a new day: noticed this soon.
LOOK_EVERY_S = 60.0
QUIET_HOURS = "quiet_hours"
BUDGET_SPENT = "daily_budget_spent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """Why the uplink rests, and for how long at least."""

    reason: str
    for_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowanceState:
    """How much of it is used, for people. ``day``: of the count; None while no clock says which day it is.

    ``quiet_hours_hold``: whether the clock is trusted, without which there are none. ``rests_for_s``: until it may be
    used again, None if it may now.
    """

    bytes_spent: int
    bytes_per_day_max: int
    day: date | None
    quiet_hours: tuple[str, ...]
    quiet_hours_hold: bool
    messages_per_s_max: float
    rests_for_s: float | None

    def document(self) -> Mapping[str, object]:
        """Return it as a JSON object."""
        return asdict(self) | {"day": None if self.day is None else self.day.isoformat()}


class Allowance:
    """One uplink's. ``restore`` comes first."""

    def __init__(
        self,
        *,
        settings: CloudSettings,
        file: SpendingFile,
        clock: Clock,
        timekeeper: Timekeeper,
        age_s: Callable[[], float],
        meter: Meter,
    ) -> None:
        self._budget_bytes = settings.bytes_per_day_max
        self._settings = settings
        self._spans: Sequence[Span] = tuple(parse_span(text) for text in settings.quiet_hours)
        self._zone = ZoneInfo(settings.timezone) if settings.timezone else None
        self._file = file
        self._clock = clock
        self._timekeeper = timekeeper
        self._age_s = age_s
        self._meter = meter
        self._spending = Spending(began_age_s=age_s(), day=None)
        self._set_aside_bytes = 0

    async def restore(self) -> None:
        """Take up the spending of an earlier process."""
        if self._budget_bytes:
            known = await asyncio.to_thread(self._file.load)
            self._spending = known or self._spending
            self._set_aside_bytes = self._spending.byte_count
            self._show_left(self._current(self._local_now()))

    def state(self) -> AllowanceState:
        """Return how things stand now."""
        local = self._local_now()
        spending, rest = self._current(local), self._rest()
        return AllowanceState(
            bytes_spent=spending.byte_count,
            bytes_per_day_max=self._budget_bytes,
            day=spending.day,
            quiet_hours=self._settings.quiet_hours,
            quiet_hours_hold=local is not None,
            messages_per_s_max=self._settings.messages_per_s_max,
            rests_for_s=None if rest is None else round(rest.for_s),
        )

    def rest(self) -> Rest | None:
        """Return why and for how long the uplink rests now; None if it may be used."""
        rest = self._rest()
        for reason in (QUIET_HOURS, BUDGET_SPENT):
            self._meter.level("gateway_cloud_resting", rest is not None and rest.reason == reason, reason=reason)
        return rest

    def _rest(self) -> Rest | None:
        local = self._local_now()
        quiet_s = quiet_for(self._spans, local).total_seconds() if local is not None else 0.0
        if quiet_s > 0:
            return Rest(reason=QUIET_HOURS, for_s=quiet_s)
        if self._budget_bytes and not self._current(local).leaves(self._budget_bytes):
            return Rest(reason=BUDGET_SPENT, for_s=self._rest_of_window_s(local))
        return None

    async def spend(self, byte_count: int) -> None:
        """Count bytes that are about to be sent; returns when a crash can't forget them."""
        if not self._budget_bytes:
            return
        self._spending = self._current(self._local_now()).spent(byte_count)
        self._show_left(self._spending)
        if self._spending.byte_count > self._set_aside_bytes:
            self._set_aside_bytes = self._spending.byte_count + self._budget_bytes // CHUNKS_A_DAY
            ahead = replace(self._spending, byte_count=min(self._set_aside_bytes, self._budget_bytes))
            await asyncio.to_thread(self._file.keep, ahead)

    def _show_left(self, spending: Spending) -> None:
        self._meter.level("gateway_cloud_bytes_left_today", spending.leaves(self._budget_bytes))

    def _current(self, local: datetime | None) -> Spending:
        now = self._spending.at(today=None if local is None else local.date(), age_s=self._age_s())
        if now.byte_count < self._spending.byte_count:
            self._set_aside_bytes = 0
        self._spending = now
        return now

    def _rest_of_window_s(self, local: datetime | None) -> float:
        if local is None:
            return max(0.0, self._spending.began_age_s + DAY_S - self._age_s())
        tomorrow = datetime.combine(local.date() + timedelta(days=1), datetime.min.time())
        return (tomorrow - local).total_seconds()

    def _local_now(self) -> datetime | None:
        """Return the time that a wall clock at the site shows, without a zone; None while none is to be trusted."""
        if not self._timekeeper.wall_clock_trusted():
            return None
        return self._clock.now().astimezone(self._zone).replace(tzinfo=None)
