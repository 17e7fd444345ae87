"""Loads queries.sql into a typed table: a name that is missing, or one too many, fails at start and not in use."""

import re
from dataclasses import dataclass
from importlib.resources import files

_HEADER = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Queries:
    """One field for each ``-- name:`` of queries.sql."""

    insert_event: str
    find_submission: str
    find_delivery: str
    remember_delivery: str
    forget_deliveries: str
    forget_oldest_deliveries: str
    find_item: str
    select_pending: str
    select_newest_pending: str
    select_pending_among: str
    select_pending_spans: str
    select_first_pending: str
    select_oldest_pending: str
    select_oldest_by_priority: str
    select_oldest_for_eviction: str
    select_lowest_for_eviction: str
    select_expired: str
    select_next_ttl: str
    select_dead_sequences: str
    select_dead_among: str
    select_results_between: str
    select_results_among: str
    mark_delivered: str
    mark_dead: str
    requeue: str
    select_pending_tombstones: str
    select_tombstone_before: str
    select_tombstone_at: str
    select_overlapping_tombstones: str
    insert_tombstone: str
    delete_tombstones: str
    insert_refusal: str
    delete_oldest_refusals: str
    insert_command: str
    select_waiting_commands: str
    settle_command: str
    count_crash: str
    select_crash_suspects: str
    forget_crash_suspects: str
    select_settled: str
    count_delivered_among: str
    remember_ids: str
    delete_events: str
    forget_ids: str
    forget_commands: str
    forget_oldest_commands: str
    select_epochs: str
    select_is_open: str
    set_is_open: str
    begin_ledger: str
    insert_epoch: str
    select_ledger: str
    save_ledger: str
    insert_bundle: str
    forget_bundles: str
    select_bundle: str
    acknowledge_bundle: str
    select_pending_in_ranges: str
    select_pending_page: str
    select_boots: str
    select_clock_offsets: str
    select_last_event_moment: str
    save_boot: str
    forget_offsets: str
    insert_clock_offset: str
    forget_boots: str
    forget_clock_offsets: str
    keep_time: str
    select_written_bytes: str
    select_last_sent: str
    save_last_sent: str
    forget_last_sent: str
    select_window: str
    save_window: str
    delete_window: str
    select_next_window_length: str
    select_due_windows: str
    has_windows: str
    count_for_policy: str
    select_policy_counts: str
    count_windows: str


def load_queries() -> Queries:
    """Return the statements of queries.sql."""
    text = (files("gateway.outbox") / "queries.sql").read_text(encoding="utf-8")
    _, *parts = _HEADER.split(text)
    return Queries(**{name: sql.strip() for name, sql in zip(parts[::2], parts[1::2], strict=True)})
