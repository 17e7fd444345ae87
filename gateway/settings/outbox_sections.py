"""Settings of the outbox: how much it may hold, for how long, and what gives way when it is full."""

from typing import Literal

from pydantic import Field

from gateway.settings.section import MIB, Section


class OutboxSettings(Section):
    """What is on disk: events that wait for the cloud, and those kept for local reading."""

    rows_max: int = Field(
        default=525_600,
        ge=10,
        description="Events in the file. A year of one result a minute; at about 1 kB a row half a gigabyte.",
    )
    bytes_max: int = Field(
        default=1024 * MIB,
        ge=MIB,
        description="Bytes of the file. Leaves room on an 8 GB card; SQLite itself keeps to it.",
    )
    when_full: Literal["refuse", "evict_oldest", "evict_lowest_priority"] = Field(
        default="refuse",
        description="Once nothing is left in it that the cloud has. refuse: devices are told 503 and send again; "
        "nothing that was acknowledged goes. evict_oldest: the oldest pending events make room. evict_lowest_priority: "
        "those of the lowest priority, oldest first. What is pushed out is told upstream (a tombstone). "
        "Room by bytes comes in whole pages: by priority more may go than by age, so set rows_max below what the bytes "
        "admit.",
    )
    delivered_keep_h: float = Field(
        default=72,
        ge=0,
        description="Hours that delivered events stay for local reading: a long weekend. Then they are pruned.",
    )
    id_keep_days: float = Field(
        default=30,
        ge=0,
        description="Days that the id of a pruned event still recognises a redelivery (about 100 bytes each).",
    )
    refusals_max: int = Field(
        default=1000, ge=0, description="Refused submissions kept for the operator to look at; the oldest go first."
    )
    ballast_bytes: int = Field(
        default=8 * MIB,
        ge=0,
        description="Bytes of a file beside the outbox that is let go when something else fills the disk, so that "
        "marks and deletes can still be made: twice the journal. Made only where three times as much is free. 0: none.",
    )
    group_commit_max: int = Field(
        default=128,
        ge=1,
        le=1024,
        description="Submissions in one commit (one fsync). More gains little and delays the first.",
    )
    check_every_h: float = Field(
        default=24,
        ge=0,
        description="Hours from the end of one check of the whole file to the next; the first begins with the gateway. "
        "0: never. It takes a twentieth of one core, and finds what a card has forgotten before it is needed.",
    )
