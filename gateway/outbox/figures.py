"""The outbox's figures: the state for those who ask, and the gauges for those who scrape.

Owns which gauge shows what. The counts come from the ledger in memory; the oldest pending event of each priority is
read from the file (``select_oldest_by_priority``) by the caller.
"""

from collections.abc import Sequence
from datetime import datetime

from gateway.messages import EventState, OutboxState
from gateway.outbox.epochs import EpochBook
from gateway.outbox.ledger import Ledger
from gateway.outbox.rows import Row
from gateway.outbox.store import Store
from gateway.ports import Meter
from gateway.settings import OutboxSettings


def outbox_state(ledger: Ledger, epochs: EpochBook, oldest_pending_received_at: datetime | None) -> OutboxState:
    """Return the figures of this moment."""
    return OutboxState(
        epoch=epochs.current,
        sequence_high=ledger.sequence_high - epochs.current.base,
        pending=ledger.pending,
        delivered=ledger.delivered,
        dead=ledger.dead,
        refusals=ledger.refusals,
        tombstones_pending=ledger.tombstones_pending,
        bytes_used=ledger.bytes_used,
        held_back=ledger.held_back,
        delivered_total=ledger.delivered_total,
        evicted_total=ledger.evicted_total,
        expired_total=ledger.expired_total,
        filtered_total=ledger.filtered_total,
        summarised_total=ledger.summarised_total,
        taken_over=ledger.taken_over,
        oldest_pending_received_at=oldest_pending_received_at,
        former=epochs.former,
    )


class Gauges:
    """Shows the figures of one outbox. Remembers which priorities it has shown: one that is empty goes to 0."""

    def __init__(self, store: Store, *, settings: OutboxSettings, meter: Meter) -> None:
        self._store = store
        self._meter = meter
        meter.level("gateway_outbox_rows_max", settings.rows_max)
        meter.level("gateway_outbox_bytes_max", settings.bytes_max)
        self._priorities_shown: frozenset[str] = frozenset()

    def show(self, firsts: Sequence[Row], *, age_s: float) -> None:
        """Set every gauge of the outbox. ``age_s``: how long the machine had power in the file's life."""
        ledger = self._store.ledger  # once: the figures that are shown add up
        self._show_ages(firsts, age_s)
        self._show_events(ledger)
        self._meter.level("gateway_outbox_sequence_high", ledger.sequence_high - self._store.epochs.current.base)
        self._show_file(self._store)

    def _show_ages(self, firsts: Sequence[Row], age_s: float) -> None:
        ages = dict.fromkeys(self._priorities_shown, 0.0)
        ages |= {str(row[0]): max(0.0, age_s - row[2]) for row in firsts}
        self._priorities_shown = frozenset(ages)
        for priority, waiting_s in ages.items():
            self._meter.level("gateway_outbox_oldest_pending_age_seconds", waiting_s, priority=priority)

    def _show_events(self, ledger: Ledger) -> None:
        for state, count in (
            (EventState.PENDING, ledger.pending),
            (EventState.DELIVERED, ledger.delivered),
            (EventState.DEAD, ledger.dead),
            ("held_back", ledger.held_back),
        ):
            self._meter.level("gateway_outbox_events", count, state=state)
        for outcome, total in (
            ("delivered", ledger.delivered_total),
            ("evicted", ledger.evicted_total),
            ("expired", ledger.expired_total),
            ("filtered", ledger.filtered_total),
            ("summarised", ledger.summarised_total),
            ("taken_over", ledger.taken_over),
        ):
            self._meter.level("gateway_outbox_epoch_events", total, outcome=outcome)
        self._meter.level("gateway_outbox_tombstones", ledger.tombstones_pending)
        self._meter.level("gateway_outbox_bytes", ledger.bytes_used)

    def _show_file(self, store: Store) -> None:
        self._meter.level("gateway_outbox_ballast_out", store.ballast.is_out)
        self._meter.level("gateway_outbox_salvaged_rows", sum(salvage.rows for salvage in store.salvages))
        self._meter.level("gateway_outbox_damaged_sequences", sum(salvage.damaged for salvage in store.salvages))
