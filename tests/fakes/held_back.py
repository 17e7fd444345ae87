"""A device under policies, for tests of what the outbox holds back, and what such tests ask of the outbox."""

import json
from datetime import timedelta
from typing import Any

from gateway.messages import (
    Classification,
    EventState,
    Kind,
    ModelIdentity,
    OnChange,
    PendingEvent,
    Prediction,
    Receipt,
    Result,
    Summarise,
    SummaryMode,
)
from gateway.outbox.sqlite_outbox import SqliteOutbox
from tests.fakes.outbox import draft
from tests.fakes.outbox_parts import StillClock

ON_CHANGE = OnChange(max_s=3600)
INSTEAD = Summarise(mode=SummaryMode.INSTEAD, window_s=600)
BESIDES = Summarise(mode=SummaryMode.BESIDES, window_s=600)
PENDING, FILTERED, SUMMARISED = EventState.PENDING, EventState.FILTERED, EventState.SUMMARISED
MINUTE = timedelta(minutes=1)


def picture(label: str, probability: float = 0.9) -> Classification:
    return Classification(
        predictions=(Prediction(label=label, probability=probability), Prediction(label="other", probability=0.01)),
        model=ModelIdentity(name="m", model_sha256="", labels_sha256="", runtime="litert"),
        image_format="JPEG",
        image_width=1,
        image_height=1,
        decode_ms=0,
        preprocess_ms=0,
        inference_ms=0,
    )


class Device:
    """Sends to an outbox under policies; ids count up over restarts."""

    def __init__(self, device_id: str = "cam-1", **policy: Any) -> None:
        self.device_id = device_id
        self.policy = policy
        self.clock = StillClock()
        self._sent = 0

    async def send(self, outbox: SqliteOutbox, *results: Result | str, **also: Any) -> Receipt:
        """Send one submission; a text is a label."""
        self._sent += 1
        drafts = [
            draft(
                f"s-{self._sent}",
                item=n if len(results) > 1 else None,
                device_id=self.device_id,
                result=picture(result) if isinstance(result, str) else result,
                boottime_s=self.clock.boottime_s,
                received_at=self.clock.wall,
                **(self.policy | also),
            )
            for n, result in enumerate(results)
        ]
        return await outbox.commit(drafts)


async def states(outbox: SqliteOutbox, device: str = "cam-1", *, first: int = 1) -> list[EventState]:
    found = []
    number = first
    while event := await outbox.find_event(device, f"s-{number}"):
        found.append(event.state)
        number += 1
    return found


async def summaries(outbox: SqliteOutbox) -> list[PendingEvent]:
    return [event for event in await outbox.pending(limit=1000) if event.kind is Kind.SUMMARY]


def counted(event: PendingEvent) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(event.result_json)
    return told


def counts_by_label(event: PendingEvent) -> dict[str, int]:
    return {label: of["count"] for label, of in counted(event)["labels"].items()}
