"""Starts of the machine in order, and what follows from them: times set right afterwards, and ages. Pure.

A board without a clock of its own begins in the past and jumps when it finds the time. So an event keeps the start of
the machine that it came in (``boot``) and the seconds since (``boottime_s``). Once the wall clock of that boot is
right, its *offset* (wall clock minus boottime, in Unix time) is noted, and the true time of all its events is
offset + boottime. Slewing moves both clocks alike, so an offset changes only when the wall clock is stepped.

*Age* is the axis for keeping times: seconds that the machine was powered, over all boots, from the first opening of
the outbox file. It never goes back. Time that passed while the power was off is known only where the boots on both
sides were synchronised; it is added when an age is compared (:meth:`BootBook.cutoff_s`) and never to the stored age,
so that an event that came in before the clock was set does not suddenly look older.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from gateway.messages import ClockState

# Starts that are remembered: 27 a day for a year, about 1 MB. Events of older ones count as unsynced.
BOOTS_KEPT_MAX = 10_000
# A clock that two daemons pull about makes an offset a minute; the first and the newest ones are what matters.
OFFSETS_PER_BOOT_MAX = 100
_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ClockSource(StrEnum):
    """Who says that the wall clock is right."""

    KERNEL = "kernel"  # a daemon disciplines it now
    SINCE_BOOT = "since_boot"  # a daemon did since the machine started
    SETTING = "setting"  # the operator says so (clock.trust = always)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockOffset:
    """From ``from_boottime_s`` of its boot on, true time is ``offset_s`` + boottime, in Unix time."""

    from_boottime_s: float
    offset_s: float
    source: ClockSource

    def time_at(self, boottime_s: float) -> datetime:
        """Return the true time at ``boottime_s`` of this boot."""
        return _moment(self.offset_s + boottime_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """One start of the machine. ``last_boottime_s`` is the last moment known of it; ``offsets`` are in order."""

    number: int
    boot_id: str
    powered_before_s: float  # the age at its boottime 0
    last_boottime_s: float
    off_before_s: float = 0.0  # seconds that passed without power before it; 0 where no clock told
    offsets: tuple[ClockOffset, ...] = ()

    @property
    def last_age_s(self) -> float:
        return self.powered_before_s + self.last_boottime_s

    @property
    def measured(self) -> tuple[ClockOffset, ...]:
        """The offsets that a daemon vouched for: only they measure time without power."""
        return tuple(offset for offset in self.offsets if offset.source is not ClockSource.SETTING)

    def offset_at(self, boottime_s: float) -> ClockOffset | None:
        """Return the offset that holds at ``boottime_s``: the last noted before it, else the first after it."""
        if not self.offsets:
            return None
        earlier = [offset for offset in self.offsets if offset.from_boottime_s <= boottime_s]
        return earlier[-1] if earlier else self.offsets[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedTime:
    """What is known of the time of an event. ``after`` and ``before`` only where ``clock`` is unsynced."""

    at: datetime
    clock: ClockState
    after: datetime | None = None
    before: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Bounds:
    """What neighbouring boots say of a boot without an offset: Unix times of its boottime 0, or None."""

    earliest_s: float | None = None
    latest_s: float | None = None


@dataclass(frozen=True, slots=True)
class BootBook:
    """All boots that are remembered, oldest first; the last is the running one. Values never change."""

    boots: tuple[Boot, ...]
    _bounds: dict[int, _Bounds] = field(init=False, repr=False, compare=False)
    _by_number: dict[int, Boot] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_number", {boot.number: boot for boot in self.boots})
        object.__setattr__(self, "_bounds", _bounds_of(self.boots))

    @property
    def current(self) -> Boot:
        """The boot that runs now."""
        return self.boots[-1]

    # --- times ----------------------------------------------------------------------------------------

    def received(self, *, boot: int | None, boottime_s: float | None, wall: datetime, is_synced: bool) -> ReceivedTime:
        """Return the best that is known of an event's time. ``wall`` and ``is_synced`` are its own stamp."""
        if is_synced:
            return ReceivedTime(at=wall, clock=ClockState.SYNCED)
        known = None if boot is None else self._by_number.get(boot)
        if known is None or boottime_s is None:
            return ReceivedTime(at=wall, clock=ClockState.UNSYNCED)
        offset = known.offset_at(boottime_s)
        if offset is not None:
            return ReceivedTime(at=offset.time_at(boottime_s), clock=ClockState.CORRECTED)
        bounds = self._bounds[known.number]
        return ReceivedTime(
            at=wall,
            clock=ClockState.UNSYNCED,
            after=None if bounds.earliest_s is None else _moment(bounds.earliest_s + boottime_s),
            before=None if bounds.latest_s is None else _moment(bounds.latest_s + boottime_s),
        )

    # --- ages -----------------------------------------------------------------------------------------

    def age_s(self, boottime_s: float) -> float:
        """Return the age at ``boottime_s`` of the running boot."""
        return self.current.powered_before_s + boottime_s

    def cutoff_s(self, older_than_s: float, *, boottime_s: float) -> float:
        """Return the age at or below which everything is at least ``older_than_s`` old at ``boottime_s``.

        Time without power counts where it is known. Where boots without a right clock lie in such a gap, all of it is
        taken to lie before them: what came in during them may then stay longer, never shorter.
        """
        newest_s, left_s = self.age_s(boottime_s), older_than_s
        for boot in reversed(self.boots):
            if left_s <= newest_s - boot.powered_before_s:
                break
            left_s -= newest_s - boot.powered_before_s
            newest_s = boot.powered_before_s
            if left_s <= boot.off_before_s:
                return newest_s
            left_s -= boot.off_before_s
        return newest_s - left_s

    # --- changes --------------------------------------------------------------------------------------

    def with_offset(self, offset: ClockOffset) -> "BootBook":
        """Return the book with one more offset of the running boot, and the time without power that it tells."""
        current = self.current
        boots = [*self.boots[:-1], replace(current, offsets=_added(current.offsets, offset))]
        if offset.source is not ClockSource.SETTING and not current.measured:
            _credit_time_without_power(boots, offset)
        return BootBook(tuple(boots))


