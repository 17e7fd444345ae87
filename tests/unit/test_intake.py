"""The one door: what a Receipt means, who is refused, what is bounded."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256

import pytest

from gateway.errors import (
    DiskUnavailable,
    IntakeFull,
    NotAnImage,
    OutboxFull,
    PayloadTooLarge,
    PoisonPayload,
    Stopping,
    SubmissionIdReused,
    SubmitTimeout,
)
from gateway.intake import STORE_PROBE_S, GatewayIntake, IntakeLimits
from gateway.messages import (
    ClockReading,
    ClockState,
    Delivery,
    EventState,
    IdReuse,
    Image,
    Reading,
    Readings,
    Stamp,
    Submission,
    Transport,
)
from gateway.metrics import Metrics
from gateway.policies import Policies
from gateway.settings import PolicyRuleSettings
from tests.fakes.classifier import FakeClassifier
from tests.fakes.outbox import MemoryOutbox


class HandClock:
    def __init__(self) -> None:
        self.seconds = 100.0
        self.is_synced = True

    def now(self) -> datetime:
        return datetime(2026, 11, 23, 12, 0, tzinfo=UTC)

    def monotonic(self) -> float:
        return self.seconds

    def stamp(self) -> Stamp:
        return Stamp(reading=ClockReading(wall=self.now(), boottime_s=self.seconds), is_synced=self.is_synced)

    def wall_clock_trusted(self) -> bool:
        return self.is_synced


class SpyJournal:
    def __init__(self) -> None:
        self.named: list[str] = []

    def working_on(self, payload_sha256: str) -> AbstractContextManager[None]:
        self.named.append(payload_sha256)
        return nullcontext()


class Desk:
    """An intake with everything around it in reach."""

    def __init__(
        self,
        *,
        is_poison: Callable[[str], bool] = lambda _: False,
        rules: Sequence[PolicyRuleSettings] = (),
        **limits: float,
    ) -> None:
        self.store = MemoryOutbox()
        self.classifier = FakeClassifier()
        self.clock = HandClock()
        self.journal = SpyJournal()
        self.metrics = Metrics()
        figures = {
            "in_flight_max": 4,
            "in_flight_bytes_max": 1000,
            "image_bytes_max": 500,
            "reading_bytes_max": 100,
            "submit_timeout_s": 5,
        } | limits
        ids = iter(range(1000))
        self.intake = GatewayIntake(
            store=self.store,
            classifier=self.classifier,
            limits=IntakeLimits(**figures),  # type: ignore[arg-type]
            journal=self.journal,
            is_poison=is_poison,
            mint_id=lambda: f"minted-{next(ids)}",
            clock=self.clock,
            timekeeper=self.clock,
            meter=self.metrics,
            policies=Policies(rules),
        )
        self.intake.open()

    def metric(self, line_start: str) -> float:
        lines = self.metrics.exposition().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(line_start))


def picture(
    data: bytes = b"jpeg", *, submission_id: str | None = None, on_id_reuse: IdReuse = IdReuse.NEW_EVENT
) -> Submission:
    return Submission(
        device_id="cam-1",
        transport=Transport.HTTP,
        payload=Image(data=data),
        submission_id=submission_id,
        on_id_reuse=on_id_reuse,
    )


def readings(*values: str, is_array: bool = True, data: bytes = b"[...]", submission_id: str = "r1") -> Submission:
    items = tuple(Reading(values_json=value) for value in values)
    return Submission(
        device_id="sensor-1",
        transport=Transport.HTTP,
        payload=Readings(data=data, items=items, is_array=is_array),
        submission_id=submission_id,
    )


# --- what is committed ---


async def test_receipt_is_for_a_stored_event_with_the_payloads_hash() -> None:
    desk = Desk()
    receipt = await desk.intake.submit(picture(b"jpeg"))
    assert receipt.sequence == 1
    assert not receipt.duplicate
    stored = desk.store.events[1]
    assert (stored.device_id, stored.submission_id, stored.payload_bytes) == ("cam-1", "minted-0", 4)
    assert stored.payload_sha256 == sha256(b"jpeg").hexdigest()


@pytest.mark.parametrize(("is_synced", "clock"), [(True, ClockState.SYNCED), (False, ClockState.UNSYNCED)])
async def test_event_is_stamped_when_it_comes_in_and_says_what_the_clock_was_worth(
    is_synced: bool, clock: ClockState
) -> None:
    desk = Desk()
    desk.clock.is_synced = is_synced
    desk.classifier.hold = True
    submitting = asyncio.create_task(desk.intake.submit(picture()))
    await asyncio.sleep(0.01)
    desk.clock.seconds += 20
    desk.classifier.let_go.set()
    receipt = await submitting
    (draft,) = desk.store.drafts
    assert (draft.boottime_s, draft.clock, receipt.items[0].clock) == (100.0, clock, clock)


async def test_large_payload_is_hashed_the_same_off_the_loop() -> None:
    desk = Desk(image_bytes_max=1_000_000)
    data = b"x" * 600_000
    await desk.intake.submit(picture(data))
    assert desk.store.events[1].payload_sha256 == sha256(data).hexdigest()


async def test_array_of_readings_is_one_submission_with_numbered_items() -> None:
    desk = Desk()
    receipt = await desk.intake.submit(readings('{"t":1}', '{"t":2}'))
    assert [item.item_id for item in receipt.items] == ["r1/0", "r1/1"]
    assert [item.sequence for item in receipt.items] == [1, 2]


async def test_single_reading_keeps_its_id() -> None:
    desk = Desk()
    receipt = await desk.intake.submit(readings('{"t":1}', is_array=False))
    assert [item.item_id for item in receipt.items] == ["r1"]


# --- redelivery ---


async def test_redelivery_returns_the_first_receipt_without_classifying_again() -> None:
    desk = Desk()
    first = await desk.intake.submit(picture(b"jpeg", submission_id="a"))
    again = await desk.intake.submit(picture(b"jpeg", submission_id="a"))
    assert again.duplicate
    assert again.items == first.items
    assert desk.classifier.seen == [b"jpeg"]


async def test_same_id_with_other_bytes_is_a_new_event_marked_reused() -> None:
    desk = Desk()
    await desk.intake.submit(picture(b"one", submission_id="a"))
    second = await desk.intake.submit(picture(b"two", submission_id="a"))
    assert not second.duplicate
    assert second.items[0].id_reused


async def test_same_id_with_other_bytes_is_refused_where_the_device_was_promised_so() -> None:
    desk = Desk()
    await desk.intake.submit(picture(b"one", submission_id="a"))
    with pytest.raises(SubmissionIdReused):
        await desk.intake.submit(picture(b"two", submission_id="a", on_id_reuse=IdReuse.REJECT))
    assert len(desk.store.events) == 1


async def test_equal_pictures_without_ids_are_two_events() -> None:
    desk = Desk()
    await desk.intake.submit(picture(b"same"))
    await desk.intake.submit(picture(b"same"))
    assert len(desk.store.events) == 2


async def test_repeated_delivery_without_an_id_is_recognised_before_the_classifier() -> None:
    desk = Desk()
    first = await desk.intake.submit(replace(picture(b"jpeg"), delivery=Delivery(key="k", repeated=False)))
    again = await desk.intake.submit(replace(picture(b"jpeg"), delivery=Delivery(key="k", repeated=True)))
    assert again.duplicate
    assert again.items == first.items
    assert desk.classifier.seen == [b"jpeg"]


async def test_concurrent_redelivery_makes_one_event() -> None:
    desk = Desk()
    receipts = await asyncio.gather(*(desk.intake.submit(picture(b"jpeg", submission_id="a")) for _ in range(4)))
    assert len(desk.store.events) == 1
    assert sorted(receipt.duplicate for receipt in receipts) == [False, True, True, True]


# --- refusals ---


async def test_refused_picture_is_noted_and_not_stored() -> None:
    desk = Desk()
    with pytest.raises(NotAnImage):
        await desk.intake.submit(picture(b"not an image"))
    assert desk.store.events == {}
    assert [(note.device_id, note.reason) for note in desk.store.refusals] == [("cam-1", "not_an_image")]
    assert desk.metric('gateway_refusals_total{reason="not_an_image"') == 1


async def test_refusal_reaches_the_device_even_when_it_cannot_be_noted() -> None:
    desk = Desk()
    desk.store.disk_fails = True
    with pytest.raises(NotAnImage):
        await desk.intake.submit(picture(b"not an image"))


async def test_oversized_payloads_are_refused_before_the_classifier() -> None:
    desk = Desk()
    with pytest.raises(PayloadTooLarge, match=r"limits\.image_bytes_max = 500"):
        await desk.intake.submit(picture(b"x" * 501))
    with pytest.raises(PayloadTooLarge, match=r"limits\.reading_bytes_max = 100"):
        await desk.intake.submit(readings("{}", data=b"x" * 101))
    assert desk.classifier.seen == []


async def test_payload_that_crashed_the_gateway_before_is_refused() -> None:
    bad = sha256(b"killer").hexdigest()
    desk = Desk(is_poison=lambda digest: digest == bad)
    with pytest.raises(PoisonPayload):
        await desk.intake.submit(picture(b"killer"))
    assert desk.classifier.seen == []
    await desk.intake.submit(picture(b"harmless"))


async def test_picture_in_work_is_named_in_the_crash_journal_and_readings_are_not() -> None:
    desk = Desk()
    await desk.intake.submit(picture(b"jpeg"))
    await desk.intake.submit(readings("{}"))
    assert desk.journal.named == [sha256(b"jpeg").hexdigest()]


# --- not now ---


async def test_closed_intake_asks_to_send_again_later() -> None:
    desk = Desk()
    desk.intake.close()
    with pytest.raises(Stopping):
        desk.intake.reserve()
    assert desk.intake.obstacles() == ("not_accepting",)


async def test_places_are_bounded_and_come_back() -> None:
    desk = Desk(in_flight_max=2)
    first, _second = desk.intake.reserve(), desk.intake.reserve()
    with pytest.raises(IntakeFull, match=r"limits\.in_flight_max"):
        desk.intake.reserve()
    first.release()
    first.release()  # harmless
    desk.intake.reserve()
    with pytest.raises(IntakeFull):
        desk.intake.reserve()


async def test_bodies_that_trickle_in_give_way_to_another_address_and_no_longer_count() -> None:
    desk = Desk(in_flight_max=3, in_flight_bytes_max=100)
    asked: list[int] = []
    for number in range(3):
        desk.intake.reserve(30, source="slow", give_way=partial(asked.append, number))
    desk.clock.seconds += 60
    with pytest.raises(IntakeFull):
        desk.intake.reserve(1, source="slow", give_way=lambda: None)
    desk.intake.reserve(40)  # complete, as those of other protocols are: place and bytes of one that is not
    assert asked == [0]
    quick = desk.intake.reserve(20, source="quick", give_way=lambda: asked.append(9))
    quick.complete()
    quick.grow(10)
    assert asked == [0, 1]
    assert desk.intake.unfinished.make_room_for("third", 1000) is False


async def test_bytes_in_flight_are_bounded_also_while_growing() -> None:
    desk = Desk(in_flight_bytes_max=1000)
    place = desk.intake.reserve(600)
    with pytest.raises(IntakeFull, match=r"limits\.memory_budget_mb"):
        desk.intake.reserve(401)
    place.grow(400)
    with pytest.raises(IntakeFull):
        place.grow(1)
    place.release()
    desk.intake.reserve(1000).release()
    assert desk.metric("gateway_intake_in_flight_bytes ") == 0


async def test_refused_reservation_leaks_neither_place_nor_bytes() -> None:
    desk = Desk(in_flight_max=1, in_flight_bytes_max=10)
    with pytest.raises(IntakeFull):
        desk.intake.reserve(11)
    desk.intake.reserve(10).release()
    await asyncio.wait_for(desk.intake.drained(), 1)


async def test_drained_waits_for_the_last_place() -> None:
    desk = Desk()
    place = desk.intake.reserve()
    waiting = asyncio.create_task(desk.intake.drained())
    await asyncio.sleep(0)
    assert not waiting.done()
    place.release()
    await asyncio.wait_for(waiting, 1)


async def test_submission_that_takes_too_long_is_to_be_sent_again() -> None:
    desk = Desk(submit_timeout_s=0.01)
    desk.classifier.hold = True
    with pytest.raises(SubmitTimeout):
        await desk.intake.submit(picture())
    assert desk.store.events == {}
    assert desk.store.refusals == []


async def test_failing_store_spares_the_classifier_until_the_next_probe() -> None:
    desk = Desk()
    desk.store.disk_fails = True
    with pytest.raises(DiskUnavailable):
        await desk.intake.submit(picture(b"1"))
    with pytest.raises(DiskUnavailable):
        await desk.intake.submit(picture(b"2"))
    assert desk.classifier.seen == [b"1"]
    assert desk.intake.obstacles() == ("disk_unavailable",)

    desk.store.disk_fails = False
    desk.clock.seconds += STORE_PROBE_S
    await desk.intake.submit(picture(b"3"))
    await desk.intake.submit(picture(b"4"))
    assert desk.intake.obstacles() == ()


async def test_redelivery_is_answered_even_while_the_outbox_is_full() -> None:
    desk = Desk()
    await desk.intake.submit(picture(b"1", submission_id="a"))
    desk.store.rows_max = 1
    with pytest.raises(OutboxFull):
        await desk.intake.submit(picture(b"2", submission_id="b"))
    assert (await desk.intake.submit(picture(b"1", submission_id="a"))).duplicate


async def test_policies_change_what_is_sent_and_nothing_of_what_the_device_is_answered() -> None:
    rule = PolicyRuleSettings(
        priority=2, ttl_h=1, min_probability=1.0, on_change=True, summary="besides", summary_window_s=60
    )
    plain, ruled = Desk(), Desk(rules=[rule])
    answers = [await desk.intake.submit(picture(submission_id="p1")) for desk in (plain, ruled)]
    assert answers[0] == answers[1]
    (draft,) = ruled.store.drafts
    assert (draft.priority, draft.ttl_s, draft.fate) == (2, 3600, EventState.FILTERED)
    assert draft.on_change is not None
    assert draft.summarise is not None


async def test_no_policy_holds_back_the_gateways_own_word() -> None:
    desk = Desk(rules=[PolicyRuleSettings(priority=9, on_change=True, summary="instead")])
    await desk.intake.submit(replace(readings('{"status":"silent"}'), is_notice=True))
    (draft,) = desk.store.drafts
    assert (draft.priority, draft.fate, draft.on_change, draft.summarise) == (5, EventState.PENDING, None, None)
