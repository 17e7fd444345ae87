"""What devices were promised, and the sceptic's comparison with what is on disk and what the hub has.

A submission is known by the SHA-256 of its payload: each is sent with bytes of its own, so that one event per hash is
right and two are a double, whatever ids were given on the way. Thread-safe; times are ``time.monotonic``.
"""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from gateway.simulators.iot_hub.record import ReceivedMessage


class Ledger:
    """Kept outside the gateway, by the devices.

    ``acknowledged``: the gateway has said "on disk". ``promised``: somebody between device and gateway (a broker) has
    said that it will get there; without such a one it stays empty. ``receipts``: under which sequence, where the
    gateway said so.
    """

    def __init__(self) -> None:
        self.acknowledged: set[str] = set()
        self.receipts: dict[str, int] = {}
        self.promised: set[str] = set()
        self.refused: set[str] = set()
        self.cut_short = 0
        self.stall_worst_s = 0.0
        self._last_answer_at: float | None = None
        self._marked_at: float | None = None
        self._recovered_after_s: float | None = None
        self._changed = threading.Condition()

    def acknowledge(self, payload_sha256: str, sequence: int | None = None) -> None:
        """Note that the gateway said "on disk" for this payload, and under which sequence, if it told."""
        with self._changed:
            if sequence is not None:
                self.receipts[payload_sha256] = sequence
            self._note_gap()
            if self._marked_at is not None:
                self._recovered_after_s, self._marked_at = time.monotonic() - self._marked_at, None
            self.acknowledged.add(payload_sha256)
            self._changed.notify_all()

    def promise(self, payload_sha256: str) -> None:
        """Note that a broker has taken this payload."""
        with self._changed:
            self.promised.add(payload_sha256)

    def refuse(self, payload_sha256: str) -> None:
        """Note that the gateway said it would never take this payload: wrong, since all are good."""
        with self._changed:
            self.refused.add(payload_sha256)

    def cut(self, submissions: int = 1) -> None:
        """Note that submissions were handed over and their answer will not come: the connection is gone."""
        with self._changed:
            self.cut_short += submissions

    def load_begins(self) -> None:
        """Note that devices have something to send from now on: a silence counts as a stall."""
        with self._changed:
            self._last_answer_at = time.monotonic()

    def load_ends(self) -> None:
        """Note that devices have fallen silent themselves."""
        with self._changed:
            self._note_gap()
            self._last_answer_at = None

    def mark(self) -> None:
        """Start the clock that the next acknowledgement stops, unless it runs already."""
        with self._changed:
            if self._marked_at is None:
                self._marked_at = time.monotonic()

    def mark_since(self, moment: float) -> None:
        """Let the clock run since a moment: what was acknowledged between then and now did not stop it."""
        with self._changed:
            self._marked_at, self._recovered_after_s = moment, None

    def take_recovery(self) -> float | None:
        """Return the seconds from the last mark to the acknowledgement that followed, once; None if none did."""
        with self._changed:
            taken, self._recovered_after_s = self._recovered_after_s, None
            return taken

    def wait_for_more(self, count: int, timeout_s: float) -> bool:
        """Return True as soon as ``count`` more submissions were acknowledged, False if they were not in time."""
        with self._changed:
            wanted = len(self.acknowledged) + count
            return self._changed.wait_for(lambda: len(self.acknowledged) >= wanted, timeout_s)

    def snapshot(self) -> frozenset[str]:
        """Return what was acknowledged up to now."""
        with self._changed:
            return frozenset(self.acknowledged)

    def due(self) -> frozenset[str]:
        """Return what must arrive in the cloud in the end."""
        with self._changed:
            return frozenset(self.acknowledged | self.promised)

    def _note_gap(self) -> None:
        if self._last_answer_at is not None:
            now = time.monotonic()
            self.stall_worst_s = max(self.stall_worst_s, now - self._last_answer_at)
            self._last_answer_at = now


ItemKey = tuple[str, str, int]
OWN_TRANSPORT = "gateway"


