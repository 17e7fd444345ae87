"""The book of boots in the file: read at open, written with the first commit of a start and when a clock is set."""

import sqlite3
from collections import defaultdict
from collections.abc import Iterable

from gateway.outbox.queries import Queries
from gateway.timekeeping.boots import BOOTS_KEPT_MAX, Boot, BootBook, ClockOffset, ClockSource


def load_boots(connection: sqlite3.Connection, queries: Queries) -> tuple[Boot, ...]:
    """Return the boots that the file remembers, oldest first. Raises sqlite3.Error.

    The last event tells when its boot was still alive, so that keeping the time costs no write of its own.
    """
    offsets: dict[int, list[ClockOffset]] = defaultdict(list)
    for boot, from_boottime_s, offset_s, source in connection.execute(queries.select_clock_offsets):
        offsets[boot].append(
            ClockOffset(from_boottime_s=from_boottime_s, offset_s=offset_s, source=ClockSource(source))
        )
    last_event_boot, last_event_s = connection.execute(queries.select_last_event_moment).fetchone() or (None, None)
    return tuple(
        Boot(
            number=number,
            boot_id=boot_id,
            powered_before_s=powered_before_s,
            off_before_s=off_before_s,
            last_boottime_s=max(last_s, last_event_s or 0.0) if number == last_event_boot else last_s,
            offsets=tuple(offsets[number]),
        )
        for number, boot_id, powered_before_s, last_s, off_before_s in connection.execute(queries.select_boots)
    )


def save_boots(connection: sqlite3.Connection, queries: Queries, boots: Iterable[Boot]) -> None:
    """Write boots as they are now, with their offsets."""
    for boot in boots:
        row = (boot.number, boot.boot_id, boot.powered_before_s, boot.last_boottime_s, boot.off_before_s)
        connection.execute(queries.save_boot, row)
        connection.execute(queries.forget_offsets, (boot.number,))
        connection.executemany(
            queries.insert_clock_offset,
            [(boot.number, o.from_boottime_s, o.offset_s, o.source.value) for o in boot.offsets],
        )


def forget_old_boots(connection: sqlite3.Connection, queries: Queries, book: BootBook) -> None:
    """Forget what the book has no room for."""
    oldest = book.current.number - BOOTS_KEPT_MAX
    connection.execute(queries.forget_boots, (oldest,))
    connection.execute(queries.forget_clock_offsets, (oldest,))


def keep_time(
    connection: sqlite3.Connection, queries: Queries, *, boot: int, boottime_s: float, written_bytes: int
) -> None:
    """Note that the boot is still alive, and what was written since the last note."""
    connection.execute(queries.keep_time, {"boot": boot, "boottime_s": boottime_s, "written": written_bytes})
