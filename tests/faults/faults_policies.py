"""Policies that take events before the cloud has them, while the gateway is killed or loses power.

After each fault the ledger in the file is counted over row by row. When all has arrived, the cloud is compared with
what the policies must have done: it knows of every sequence, by an item or by a tombstone with a reason that the row
allows; every accepted event is in exactly one summary of its kind, told by counts and by the sum of the readings'
numbers; and exactly those readings came singly that differ from the last one sent of their device.
"""

import json
import random
import time
from collections.abc import Iterable, Mapping, Sequence, Set
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

from tests.faults.faults import Cycle, Fault
from tests.faults.faults_disk import PowerCut
from tests.faults.faults_process import COMMIT_POINTS, KillAtPoint, RandomKill
from tests.faults.faults_uplink import refused
from tests.faults.ledger import CloudConsumer
from tests.faults.outbox_file import Books, Kept, books, kept_of_devices
from tests.faults.payloads import level_of
from tests.faults.site import PATIENCE_S, Broken, Site

# Long enough that a good uplink delivers most of what comes in, short enough to be waited for.
TTL_S = 2.0
TOLD_SOON = {"GATEWAY_CLOUD__TOMBSTONE_WAIT_S": "0.5"}
EXPIRING = {"GATEWAY_POLICY__RULE": json.dumps([{"ttl_h": TTL_S / 3600}]), **TOLD_SOON}
EXPIRED = frozenset({"expired"})
# What the demo model thinks of about a quarter of the pictures that devices here send.
PROBABILITY = 0.9
HOLDING_BACK = {
    "GATEWAY_POLICY__RULE": json.dumps(
        [
            {"summary_window_s": 1, "on_change": True},
            {"kind": "reading", "on_change_of": ["level"], "summary": "instead"},
            {"kind": "classification", "min_probability": PROBABILITY, "summary": "besides"},
        ]
    ),
    **TOLD_SOON,
}
HELD_BACK = frozenset({"filtered", "summarised"})
# Each life begins by removing what is too old, and by closing the windows that are over.
EXPIRE_POINTS = COMMIT_POINTS | {"outbox_before_prune": 2, "outbox_during_prune": 1, "outbox_after_prune": 2}
WINDOW_POINTS = COMMIT_POINTS | {"outbox_before_close_windows": 2, "outbox_after_close_windows": 2}
ACKNOWLEDGED_BEFORE = (4, 30)
# The writer looks for what is too old soon after a life has begun, and every 30 s.
EXPIRED_WITHIN_S = 40.0


class AnyKill:
    """At a named point, or at any moment."""

    def __init__(self, points: Mapping[str, int]) -> None:
        self._kinds: Sequence[Fault] = (KillAtPoint(points), RandomKill())

    def cycle(self, site: Site, rng: random.Random) -> Cycle:
        return rng.choice(self._kinds).cycle(site, rng)


class WhileExpiring:
    """The uplink is down for longer than events live; then the fault, in which they are removed."""

    def __init__(self, fault: Fault) -> None:
        self._fault = fault

    def cycle(self, site: Site, rng: random.Random) -> Cycle:
        before = books(site.data_dir).gone["expired"]
        with refused(site, rng):
            site.wait_for_acknowledgements(rng.randrange(*ACKNOWLEDGED_BEFORE), what="while the uplink is down")
            time.sleep(TTL_S + rng.uniform(0, 0.5))
            done = self._fault.cycle(site, rng)
            has_expired = site.wait_until(lambda: books(site.data_dir).gone["expired"] > before, EXPIRED_WITHIN_S)
        check_books(site)
        return replace(done, felt=done.felt and has_expired)


class WhileHoldingBack:
    """Results are filtered and summarised, with the uplink down half of the time."""

    def __init__(self, fault: Fault) -> None:
        self._fault = fault

    def cycle(self, site: Site, rng: random.Random) -> Cycle:
        before = books(site.data_dir).gone.total()
        with refused(site, rng) if rng.random() < 0.5 else nullcontext():
            site.wait_for_acknowledgements(rng.randrange(*ACKNOWLEDGED_BEFORE), what="while policies hold back")
            done = self._fault.cycle(site, rng)
        check_books(site)
        return replace(done, felt=done.felt and books(site.data_dir).gone.total() > before)


def kill_while_expiring() -> Fault:
    return WhileExpiring(AnyKill(EXPIRE_POINTS))


def power_cut_while_expiring() -> Fault:
    return WhileExpiring(PowerCut())


def kill_while_holding_back() -> Fault:
    return WhileHoldingBack(AnyKill(WINDOW_POINTS))


