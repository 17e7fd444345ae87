"""One message and what it carries."""

from dataclasses import dataclass

from gateway.cloud.envelope import EncodedEvent
from gateway.messages import CloudMessage, Tombstone


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A message on its way: acknowledged, refused or lost as a whole."""

    message: CloudMessage
    events: tuple[EncodedEvent, ...]
    tombstones: tuple[Tombstone, ...]
    lane: str = ""  # what it begins with: live, backlog, or again (lost or refused before); empty: tombstones alone

    @property
    def sequences(self) -> tuple[int, ...]:
        return tuple([event.sequence for event in self.events])

    @property
    def tombstone_ids(self) -> tuple[int, ...]:
        return tuple(tombstone.tombstone_id for tombstone in self.tombstones)