@dataclass(kw_only=True)
class CloudConsumer:
    """What a careful consumer behind the hub keeps: items deduped by (gateway id, epoch, sequence), first one wins.

    ``own``: keys of what the gateway itself tells (summaries, devices that come and go), whose bytes may repeat.
    ``buried``: what tombstones cover, with every reason that any of them gave.
    """

    items: dict[ItemKey, str] = field(default_factory=dict)
    own: dict[ItemKey, Mapping[str, Any]] = field(default_factory=dict)
    conflicts: list[ItemKey] = field(default_factory=list)
    buried: dict[ItemKey, frozenset[str]] = field(default_factory=dict)
    received: int = 0
    sequence_high: dict[tuple[str, str], int] = field(default_factory=dict)
    _read: int = 0

    def read(self, messages: list[ReceivedMessage]) -> None:
        """Take in what arrived since the last call. ``messages`` is the hub's whole list."""
        for message in messages[self._read :]:
            self._take(json.loads(message.body))
        self._read = len(messages)

    def _take(self, envelope: Mapping[str, Any]) -> None:
        life = (envelope["gateway_id"], envelope["epoch"])
        self.sequence_high[life] = max(self.sequence_high.get(life, 0), envelope["sequence_high"])
        for tombstone in envelope["tombstones"]:
            self._bury(life[0], tombstone)
        for item in envelope["items"]:
            self.received += 1
            key = (*life, item["sequence"])
            if self.items.setdefault(key, item["payload_sha256"]) != item["payload_sha256"]:
                self.conflicts.append(key)
            if item["transport"] == OWN_TRANSPORT:
                self.own.setdefault(key, item)

    def _bury(self, gateway_id: str, tombstone: Mapping[str, Any]) -> None:
        reasons = frozenset(tombstone.get("reasons") or (tombstone["reason"],))
        for number in range(tombstone["first_sequence"], tombstone["last_sequence"] + 1):
            key = (gateway_id, tombstone["epoch"], number)
            self.buried[key] = self.buried.get(key, frozenset()) | reasons

    def payloads(self) -> Counter[str]:
        """Return how many items each payload of a device has after dedupe."""
        return Counter(payload for key, payload in self.items.items() if key not in self.own)

    def sequences(self) -> dict[str, set[int]]:
        """Return under which sequences each payload of a device came."""
        found: dict[str, set[int]] = {}
        for key, payload in self.items.items():
            if key not in self.own:
                found.setdefault(payload, set()).add(key[2])
        return found

    def told(self, reasons: Set[str]) -> set[int]:
        """Return the sequences that tombstones cover which give no other reasons than these."""
        return {key[2] for key, given in self.buried.items() if given <= reasons}

    def unaccounted(self) -> int:
        """Return how many sequences up to the watermarks neither came nor are covered by a tombstone."""
        return sum(
            (*life, number) not in self.items and (*life, number) not in self.buried
            for life, high in self.sequence_high.items()
            for number in range(1, high + 1)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the comparison found. All but ``acknowledged`` must be 0."""

    acknowledged: int
    lost: int
    doubled: int
    unaccounted: int

    @property
    def clean(self) -> bool:
        return not (self.lost or self.doubled or self.unaccounted)


def judge(
    due: Iterable[str],
    cloud: CloudConsumer,
    *,
    excused: Set[str] = frozenset(),
    receipts: Mapping[str, int] = MappingProxyType({}),
) -> Verdict:
    """Compare what devices were promised with what the consumer has. A payload in ``excused`` may be there twice.

    What has a receipt must have come under its sequence: elsewhere it is lost as well, to whom it was acknowledged.
    """
    promised = set(due)
    payloads, came = cloud.payloads(), cloud.sequences()
    elsewhere = {p for p in promised & receipts.keys() & came.keys() if receipts[p] not in came[p]}
    return Verdict(
        acknowledged=len(promised),
        lost=len(promised - payloads.keys()) + len(elsewhere),
        doubled=sum(n - 1 for payload, n in payloads.items() if payload not in excused) + len(cloud.conflicts),
        unaccounted=cloud.unaccounted(),
    )


def disk_problem(acknowledged: Set[str], payloads: Counter[str], sequences: Sequence[int]) -> str:
    """Return what is wrong with a file that holds these payloads (each so often) and sequences; empty if nothing is."""
    if missing := acknowledged - payloads.keys():
        return f"{len(missing)} acknowledged submissions are not on disk, first {min(missing)}"
    if doubled := [payload for payload, count in payloads.items() if count > 1]:
        return f"{len(doubled)} submissions are on disk twice, first {doubled[0]}"
    if list(sequences) != list(range(1, len(sequences) + 1)):
        return f"sequences on disk are not 1..{len(sequences)}"
    return ""