def opened(boots: Sequence[Boot], *, boot_id: str, boottime_s: float) -> BootBook:
    """Return the book for a process that starts at ``boottime_s`` of the boot ``boot_id``."""
    if not boots:
        # Age counts from here: what the machine did before this file is none of its business.
        return BootBook((Boot(number=1, boot_id=boot_id, powered_before_s=-boottime_s, last_boottime_s=boottime_s),))
    last = boots[-1]
    if last.boot_id == boot_id and boottime_s >= last.last_boottime_s:
        return BootBook(tuple(boots))
    new = Boot(number=last.number + 1, boot_id=boot_id, powered_before_s=last.last_age_s, last_boottime_s=boottime_s)
    return BootBook((*boots, new)[-BOOTS_KEPT_MAX:])


def _added(offsets: tuple[ClockOffset, ...], new: ClockOffset) -> tuple[ClockOffset, ...]:
    kept = tuple(offset for offset in offsets if offset.from_boottime_s < new.from_boottime_s)
    if len(kept) >= OFFSETS_PER_BOOT_MAX:
        kept = (kept[0], *kept[2:])
    return (*kept, new)


def _credit_time_without_power(boots: list[Boot], offset: ClockOffset) -> None:
    """Note what passed, beyond powered time, since the last boot that was synchronised too."""
    earlier = next((n for n in range(len(boots) - 2, -1, -1) if boots[n].measured), None)
    if earlier is None:
        return
    then, now = boots[earlier], boots[-1]
    elapsed_s = offset.offset_s - (then.measured[-1].offset_s + then.last_boottime_s)
    powered_s = now.powered_before_s - then.last_age_s
    # To the first boot after it: what came in during boots between may look younger than it is, never older.
    boots[earlier + 1] = replace(boots[earlier + 1], off_before_s=max(0.0, elapsed_s - powered_s))


def _bounds_of(boots: Sequence[Boot]) -> dict[int, _Bounds]:
    """Return bounds of the boots without an offset: at least the powered time lies between them and a neighbour."""
    found: dict[int, _Bounds] = {}
    earliest_s: float | None = None  # Unix time minus age: grows with time without power
    for boot in boots:
        if boot.offsets:
            earliest_s = boot.offsets[-1].offset_s - boot.powered_before_s
        else:
            found[boot.number] = _Bounds(None if earliest_s is None else earliest_s + boot.powered_before_s)
    latest_s: float | None = None
    for boot in reversed(boots):
        if boot.offsets:
            latest_s = boot.offsets[0].offset_s - boot.powered_before_s
        else:
            latest = None if latest_s is None else latest_s + boot.powered_before_s
            found[boot.number] = _Bounds(found[boot.number].earliest_s, latest)
    return found


def _moment(unix_s: float) -> datetime:
    return _UNIX_EPOCH + timedelta(seconds=unix_s)
