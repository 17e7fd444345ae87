"""Whether the ledger adds up: what devices were told, what the outbox holds, what the hub received. Pure."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Key = tuple[str, str, int]  # gateway, epoch, sequence
Content = tuple[str, str]  # device, submission
# Reasons of tombstones with which an acknowledged event is accounted for; "mixed" is several of them.
POLICY_REASONS = frozenset({"evicted", "expired", "filtered", "summarised", "mixed"})


@dataclass(slots=True, kw_only=True)
class Received:
    """What the hub has, doubles removed by (gateway, epoch, sequence)."""

    items: dict[Key, Content] = field(default_factory=dict)
    doubles: int = 0
    contradictions: int = 0  # one key with two contents: never harmless
    buried: dict[Key, str] = field(default_factory=dict)  # what a tombstone tells of → its reason
    by_device: Counter[str] = field(default_factory=Counter)  # results; those that a summary counts, too
    last_result: dict[str, str] = field(default_factory=dict)  # device → the last one, for people
    summaries: int = 0
    counted: int = 0  # results that are in summaries
    watermark: dict[tuple[str, str], int] = field(default_factory=dict)
    messages: int = 0

    def take(self, body: bytes) -> None:
        """Take one message."""
        envelope = json.loads(body)
        source = (envelope["gateway_id"], envelope["epoch"])
        self.messages += 1
        self.watermark[source] = max(self.watermark.get(source, 0), envelope["sequence_high"])
        for item in envelope["items"]:
            self._take_item((*source, item["sequence"]), item)
        for tombstone in envelope["tombstones"]:
            first, last = tombstone["first_sequence"], tombstone["last_sequence"]
            self.buried |= {(source[0], tombstone["epoch"], n): tombstone["reason"] for n in range(first, last + 1)}

    def _take_item(self, key: Key, item: Mapping[str, Any]) -> None:
        content = (item["device_id"], item["submission_id"])
        known = self.items.setdefault(key, content)
        if known is content:
            self._take_result(item)
        else:
            self.doubles += 1
            self.contradictions += known != content

    def _take_result(self, item: Mapping[str, Any]) -> None:
        device_id = item["device_id"]
        if summary := item.get("summary"):
            self.summaries += 1
            self.counted += summary["count"]
        self.by_device[device_id] += summary["count"] if summary else 1
        if predictions := item.get("predictions"):
            best = max(predictions, key=lambda prediction: float(prediction["probability"]))
            self.last_result[device_id] = f"{best['label']} {best['probability']:.1%}"

    def missing(self) -> list[Key]:
        """Return the sequences up to the watermark that are neither here nor buried."""
        return [
            (*source, n)
            for source, high in self.watermark.items()
            for n in range(1, high + 1)
            if (*source, n) not in self.items and (*source, n) not in self.buried
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """The outbox's own figures: sequences given, and where their events are."""

    accepted: int
    parts: Mapping[str, int]

    @property
    def adds_up(self) -> bool:
        return self.accepted == sum(self.parts.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class StillHere:
    """What waits in the outbox, or is a dead letter there: neither lost nor missing. ``open_windows``: of summaries."""

    events: Mapping[Key, Content] = field(default_factory=dict)
    open_windows: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a sceptic asks. ``lost`` and ``doubled`` name (device, submission)."""

    promised: int
    told_by_tombstone: int
    lost: tuple[Content, ...]
    doubled: tuple[Content, ...]
    missing: int
    contradictions: int
    repeats: int
    summaries: int
    counted: int
    miscounted: bool
    ledger: Ledger

    @property
    def is_good(self) -> bool:
        wrong = self.lost or self.doubled or self.missing or self.contradictions or self.miscounted
        return not wrong and self.ledger.adds_up


def judge(
    promises: Mapping[Content, int | None], received: Received, ledger: Ledger, *, still_here: StillHere | None = None
) -> Verdict:
    """Return the verdict. ``promises``: what devices were told is on disk, with the sequence where they were told one.

    A promise is kept by the item at the hub, by its place in the outbox, or by a policy's tombstone at the hub.
    """
    here = still_here or StillHere()
    arrived = Counter(received.items.values())
    waiting = set(here.events.values())
    unseen = [content for content in promises if content not in arrived and content not in waiting]
    buried = {sequence for (_, _, sequence), reason in received.buried.items() if reason in POLICY_REASONS}
    lost = tuple(content for content in unseen if promises[content] not in buried)
    summarised = ledger.parts.get("summarised", 0)
    return Verdict(
        promised=len(promises),
        told_by_tombstone=len(unseen) - len(lost),
        lost=lost,
        doubled=tuple(content for content, count in arrived.items() if count > 1),
        missing=sum(key not in here.events for key in received.missing()),
        contradictions=received.contradictions,
        repeats=received.doubles,
        summaries=received.summaries,
        counted=received.counted,
        miscounted=_is_miscounted(received.counted, summarised, here),
        ledger=ledger,
    )


def _is_miscounted(counted: int, summarised: int, here: StillHere) -> bool:
    """Return whether summaries at the hub count other than what was summarised. Open windows may have the rest."""
    return counted > summarised or (counted < summarised and not (here.open_windows or here.events))
