"""What every outbox does, whatever it is made of: the same tests on SQLite and on the fake in memory."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import OutboxFull, SubmissionIdReused
from gateway.messages import (
    Classification,
    Command,
    Delivery,
    EventState,
    IdReuse,
    ModelIdentity,
    PendingSpan,
    Prediction,
    Reading,
    Refusal,
    Transport,
)
from gateway.outbox.sqlite_outbox import SqliteOutbox
from gateway.settings import OutboxSettings
from tests.fakes.outbox import SOME_TIME, MemoryOutbox, draft
from tests.fakes.outbox_parts import opened

ROWS_MAX = 40
REFUSALS_MAX = 3
A, B = "aa" * 32, "bb" * 32

Outbox = MemoryOutbox | SqliteOutbox


@pytest.fixture(params=["memory", "sqlite"])
async def outbox(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Outbox]:
    if request.param == "memory":
        yield MemoryOutbox(rows_max=ROWS_MAX, refusals_max=REFUSALS_MAX)
        return
    settings = OutboxSettings(rows_max=ROWS_MAX, refusals_max=REFUSALS_MAX)
    async with opened(tmp_path / "data", settings=settings) as real:
        yield real


async def sequences(outbox: Outbox) -> list[int]:
    return [event.sequence for event in await outbox.pending(after_sequence=0, limit=1000)]


# --- committing ---------------------------------------------------------------------------------------


async def test_a_receipt_says_what_was_committed(outbox: Outbox) -> None:
    receipt = await outbox.commit([draft("a-1", values_json='{"t":1}')])
    assert (receipt.submission_id, receipt.device_id, receipt.duplicate) == ("a-1", "device-1", False)
    (item,) = receipt.items
    assert (item.sequence, item.item_id, item.id_reused) == (1, "a-1", False)
    assert (item.received_at, item.result) == (SOME_TIME, Reading(values_json='{"t":1}'))
    assert item.epoch == (await outbox.state()).epoch.epoch


async def test_sequences_count_up_without_gaps(outbox: Outbox) -> None:
    receipts = [await outbox.commit([draft(f"a-{n}")]) for n in range(5)]
    assert [receipt.sequence for receipt in receipts] == [1, 2, 3, 4, 5]


async def test_an_array_is_one_receipt_with_an_item_for_each_element(outbox: Outbox) -> None:
    receipt = await outbox.commit([draft("a", item=n, values_json=f'{{"n":{n}}}') for n in range(3)])
    assert [(item.sequence, item.item_id) for item in receipt.items] == [(1, "a/0"), (2, "a/1"), (3, "a/2")]
    assert receipt.sequence == 1


async def test_a_classification_comes_back_exactly(outbox: Outbox) -> None:
    model = ModelIdentity(name="fruit", model_sha256=A, labels_sha256=B, runtime="litert")
    result = Classification(
        predictions=(
            Prediction(label='ripe "é"', probability=0.1 + 0.2),
            Prediction(label="unripe", probability=1e-8),
        ),
        model=model,
        image_format="JPEG",
        image_width=640,
        image_height=480,
        decode_ms=1.25,
        preprocess_ms=2.5,
        inference_ms=1 / 3,
    )
    from dataclasses import replace

    captured_at = SOME_TIME + timedelta(microseconds=1)
    await outbox.commit([replace(draft("a-1"), result=result, captured_at=captured_at)])
    event = await outbox.find_event("device-1", "a-1")
    assert event is not None
    assert (event.result, event.captured_at, event.kind) == (result, captured_at, "classification")


# --- redelivery ---------------------------------------------------------------------------------------


async def test_a_redelivery_stores_nothing_and_returns_the_first_receipt(outbox: Outbox) -> None:
    first = await outbox.commit([draft("a-1", payload_sha256=A)])
    again = await outbox.commit([draft("a-1", payload_sha256=A, received_at=SOME_TIME + timedelta(hours=1))])
    assert again.duplicate
    assert again.items == first.items
    assert await sequences(outbox) == [1]


async def test_recall_returns_the_first_receipt_of_a_redelivery(outbox: Outbox) -> None:
    first = await outbox.commit([draft("a", item=n, payload_sha256=A) for n in range(3)])
    recalled = await outbox.recall("device-1", "a", A)
    assert recalled is not None
    assert recalled.duplicate
    assert recalled.items == first.items


@pytest.mark.parametrize(
    ("device", "submission", "payload"), [("d2", "a-1", A), ("device-1", "a-2", A), ("device-1", "a-1", B)]
)
async def test_recall_knows_only_the_same_device_id_and_bytes(
    outbox: Outbox, device: str, submission: str, payload: str
) -> None:
    await outbox.commit([draft("a-1", payload_sha256=A)])
    assert await outbox.recall(device, submission, payload) is None


def delivered_as(key: str, *, repeated: bool = False) -> Delivery:
    return Delivery(key=key, repeated=repeated)


async def test_a_repeated_delivery_without_ids_stores_nothing_and_returns_the_first_receipt(outbox: Outbox) -> None:
    first = await outbox.commit([draft("minted-1", payload_sha256=A, delivery=delivered_as("c/s/7/t"))])
    again = await outbox.commit([draft("minted-2", payload_sha256=A, delivery=delivered_as("c/s/7/t", repeated=True))])
    assert again.duplicate
    assert again.items == first.items
    recalled = await outbox.recall_delivery("c/s/7/t", A)
    assert recalled is not None
    assert recalled.items == first.items


async def test_a_delivery_that_is_not_repeated_is_a_new_event_even_with_equal_bytes(outbox: Outbox) -> None:
    await outbox.commit([draft("minted-1", payload_sha256=A, delivery=delivered_as("c/s/7/t"))])
    await outbox.commit([draft("minted-2", payload_sha256=A, delivery=delivered_as("c/s/7/t"))])
    assert await sequences(outbox) == [1, 2]
    recalled = await outbox.recall_delivery("c/s/7/t", A)
    assert recalled is not None
    assert recalled.sequence == 2


async def test_a_repeated_delivery_of_other_bytes_or_another_name_is_a_new_event(outbox: Outbox) -> None:
    await outbox.commit([draft("minted-1", payload_sha256=A, delivery=delivered_as("c/s/7/t"))])
    await outbox.commit([draft("minted-2", payload_sha256=B, delivery=delivered_as("c/s/7/t", repeated=True))])
    await outbox.commit([draft("minted-3", payload_sha256=B, delivery=delivered_as("c/s/8/t", repeated=True))])
    assert await sequences(outbox) == [1, 2, 3]


async def test_the_same_id_of_another_device_is_another_event(outbox: Outbox) -> None:
    await outbox.commit([draft("a-1", device_id="d1")])
    receipt = await outbox.commit([draft("a-1", device_id="d2")])
    assert (receipt.duplicate, receipt.items[0].id_reused, receipt.sequence) == (False, False, 2)


async def test_an_id_reused_for_other_bytes_is_rejected_where_asked(outbox: Outbox) -> None:
    await outbox.commit([draft("a-1", payload_sha256=A)])
    with pytest.raises(SubmissionIdReused):
        await outbox.commit([draft("a-1", payload_sha256=B, on_id_reuse=IdReuse.REJECT)])
    assert await sequences(outbox) == [1]
    assert (await outbox.commit([draft("a-2")])).sequence == 2


async def test_an_id_reused_for_other_bytes_is_a_marked_event_elsewhere(outbox: Outbox) -> None:
    await outbox.commit([draft("a-1", payload_sha256=A)])
    receipt = await outbox.commit([draft("a-1", payload_sha256=B, on_id_reuse=IdReuse.NEW_EVENT)])
    assert (receipt.duplicate, receipt.items[0].id_reused, receipt.sequence) == (False, True, 2)
    again = await outbox.commit([draft("a-1", payload_sha256=B)])
    assert again.duplicate
    assert again.items == receipt.items
    oldest = await outbox.commit([draft("a-1", payload_sha256=A)])
    assert (oldest.duplicate, oldest.sequence) == (True, 1)


async def test_of_concurrent_commits_of_one_id_one_stores_and_the_rest_are_duplicates(outbox: Outbox) -> None:
    receipts = await asyncio.gather(*(outbox.commit([draft("a-1", payload_sha256=A)]) for _ in range(8)))
    assert sorted(receipt.duplicate for receipt in receipts) == [False] + [True] * 7
    assert {receipt.sequence for receipt in receipts} == {1}
    assert await sequences(outbox) == [1]


async def test_concurrent_commits_take_every_sequence_once(outbox: Outbox) -> None:
    receipts = await asyncio.gather(*(outbox.commit([draft(f"a-{n}")]) for n in range(ROWS_MAX)))
    assert sorted(receipt.sequence for receipt in receipts) == list(range(1, ROWS_MAX + 1))


# --- caps ---------------------------------------------------------------------------------------------


async def test_a_full_outbox_refuses_and_stores_nothing(outbox: Outbox) -> None:
    for n in range(ROWS_MAX):
        await outbox.commit([draft(f"a-{n}")])
    with pytest.raises(OutboxFull):
        await outbox.commit([draft("one-more")])
    assert (await outbox.state()).pending == ROWS_MAX
    assert await outbox.find_event("device-1", "one-more") is None


async def test_a_full_outbox_still_recognises_a_redelivery(outbox: Outbox) -> None:
    for n in range(ROWS_MAX):
        await outbox.commit([draft(f"a-{n}")])
    assert (await outbox.commit([draft("a-0")])).duplicate


async def test_an_array_that_does_not_fit_is_refused_whole(outbox: Outbox) -> None:
    await outbox.commit([draft("a-1")])
    with pytest.raises(OutboxFull):
        await outbox.commit([draft("big", item=n) for n in range(ROWS_MAX)])
    assert await sequences(outbox) == [1]
    assert (await outbox.commit([draft("a-2")])).sequence == 2


async def test_refusals_are_kept_up_to_their_cap(outbox: Outbox) -> None:
    for n in range(REFUSALS_MAX + 2):
        refusal = Refusal(
            device_id="d", transport=Transport.HTTP, refused_at=SOME_TIME, reason="not_an_image", detail=f"{n} \ud800"
        )
        await outbox.record_refusal(refusal)
    state = await outbox.state()
    assert (state.refusals, state.pending, state.sequence_high) == (REFUSALS_MAX, 0, 0)


# --- the forwarder's side -----------------------------------------------------------------------------


async def test_pending_is_oldest_first_above_a_sequence_and_limited(outbox: Outbox) -> None:
    for n in range(5):
        await outbox.commit([draft(f"a-{n}")])
    events = await outbox.pending(after_sequence=1, limit=3)
    assert [(event.sequence, event.item_id) for event in events] == [(2, "a-1"), (3, "a-2"), (4, "a-3")]


async def test_pending_is_read_by_priority_between_two_sequences_in_either_direction(outbox: Outbox) -> None:
    for n, priority in enumerate((5, 0, 5, 0, 5, 5, 9), 1):
        await outbox.commit([draft(f"a-{n}", priority=priority)])

    async def read(**which: Any) -> list[tuple[int, int]]:
        return [(event.sequence, event.priority) for event in await outbox.pending(**which)]

    assert await read(limit=9) == [(1, 5), (3, 5), (5, 5), (6, 5)]
    assert await read(limit=9, priority=0) == [(2, 0), (4, 0)]
    assert await read(limit=9, after_sequence=1, before_sequence=6) == [(3, 5), (5, 5)]
    assert await read(limit=2, before_sequence=6, newest_first=True) == [(5, 5), (3, 5)]
    assert await read(limit=9, after_sequence=3, newest_first=True) == [(6, 5), (5, 5)]


async def test_spans_tell_where_something_is_pending(outbox: Outbox) -> None:
    assert await outbox.pending_spans() == ()
    for n, priority in enumerate((5, 9, 5, 9, 5), 1):
        await outbox.commit([draft(f"a-{n}", priority=priority)])
    await outbox.mark_delivered([1, 4], [])
    assert await outbox.pending_spans() == (
        PendingSpan(priority=5, first_key=3, last_key=5),
        PendingSpan(priority=9, first_key=2, last_key=2),
    )


async def test_pending_ones_are_found_by_their_sequences(outbox: Outbox) -> None:
    for n in range(4):
        await outbox.commit([draft(f"a-{n}", priority=n)])
    await outbox.mark_delivered([2], [])
    assert [event.sequence for event in await outbox.pending_among([4, 2, 1, 99])] == [1, 4]


async def test_delivered_events_are_not_pending_any_more(outbox: Outbox) -> None:
    for n in range(3):
        await outbox.commit([draft(f"a-{n}")])
    await outbox.mark_delivered([1, 3], [])
    assert await sequences(outbox) == [2]
    state = await outbox.state()
    assert (state.pending, state.delivered, state.dead, state.sequence_high) == (1, 2, 0, 3)


async def test_marking_delivered_twice_or_what_is_not_there_changes_nothing(outbox: Outbox) -> None:
    await outbox.commit([draft("a-1")])
    await outbox.mark_delivered([1], [])
    await outbox.mark_delivered([1, 99], [7])
    state = await outbox.state()
    assert (state.pending, state.delivered) == (0, 1)


async def test_a_dead_letter_keeps_its_reason_and_leaves_a_tombstone(outbox: Outbox) -> None:
    await outbox.commit([draft("a-1")])
    await outbox.mark_dead(1, "too_large")
    event = await outbox.find_event("device-1", "a-1")
    assert event is not None
    assert (event.state, event.dead_reason) == (EventState.DEAD, "too_large")
    (tombstone,) = await outbox.pending_tombstones(limit=10)
    assert (tombstone.first_sequence, tombstone.last_sequence, tombstone.reason) == (1, 1, "too_large")
    assert tombstone.epoch == (await outbox.state()).epoch.epoch


async def test_what_is_not_pending_does_not_die(outbox: Outbox) -> None:
    await outbox.commit([draft("a-1")])
    await outbox.mark_delivered([1], [])
    await outbox.mark_dead(1, "too_large")
    await outbox.mark_dead(99, "too_large")
    state = await outbox.state()
    assert (state.delivered, state.dead, state.tombstones_pending) == (1, 0, 0)


async def test_neighbouring_tombstones_of_one_reason_coalesce(outbox: Outbox) -> None:
    for n in range(6):
        await outbox.commit([draft(f"a-{n}")])
    for sequence, reason in ((1, "x"), (3, "x"), (2, "x"), (4, "y"), (6, "x")):
        await outbox.mark_dead(sequence, reason)
    found = {(t.first_sequence, t.last_sequence, t.reason) for t in await outbox.pending_tombstones(limit=10)}
    assert found == {(1, 3, "x"), (4, 4, "y"), (6, 6, "x")}
    assert (await outbox.state()).tombstones_pending == 3


async def test_an_acknowledgement_of_a_narrower_tombstone_does_not_count_for_the_wider(outbox: Outbox) -> None:
    for n in range(2):
        await outbox.commit([draft(f"a-{n}")])
    await outbox.mark_dead(1, "x")
    (in_flight,) = await outbox.pending_tombstones(limit=1)
    await outbox.mark_dead(2, "x")
    await outbox.mark_delivered([], [in_flight.tombstone_id])
    (wider,) = await outbox.pending_tombstones(limit=10)
    assert (wider.first_sequence, wider.last_sequence) == (1, 2)


async def test_a_delivered_tombstone_is_not_sent_again_nor_grown(outbox: Outbox) -> None:
    for n in range(2):
        await outbox.commit([draft(f"a-{n}")])
    await outbox.mark_dead(1, "x")
    (first,) = await outbox.pending_tombstones(limit=1)
    await outbox.mark_delivered([], [first.tombstone_id])
    await outbox.mark_dead(2, "x")
    (second,) = await outbox.pending_tombstones(limit=10)
    assert (second.first_sequence, second.last_sequence) == (2, 2)
    assert second.tombstone_id != first.tombstone_id


async def test_requeued_dead_letters_are_pending_again_without_tombstone(outbox: Outbox) -> None:
    for n in range(3):
        await outbox.commit([draft(f"a-{n}")])
        await outbox.mark_dead(n + 1, "x")
    assert await outbox.requeue([2, 2, 99]) == 1
    (event,) = await outbox.pending(after_sequence=0, limit=10)
    assert event.sequence == 2
    found_event = await outbox.find_event(event.device_id, event.item_id)
    assert found_event is not None
    assert found_event.dead_reason is None
    found = [(t.first_sequence, t.last_sequence) for t in await outbox.pending_tombstones(limit=10)]
    assert sorted(found) == [(1, 1), (3, 3)]


async def test_requeue_without_sequences_takes_every_dead_letter(outbox: Outbox) -> None:
    for n in range(3):
        await outbox.commit([draft(f"a-{n}")])
    await outbox.mark_dead(1, "x")
    await outbox.mark_dead(3, "y")
    assert await outbox.requeue() == 2
    state = await outbox.state()
    assert (state.pending, state.dead, state.tombstones_pending) == (3, 0, 0)


async def test_state_names_the_oldest_pending_event(outbox: Outbox) -> None:
    assert (await outbox.state()).oldest_pending_received_at is None
    later = datetime(2026, 3, 2, tzinfo=UTC)
    await outbox.commit([draft("a-1")])
    await outbox.commit([draft("a-2", received_at=later)])
    assert (await outbox.state()).oldest_pending_received_at == SOME_TIME
    await outbox.mark_delivered([1], [])
    assert (await outbox.state()).oldest_pending_received_at == later


# --- the signal ---------------------------------------------------------------------------------------


async def no_work(outbox: Outbox) -> bool:
    waiting = asyncio.ensure_future(outbox.wait_for_work())
    await asyncio.sleep(0.02)
    idle = not waiting.done()
    waiting.cancel()
    return idle


async def test_work_is_signalled_once_for_what_was_committed(outbox: Outbox) -> None:
    assert await no_work(outbox)
    await outbox.commit([draft("a-1")])
    await outbox.commit([draft("a-2")])
    await outbox.wait_for_work()
    assert await no_work(outbox)


async def test_a_waiting_forwarder_is_woken_by_a_commit(outbox: Outbox) -> None:
    waiting = asyncio.ensure_future(outbox.wait_for_work())
    await asyncio.sleep(0)
    await outbox.commit([draft("a-1")])
    await waiting


async def test_redeliveries_and_acknowledgements_are_no_work(outbox: Outbox) -> None:
    await outbox.commit([draft("a-1")])
    await outbox.wait_for_work()
    await outbox.commit([draft("a-1")])
    await outbox.mark_delivered([1], [])
    assert await no_work(outbox)


async def test_tombstones_and_requeues_are_work(outbox: Outbox) -> None:
    await outbox.commit([draft("a-1")])
    await outbox.wait_for_work()
    await outbox.mark_dead(1, "x")
    await outbox.wait_for_work()
    await outbox.requeue([1])
    await outbox.wait_for_work()


# --- reading and commands -----------------------------------------------------------------------------


async def test_an_item_of_an_array_is_found_by_its_suffix(outbox: Outbox) -> None:
    await outbox.commit([draft("abc", item=n, values_json=f'{{"n":{n}}}') for n in range(3)])
    event = await outbox.find_event("device-1", "abc/2")
    assert event is not None
    assert (event.sequence, event.item_id) == (3, "abc/2")
    for unknown in ("abc", "abc/3", "abc/02", "abc/²", "abc/", "/2"):
        assert await outbox.find_event("device-1", unknown) is None


async def test_an_id_with_a_slash_of_its_own_is_found_and_the_newest_wins(outbox: Outbox) -> None:
    await outbox.commit([draft("abc", item=0)])
    await outbox.commit([draft("abc/0", payload_sha256=B)])
    event = await outbox.find_event("device-1", "abc/0")
    assert event is not None
    assert (event.sequence, event.item) == (2, None)


async def test_events_of_other_devices_are_not_found(outbox: Outbox) -> None:
    await outbox.commit([draft("a-1", device_id="d1")])
    assert await outbox.find_event("d2", "a-1") is None


async def test_a_command_is_stored_once(outbox: Outbox) -> None:
    command = Command(command_id="c-1", received_at=SOME_TIME, body=b"\x00on", properties={"k": "v"})
    assert await outbox.store_command(command)
    assert not await outbox.store_command(
        Command(command_id="c-1", received_at=SOME_TIME + timedelta(seconds=1), body=b"off", properties={})
    )


async def test_a_payload_at_two_crashes_is_poison(outbox: Outbox) -> None:
    await outbox.record_crash([A, B])
    assert not outbox.is_poison(A)
    await outbox.record_crash([A])
    assert outbox.is_poison(A)
    assert not outbox.is_poison(B)
