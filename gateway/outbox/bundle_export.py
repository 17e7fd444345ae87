"""What goes into a bundle, read from the file beside a running gateway or without one, and what is told to the outbox.

Reads in pages. Everything that is pending at the beginning goes in, so its keys are few ranges: they go over what was
settled long ago, and break at what is not in the bundle and may yet be sent (dead letters). Everything blocks.

Limits: 8 bytes of memory an event.
"""

import contextlib
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby, pairwise
from pathlib import Path

from gateway.bundles import BundleWriter
from gateway.clock import SystemClock
from gateway.cloud.envelope import (
    MESSAGE_BYTES_MAX,
    EncodedEvent,
    Header,
    NotEncodable,
    build_message,
    count_that_fits,
    encode_event,
)
from gateway.errors import OperatorError
from gateway.messages import PendingEvent, Tombstone
from gateway.outbox.bundle_requests import AcknowledgeBundle, BundleStep, KeyRange, RecordBundle
from gateway.outbox.inspection import PendingReader, changing
from gateway.settings import OutboxSettings

Progress = Callable[[int, int], None]
TOMBSTONES_PER_LINE = 100
# What one request to the control socket may hold, with room: 20 bytes a range.
RANGES_MAX = 5000


@dataclass(slots=True)
class Contents:
    """What a bundle holds, as the outbox will remember it."""

    keys: list[KeyRange] = field(default_factory=list)
    tombstone_ids: list[int] = field(default_factory=list)


def fill(
    writer: BundleWriter, reader: PendingReader, *, gateway_id: str, now: datetime, on_progress: Progress
) -> Contents:
    """Write all that waits into a bundle and return what that is. Raises OperatorError where nothing does."""
    contents = Contents()
    exported = array("q")
    header = Header(gateway_id, reader.state.watermark)
    for tombstones in _chunks(reader.tombstones()):
        _add(writer, header, (), tombstones, now)
        contents.tombstone_ids += [tombstone.tombstone_id for tombstone in tombstones]
    for page in reader.pages():
        encoded = _encoded(page)
        for _, of_one_epoch in groupby(encoded, key=lambda event: event.epoch):
            _add_events(writer, header, list(of_one_epoch), now)
        exported.extend(event.sequence for event in encoded)
        on_progress(len(exported), max(len(exported), reader.state.pending))
    contents.keys = _ranges(exported, reader)
    if not contents.keys and not contents.tombstone_ids:
        raise OperatorError("nothing waits for the cloud: there is nothing to export")
    if len(contents.keys) > RANGES_MAX or len(contents.tombstone_ids) > RANGES_MAX:
        raise OperatorError("dead letters or tombstones lie between too many events for one bundle: requeue them first")
    return contents


def record_offline(
    data_dir: Path,
    sha256: str,
    keys: Sequence[KeyRange],
    tombstone_ids: Sequence[int],
    *,
    settings: OutboxSettings,
) -> None:
    """Remember a bundle in an outbox that no gateway serves. Raises DataDirectoryLocked while one does."""
    request = RecordBundle(sha256=sha256, keys=keys, tombstone_ids=tombstone_ids, now=SystemClock().now())
    with changing(data_dir, settings) as store:
        store.transact([request])


def acknowledge_offline(data_dir: Path, sha256: str, *, settings: OutboxSettings) -> int | None:
    """Mark what was in a bundle; return how many events were still pending, None for a bundle that is not known."""
    marked, after = 0, 0
    with changing(data_dir, settings) as store:
        while True:
            request = AcknowledgeBundle(sha256=sha256, after_key=after, now=SystemClock().now())
            (step,) = store.transact([request]).outcomes
            if step is None:
                return None
            assert isinstance(step, BundleStep)
            marked += step.marked
            if step.after_key is None:
                return marked
            after = step.after_key


def _encoded(page: Sequence[PendingEvent]) -> list[EncodedEvent]:
    """Return what can be told; the rest stays with the forwarder, which makes a dead letter of it."""
    encoded = []
    for event in page:
        with contextlib.suppress(NotEncodable):
            encoded.append(encode_event(event))
    return encoded


def _add_events(writer: BundleWriter, header: Header, events: list[EncodedEvent], now: datetime) -> None:
    while events:
        count = count_that_fits(header, (), events, bytes_max=MESSAGE_BYTES_MAX)
        _add(writer, header, events[:count], (), now)
        events = events[count:]


def _add(
    writer: BundleWriter,
    header: Header,
    events: Sequence[EncodedEvent],
    tombstones: Sequence[Tombstone],
    now: datetime,
) -> None:
    message = build_message(header, tombstones, events, created_at=now)
    base = header.of(events).watermark.epoch.base
    writer.add(
        message.body,
        epoch=header.of(events).watermark.epoch.epoch,
        sequences=[event.sequence - base for event in events],
        tombstones=len(tombstones),
    )


def _chunks(tombstones: Sequence[Tombstone]) -> Iterator[Sequence[Tombstone]]:
    for begin in range(0, len(tombstones), TOMBSTONES_PER_LINE):
        yield tombstones[begin : begin + TOMBSTONES_PER_LINE]


def _ranges(exported: Sequence[int], reader: PendingReader) -> list[KeyRange]:
    """Return the exported keys, which are in order, as ranges that hold nothing else that may yet be sent.

    Asked for after the export: whatever was settled by now is settled for good.
    """
    if not exported:
        return []
    first, last = exported[0], exported[-1]
    others = (key for key in reader.unsettled_keys(first, last) if not _holds(exported, key))
    edges = [first - 1, *others, last + 1]
    return [(a + 1, b - 1) for a, b in pairwise(edges) if a + 1 <= b - 1]


def _holds(exported: Sequence[int], key: int) -> bool:
    place = bisect_left(exported, key)
    return place < len(exported) and exported[place] == key
