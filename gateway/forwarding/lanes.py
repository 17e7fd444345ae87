"""In which order what waits is sent: priorities, and what came in lately beside what is old. Pure.

A *lane* is what waits under one priority, on one side of a boundary: what was
there when the session (or a new drain) began is the backlog, what came in
since is live. Rules:

1. The most urgent priority that waits goes first (0 is the most urgent); what
   is left of a message is filled from the next ones.
2. Every OTHERS_EVERY-th message begins with another priority, the one whose
   last message is the longest ago: none starves for ever.
3. Inside a priority ``cloud.drain_order`` decides between backlog and live.
   Each lane keeps its order: oldest first, but newest first for the backlog
   under ``newest_first``.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

# An eighth of the messages: a flood of alarms loses little by it, and a thousand results of the lowest priority
# (some 125 messages of 4 KB) are through after a thousand messages, 20 s at the default cloud.messages_per_s_max.
OTHERS_EVERY = 8


class DrainOrder(StrEnum):
    """``cloud.drain_order``: what goes first while a backlog drains."""

    WEIGHTED = "weighted"  # by turns: a message of the backlog, a message of what came in since
    NEWEST_FIRST = "newest_first"  # what came in since, then the backlog from its newest on
    OLDEST_FIRST = "oldest_first"  # strictly as it came in


@dataclass(frozen=True, slots=True)
class LaneKey:
    """Which lane. Under ``oldest_first`` nothing is live."""

    priority: int
    is_live: bool


@dataclass(slots=True, kw_only=True)
class Lane:
    """How far one lane was read: sequences above ``above`` and up to ``up_to`` (None: no end).

    A scan goes on from the last sequence read, then once more from the start: a
    requeued event comes back under its old sequence.
    """

    key: LaneKey
    above: int
    up_to: int | None
    newest_first: bool
    waiting: dict[int, int] = field(default_factory=dict)  # sequence → bytes, in the order to send
    waiting_bytes: int = 0
    exhausted: bool = False
    _cursor: int | None = None  # None: at the start
    _began_at_start: bool = True

    @property
    def after(self) -> int:
        """The next page holds sequences above this."""
        return self.above if self.newest_first or self._cursor is None else self._cursor

    @property
    def before(self) -> int | None:
        """The next page holds sequences below this."""
        if self.newest_first and self._cursor is not None:
            return self._cursor
        return None if self.up_to is None else self.up_to + 1

    @property
    def may_give(self) -> bool:
        """Whether something of it waits, or was not read yet."""
        return bool(self.waiting) or not self.exhausted

    def look_again(self, first: int, last: int) -> None:
        """Note that this priority has pending events from ``first`` to ``last`` now, perhaps claimed ones only."""
        if last > self.above and (self.up_to is None or first <= self.up_to):
            self.exhausted = False
            self._began_at_start = False

    def begin_page(self) -> None:
        """Note that a page is read now; a look_again after this is not lost."""
        if self._cursor is None:
            self._began_at_start = True

    def end_page(self, last_sequence: int | None, *, is_full: bool) -> None:
        """Move on behind a page that ended with ``last_sequence`` (None: it was empty)."""
        if last_sequence is not None:
            self._cursor = last_sequence
        if not is_full:
            self.exhausted = self._began_at_start
            if not self.exhausted:
                self._cursor = None

    def add(self, sequence: int, byte_count: int) -> None:
        """Let an event wait, behind the others."""
        self.waiting[sequence] = byte_count
        self.waiting_bytes += byte_count

    def take(self, sequence: int) -> None:
        """Let it wait no longer."""
        self.waiting_bytes -= self.waiting.pop(sequence)


class Turns:
    """Whose turn it is. ``lanes`` asks, ``served`` moves on."""

    def __init__(self, order: DrainOrder) -> None:
        self._order = order
        self._messages = 0
        self._served_at: dict[int, int] = {}  # priority → its last message
        self._began_live: dict[int, bool] = {}  # priority → whether the last message that it began, began live

    def lanes(self, keys: Collection[LaneKey]) -> list[LaneKey]:
        """Return these lanes, the one whose turn it is first."""
        priorities = sorted({key.priority for key in keys})
        favoured = self._favoured(priorities)
        return sorted(
            keys,
            key=lambda key: (key.priority != favoured, key.priority, key.is_live != self._live_is_next(key.priority)),
        )

    def served(self, lanes: Iterator[LaneKey]) -> None:
        """Note that a message with events of these lanes leaves, the first event's lane first."""
        self._messages += 1
        first = next(lanes, None)
        if first is None:
            return
        self._began_live[first.priority] = first.is_live
        self._served_at[first.priority] = self._messages
        self._served_at.update((lane.priority, self._messages) for lane in lanes)

    def _favoured(self, priorities: list[int]) -> int | None:
        if not priorities:
            return None
        others = priorities[1:]
        if not others or (self._messages + 1) % OTHERS_EVERY:
            return priorities[0]
        return min(others, key=lambda priority: self._served_at.get(priority, 0))

    def _live_is_next(self, priority: int) -> bool:
        return self._order is DrainOrder.NEWEST_FIRST or not self._began_live.get(priority, True)
