"""Whether the ledger adds up: what devices were told, what the outbox holds, what the hub received. Pure."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

Key = tuple[str, str, int]


@dataclass(slots=True, kw_only=True)
class Received:
    """What the hub has, doubles removed by (gateway, epoch, sequence)."""

    items: dict[Key, tuple[str, str]] = field(default_factory=dict)  # key → (device, submission)
    doubles: int = 0
    contradictions: int = 0  # one key with two contents: never harmless
    buried: set[Key] = field(default_factory=set)
    watermark: dict[tuple[str, str], int] = field(default_factory=dict)
    messages: int = 0

    def take(self, body: bytes) -> None:
        """Take one message."""
        envelope = json.loads(body)
        source = (envelope["gateway_id"], envelope["epoch"])
        self.messages += 1
        self.watermark[source] = max(self.watermark.get(source, 0), envelope["sequence_high"])
        for item in envelope["items"]:
            self._take_item((*source, item["sequence"]), (item["device_id"], item["submission_id"]))
        for tombstone in envelope["tombstones"]:
            first, last = tombstone["first_sequence"], tombstone["last_sequence"]
            self.buried |= {(source[0], tombstone["epoch"], n) for n in range(first, last + 1)}

    def _take_item(self, key: Key, content: tuple[str, str]) -> None:
        known = self.items.setdefault(key, content)
        if known is not content:
            self.doubles += 1
            self.contradictions += known != content

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
class Verdict:
    """What a sceptic asks. ``lost`` and ``doubled`` name (device, submission)."""

    promised: int
    lost: tuple[tuple[str, str], ...]
    doubled: tuple[tuple[str, str], ...]
    missing: int
    contradictions: int
    repeats: int
    ledger: Ledger

    @property
    def is_good(self) -> bool:
        return not (self.lost or self.doubled or self.missing or self.contradictions) and self.ledger.adds_up


def judge(
    promises: Iterable[tuple[str, str]],
    received: Received,
    ledger: Ledger,
    *,
    still_here: frozenset[tuple[str, str]] = frozenset(),
) -> Verdict:
    """Return the verdict. ``still_here`` are the submissions that wait in the outbox, or are dead letters there."""
    arrived: dict[tuple[str, str], int] = {}
    for content in received.items.values():
        arrived[content] = arrived.get(content, 0) + 1
    promised = list(promises)
    return Verdict(
        promised=len(promised),
        lost=tuple(one for one in promised if one not in arrived and one not in still_here),
        doubled=tuple(content for content, count in arrived.items() if count > 1),
        missing=max(0, len(received.missing()) - len(still_here)),
        contradictions=received.contradictions,
        repeats=received.doubles,
        ledger=ledger,
    )
