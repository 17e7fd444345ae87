"""An ingest in memory with switchable outcomes, for the tests of the MQTT transports.

FakeIngest keeps the promises of adapters.mqtt.contract.Ingest: what it accepted is in ``stored`` before ``take``
returns, a repeated delivery (DUP, same client, session, packet id, topic and bytes) is not stored twice. A closed
``gate`` keeps every ``take`` waiting, as a slow disk does.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from adapters.mqtt.contract import Accepted, Inbound, Later, Outcome, Refused
from gateway.errors import Rejected
from gateway.messages import CommittedItem, Reading, Receipt

EPOCH = "0197a000-0000-7000-8000-000000000002"
REFUSED = Refused(device_id="cam-1", reason="not_an_image", detail="these bytes are no picture", cure="send a JPEG")
LATER = Later(reason="outbox_full", detail="the outbox reached its cap", retry_after_s=0.02)

Answer = Outcome | Callable[[Inbound], Outcome] | None


@dataclass
class FakeIngest:
    """Implements adapters.mqtt.contract.Ingest. ``answer`` None accepts; ``script`` is used up first, one a take."""

    answer: Answer = None
    script: list[Outcome | None] = field(default_factory=list)
    stored: list[Inbound] = field(default_factory=list)
    taken: list[Inbound] = field(default_factory=list)
    refused: list[tuple[Inbound, Rejected, int]] = field(default_factory=list)
    concurrent_max: int = 0
    pending_notices: list[tuple[str, bytes]] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    _concurrent: int = 0

    def __post_init__(self) -> None:
        self.gate.set()

    async def take(self, inbound: Inbound) -> Outcome:
        self.taken.append(inbound)
        self._concurrent += 1
        self.concurrent_max = max(self.concurrent_max, self._concurrent)
        try:
            await self.gate.wait()
            await asyncio.sleep(0)
        finally:
            self._concurrent -= 1
        outcome = self.script.pop(0) if self.script else self.answer
        if callable(outcome):
            outcome = outcome(inbound)
        return self._store(inbound) if outcome is None else outcome

    async def refuse(self, inbound: Inbound, error: Rejected, *, payload_bytes: int) -> Refused:
        await self.gate.wait()
        self.refused.append((inbound, error, payload_bytes))
        device_id = inbound.device_id or _device_of(inbound.topic)
        return Refused(device_id=device_id, reason=error.reason, detail=error.detail, cure=error.cure)

    def reply(self, inbound: Inbound, outcome: Outcome) -> tuple[str, bytes] | None:
        if isinstance(outcome, Later) or outcome.device_id is None:
            return None
        body: dict[str, object] = {"topic": inbound.topic}
        if isinstance(outcome, Refused):
            body |= {"status": "refused", "reason": outcome.reason, "detail": outcome.detail}
        elif outcome.receipt is not None:
            body |= {"status": "committed", "sequence": outcome.receipt.sequence}
        return f"devices/{outcome.device_id}/results", json.dumps(body).encode()

    def notices(self) -> list[tuple[str, bytes]]:
        taken, self.pending_notices = self.pending_notices, []
        return taken

    @property
    def payloads(self) -> list[bytes]:
        """What is stored, in the order of commit."""
        return [inbound.payload for inbound in self.stored]

    def _store(self, inbound: Inbound) -> Accepted:
        device_id = inbound.device_id or _device_of(inbound.topic)
        for place, known in enumerate(self.stored, start=1):
            if inbound.dup and _delivery(known) == _delivery(inbound):
                return Accepted(device_id=device_id, receipt=_receipt(device_id, place, duplicate=True))
        self.stored.append(inbound)
        return Accepted(device_id=device_id, receipt=_receipt(device_id, len(self.stored), duplicate=False))


def _device_of(topic: str) -> str:
    levels = topic.split("/")
    return levels[1] if len(levels) > 1 else "unknown"


def _delivery(inbound: Inbound) -> tuple[object, ...]:
    return inbound.client_id, inbound.session, inbound.packet_id, inbound.topic, inbound.payload


def _receipt(device_id: str, sequence: int, *, duplicate: bool) -> Receipt:
    item = CommittedItem(
        epoch=EPOCH,
        sequence=sequence,
        item_id=f"minted-{sequence}",
        received_at=datetime(2026, 5, 4, 8, 30, tzinfo=UTC),
        id_reused=False,
        result=Reading(values_json='{"t":21.5}'),
    )
    return Receipt(submission_id=f"minted-{sequence}", device_id=device_id, duplicate=duplicate, items=(item,))