def power_cut_while_holding_back() -> Fault:
    return WhileHoldingBack(PowerCut())


def check_books(site: Site) -> None:
    """Raise Broken unless the ledger in the file is what its rows add up to."""
    if problem := books(site.data_dir).problem:
        raise Broken(problem)


# --- once all has arrived -----------------------------------------------------------------------------


def recount(site: Site) -> None:
    """Raise Broken unless the cloud knows of every sequence, and of each that is gone why."""
    if not site.wait_until(lambda: _is_all_told(site), PATIENCE_S):
        raise Broken(f"not all was told: {books(site.data_dir)}")
    if problem := accounts_problem(books(site.data_dir), site.cloud, site.reasons):
        raise Broken(problem)


def accounts_problem(kept: Books, cloud: CloudConsumer, reasons: Set[str]) -> str:
    """Return what of the file's books the cloud can't confirm, once all was told; empty if it can."""
    came, told = {key[2] for key in cloud.items}, {key[2] for key in cloud.buried}
    delivered, all_of_them = len(came - told), set(range(1, kept.sequence_high + 1))
    problems = {
        kept.problem: bool(kept.problem),
        "the watermark is not the last sequence": set(cloud.sequence_high.values()) != {kept.sequence_high},
        "sequences are neither there nor told": came | told != all_of_them,
        "a tombstone has a reason that no policy of this site has": cloud.told(reasons) != told,
        "the ledger counts others as gone than are told": kept.gone.total() != len(told),
        "the ledger counts others as delivered than came and are not told": kept.delivered_total != delivered,
    }
    found = [text for text, is_so in problems.items() if is_so]
    return f"{found[0]}: {kept}, {len(came)} came, {len(told)} told" if found else ""


def _is_all_told(site: Site) -> bool:
    site.cloud.read(site.hub.messages)
    kept = books(site.data_dir)
    return not (kept.pending or kept.dead or kept.tombstones_pending)


def recount_held_back(site: Site) -> None:
    """Raise Broken unless also each event is in one summary, and each change was sent."""
    site.wait_until(lambda: not _summaries_problem(site), PATIENCE_S)  # the last windows are open for a while
    recount(site)
    for problem in (_summaries_problem(site), _changes_problem(site)):
        if problem:
            raise Broken(problem)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What summaries count of a kind, or what they must: events, and the sum of the readings' numbers."""

    events: int
    numbers: int


def _summaries_problem(site: Site) -> str:
    site.cloud.read(site.hub.messages)
    summaries = [item["summary"] for item in site.cloud.own.values() if item["kind"] == "summary"]
    events = kept_of_devices(site.data_dir)
    for kind in ("reading", "classification"):
        told, right = counted([each for each in summaries if each["of"] == kind]), _right(site, events, kind)
        if told != right:
            return f"summaries count {told} of kind {kind}, accepted were {right}"
    return ""


def counted(summaries: Iterable[Mapping[str, Any]]) -> Counted:
    """Return what these summaries of one kind add up to."""
    events, numbers = 0, 0
    for summary in summaries:
        events += summary["count"]
        found = summary.get("values", {}).get("n", {"mean": 0, "count": 0})
        numbers += round(found["mean"] * found["count"])  # exact: of whole numbers, and told with nine digits
    return Counted(events=events, numbers=numbers)


def _right(site: Site, events: Sequence[Kept], kind: str) -> Counted:
    of_kind = [event for event in events if event.kind == kind]
    is_reading = kind == "reading"
    numbers = sum(site.payloads.number_of_reading(event.payload_sha256) for event in of_kind) if is_reading else 0
    return Counted(events=len(of_kind), numbers=numbers)


def _changes_problem(site: Site) -> str:
    readings = [event for event in kept_of_devices(site.data_dir) if event.kind == "reading"]
    levels = [level_of(site.payloads.number_of_reading(event.payload_sha256)) for event in readings]
    right = changes([event.device_id for event in readings], levels)
    expected = {event.sequence for event, is_sent in zip(readings, right, strict=True) if is_sent}
    came = {key[2] for key in site.cloud.items} & {event.sequence for event in readings}
    if came != expected:
        return f"{len(expected - came)} changes did not come, {len(came - expected)} came that are none"
    return ""


def changes(devices: Sequence[str], levels: Sequence[int]) -> list[bool]:
    """Return of each reading whether its level is another than the one sent last of its device."""
    last: dict[str, int] = {}
    found = []
    for device, level in zip(devices, levels, strict=True):
        found.append(last.get(device) != level)
        last[device] = level
    return found
