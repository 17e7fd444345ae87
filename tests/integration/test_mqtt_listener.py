"""The listener over real sockets: what is acknowledged, when, and in which order."""

import asyncio
import functools
import json
from collections.abc import Callable

import pytest

from adapters.mqtt.codec_packets import (
    V3_1_1,
    V5,
    Disconnect,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
    Subscription,
)
from adapters.mqtt.codec_properties import Properties
from adapters.mqtt.codec_reasons import ReasonCode
from adapters.mqtt.contract import Inbound, Outcome
from tests.fakes.ingest import LATER, REFUSED, FakeIngest
from tests.fakes.mqtt_device import VERSIONS, RawDevice
from tests.fakes.mqtt_listener import listening

RESULTS = "devices/cam-1/results"

both_versions = pytest.mark.parametrize("version", VERSIONS)


async def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 -- the things waited for have no event
            await asyncio.sleep(0.01)


# --- acknowledgements ---


@both_versions
async def test_puback_leaves_only_after_the_commit(version: int) -> None:
    async with listening() as under, await RawDevice.connect(under.port, version=version) as device:
        under.ingest.gate.clear()
        device.publish(b"one")
        await until(lambda: under.ingest.taken)
        assert not under.ingest.stored
        receiving = asyncio.create_task(device.receive())
        done, _ = await asyncio.wait({receiving}, timeout=0.1)
        assert not done
        under.ingest.gate.set()
        assert await receiving == Puback(packet_id=1)
        assert under.ingest.payloads == [b"one"]


@both_versions
async def test_qos_2_is_taken_once_and_pubrec_leaves_after_the_commit(version: int) -> None:
    async with listening() as under, await RawDevice.connect(under.port, version=version) as device:
        device.publish(b"two", qos=2, packet_id=7)
        assert await device.receive() == Pubrec(packet_id=7)
        assert under.ingest.payloads == [b"two"]
        device.publish(b"two", qos=2, packet_id=7, dup=True)
        assert await device.receive() == Pubrec(packet_id=7)
        device.send(Pubrel(packet_id=7))
        assert await device.receive() == Pubcomp(packet_id=7)
        assert len(under.ingest.taken) == 1


async def test_unknown_pubrel_gets_pubcomp() -> None:
    async with listening() as under:
        async with await RawDevice.connect(under.port) as device:
            device.send(Pubrel(packet_id=9))
            assert await device.receive() == Pubcomp(packet_id=9)
        async with await RawDevice.connect(under.port, version=V5) as device:
            device.send(Pubrel(packet_id=9))
            assert await device.receive() == Pubcomp(packet_id=9, code=ReasonCode.PACKET_IDENTIFIER_NOT_FOUND)


async def test_id_after_pubrel_is_a_new_message() -> None:
    async with listening() as under, await RawDevice.connect(under.port) as device:
        for payload in (b"first", b"second"):
            device.publish(payload, qos=2, packet_id=7)
            await device.receive()
            device.send(Pubrel(packet_id=7))
            await device.receive()
        assert under.ingest.payloads == [b"first", b"second"]


async def test_known_qos_2_id_without_dup_is_a_new_message() -> None:
    """A client that lost its count starts again at 1: its message must not vanish behind an old PUBREC."""
    async with listening() as under, await RawDevice.connect(under.port) as device:
        device.publish(b"first", qos=2, packet_id=1)
        await device.receive()
        device.publish(b"other", qos=2, packet_id=1)
        assert await device.receive() == Pubrec(packet_id=1)
        assert under.ingest.payloads == [b"first", b"other"]


async def test_acknowledgements_leave_in_order_of_arrival_though_commits_do_not() -> None:
    release = {name: asyncio.Event() for name in (b"1", b"2", b"3")}
    ingest = FakeIngest()
    take = ingest.take

    async def slow_take(inbound: Inbound) -> Outcome:
        await release[inbound.payload].wait()
        return await take(inbound)

    def has_stored(count: int) -> bool:
        return len(ingest.stored) == count

    ingest.take = slow_take  # type: ignore[method-assign]
    async with listening(ingest=ingest) as under, await RawDevice.connect(under.port) as device:
        for packet_id in (1, 2, 3):
            device.publish(b"%d" % packet_id, packet_id=packet_id, qos=2 if packet_id == 2 else 1)
        for done, name in enumerate((b"3", b"2", b"1")):
            release[name].set()
            await until(functools.partial(has_stored, done + 1))
        answers = [await device.receive() for _ in range(3)]
        assert ingest.payloads == [b"3", b"2", b"1"]
        assert answers == [Puback(packet_id=1), Pubrec(packet_id=2), Puback(packet_id=3)]


async def test_publishes_of_one_connection_are_taken_together() -> None:
    async with listening(in_flight_max=8) as under, await RawDevice.connect(under.port) as device:
        under.ingest.gate.clear()
        for packet_id in range(1, 21):
            device.publish(b"%d" % packet_id, packet_id=packet_id)
        await until(lambda: len(under.ingest.taken) == 8)
        under.ingest.gate.set()
        answers = [await device.receive() for _ in range(20)]
        assert answers == [Puback(packet_id=packet_id) for packet_id in range(1, 21)]
        assert under.ingest.concurrent_max == 8


async def test_qos_0_is_taken_and_not_answered() -> None:
    async with listening() as under, await RawDevice.connect(under.port) as device:
        device.publish(b"zero", qos=0)
        await device.ping()
        await until(lambda: under.ingest.payloads == [b"zero"])
        assert under.publishes("accepted", qos=0) == 1


@pytest.mark.parametrize("qos", [0, 1])
async def test_message_of_a_device_that_leaves_at_once_is_taken(qos: int) -> None:
    """mosquitto_pub publishes at QoS 0 and leaves; so does thrifty firmware, at any QoS."""
    async with listening() as under:
        device = await RawDevice.connect(under.port)
        device.publish(b"bye", qos=qos)
        await device.leave()
        await until(lambda: under.ingest.payloads == [b"bye"])


async def test_message_that_waits_and_whose_sender_was_cut_off_is_left_to_its_redelivery() -> None:
    """Nothing was promised, and taking it now would make two events where the next session is a new one."""
    async with listening(in_flight_max=2) as under, await RawDevice.connect(under.port, "busy") as busy:
        under.ingest.gate.clear()
        for packet_id in (1, 2):
            busy.publish(b"%d" % packet_id, packet_id=packet_id)
        await until(lambda: len(under.ingest.taken) == 2)
        device = await RawDevice.connect(under.port)
        device.publish(b"waits")
        await device.ping()
        device.abort()
        await until(lambda: under.disconnects("lost") == 1)
        under.ingest.gate.set()
        await busy.receive()
        async with await RawDevice.connect(under.port) as again:
            again.publish(b"waits", dup=True)
            assert await again.receive() == Puback(packet_id=1)
        assert under.ingest.payloads.count(b"waits") == 1


async def test_what_the_ingest_learns_of_a_publish() -> None:
    properties = Properties(user=(("id", "p-7"), ("other", "x")))
    async with listening() as under, await RawDevice.connect(under.port, "c-5", version=V5) as device:
        device.publish(b"x", packet_id=77, dup=True, properties=properties)
        await device.receive()
    inbound = under.ingest.taken[0]
    assert (inbound.client_id, inbound.topic, inbound.qos) == ("c-5", "devices/cam-1/readings", 1)
    assert (inbound.packet_id, inbound.dup, inbound.retain, inbound.device_id) == (77, True, False, None)
    assert inbound.user_properties == {"id": "p-7", "other": "x"}
    assert inbound.session


# --- refusals ---


async def test_refused_is_acknowledged_in_3_1_1_and_reported() -> None:
    async with listening(ingest=FakeIngest(answer=REFUSED)) as under, await RawDevice.connect(under.port) as device:
        assert await device.subscribe(RESULTS) == (1,)
        device.publish(b"no picture", packet_id=3)
        assert await device.receive() == Puback(packet_id=3)
        report = await device.receive()
        assert isinstance(report, Publish)
        assert report.topic == RESULTS
        assert json.loads(report.payload)["reason"] == "not_an_image"


@pytest.mark.parametrize("qos", [1, 2])
async def test_refused_is_told_with_a_reason_in_5_0(qos: int) -> None:
    async with (
        listening(ingest=FakeIngest(answer=REFUSED)) as under,
        await RawDevice.connect(under.port, version=V5) as device,
    ):
        device.publish(b"no picture", packet_id=3, qos=qos)
        answer = await device.receive()
        assert isinstance(answer, Puback if qos == 1 else Pubrec)
        assert answer.code == 0x99
        assert answer.properties.reason_string == "not_an_image: these bytes are no picture"
        device.send(Pubrel(packet_id=3))
        assert await device.receive() == Pubcomp(packet_id=3, code=ReasonCode.PACKET_IDENTIFIER_NOT_FOUND)


async def test_reason_string_is_left_out_for_a_client_that_wants_none() -> None:
    wants_none = Properties(request_problem_information=False)
    async with (
        listening(ingest=FakeIngest(answer=REFUSED)) as under,
        await RawDevice.connect(under.port, version=V5, properties=wants_none) as device,
    ):
        device.publish()
        assert await device.receive() == Puback(packet_id=1, code=0x99)


# --- later ---


async def test_held_message_is_tried_again_and_then_acknowledged() -> None:
    async with (
        listening(ingest=FakeIngest(script=[LATER, LATER, None])) as under,
        await RawDevice.connect(under.port) as device,
    ):
        device.publish(b"wait")
        assert await device.receive() == Puback(packet_id=1)
        assert len(under.ingest.taken) == 3
        assert under.publishes("held") == 1


async def test_socket_is_not_read_while_a_message_is_held() -> None:
    async with listening(ingest=FakeIngest(answer=LATER)) as under, await RawDevice.connect(under.port) as device:
        device.publish(b"1", packet_id=1)
        await until(lambda: under.publishes("held"))
        device.publish(b"2", packet_id=2)
        assert not await device.is_answered_within(0.3)
        assert {inbound.payload for inbound in under.ingest.taken} == {b"1"}
        under.ingest.answer = None
        answers = [await device.receive() for _ in range(3)]
        assert [one for one in answers if isinstance(one, Puback)] == [Puback(packet_id=1), Puback(packet_id=2)]


@both_versions
async def test_message_held_too_long_ends_the_connection_without_an_acknowledgement(version: int) -> None:
    async with (
        listening(ingest=FakeIngest(answer=LATER), hold_max_s=0.2) as under,
        await RawDevice.connect(under.port, version=version) as device,
    ):
        device.publish()
        received = await device.receive_until_closed()
        if version == V5:
            assert len(received) == 1
            assert isinstance(received[0], Disconnect)
            assert received[0].code == ReasonCode.SERVER_BUSY
        else:
            assert received == []
        assert under.disconnects("unavailable") == 1


async def test_redelivery_after_giving_up_is_accepted_in_the_same_session() -> None:
    async with listening(ingest=FakeIngest(answer=LATER), hold_max_s=0.1) as under:
        device = await RawDevice.connect(under.port, clean=False)
        device.publish(b"keep")
        await device.receive_until_closed()
        device.abort()
        under.ingest.answer = None
        async with await RawDevice.connect(under.port, clean=False) as again:
            assert again.connack is not None
            assert again.connack.session_present
            again.publish(b"keep", dup=True)
            assert await again.receive() == Puback(packet_id=1)
        lives = {inbound.session for inbound in under.ingest.taken}
        assert len(lives) == 1


async def test_error_of_our_own_ends_that_connection_alone() -> None:
    def broken(_: Inbound) -> Outcome:
        raise ZeroDivisionError

    async with (
        listening(ingest=FakeIngest(script=[broken])) as under,  # type: ignore[list-item]
        await RawDevice.connect(under.port, "other") as other,
    ):
        async with await RawDevice.connect(under.port, version=V5) as device:
            device.publish()
            received = await device.receive_until_closed()
            assert [type(packet) for packet in received] == [Disconnect]
        other.publish()
        assert await other.receive() == Puback(packet_id=1)
        assert under.disconnects("internal_error") == 1


# --- redelivery ---


async def test_repetition_of_a_publish_in_work_is_not_taken_twice() -> None:
    async with listening() as under, await RawDevice.connect(under.port) as device:
        under.ingest.gate.clear()
        device.publish(b"slow")
        device.publish(b"slow", dup=True)
        await until(lambda: under.ingest.taken)
        await asyncio.sleep(0.05)
        under.ingest.gate.set()
        assert await device.receive() == Puback(packet_id=1)
        await device.ping()
        assert len(under.ingest.taken) == 1


async def test_redelivery_after_a_lost_connection_is_not_stored_twice() -> None:
    async with listening() as under:
        device = await RawDevice.connect(under.port, clean=False)
        under.ingest.gate.clear()
        device.publish(b"once")
        await until(lambda: under.ingest.taken)
        device.abort()
        under.ingest.gate.set()
        await until(lambda: under.ingest.stored)
        async with await RawDevice.connect(under.port, clean=False) as again:
            again.publish(b"once", dup=True)
            assert await again.receive() == Puback(packet_id=1)
        assert under.ingest.payloads == [b"once"]


async def test_qos_2_id_is_remembered_across_connections_of_a_session() -> None:
    async with listening() as under:
        device = await RawDevice.connect(under.port, clean=False)
        device.publish(b"two", qos=2, packet_id=4)
        await device.receive()
        device.abort()
        async with await RawDevice.connect(under.port, clean=False) as again:
            again.publish(b"two", qos=2, packet_id=4, dup=True)
            assert await again.receive() == Pubrec(packet_id=4)
        assert len(under.ingest.taken) == 1


# --- results ---


@both_versions
async def test_receipt_is_published_on_the_results_topic(version: int) -> None:
    async with listening() as under, await RawDevice.connect(under.port, version=version) as device:
        assert await device.subscribe(RESULTS) == (1,)
        device.publish(b"x")
        packets = [await device.receive(), await device.receive()]
        assert packets[0] == Puback(packet_id=1)
        assert isinstance(packets[1], Publish)
        assert json.loads(packets[1].payload)["sequence"] == 1


async def test_notices_of_the_ingest_reach_the_device() -> None:
    async with listening() as under, await RawDevice.connect(under.port) as device:
        await device.subscribe(RESULTS, qos=0)
        under.ingest.pending_notices.append((RESULTS, b"dropped"))
        told = await device.receive()
        assert isinstance(told, Publish)
        assert (told.payload, told.qos) == (b"dropped", 0)


async def test_commands_wait_for_a_device_that_is_away() -> None:
    async with listening(queued_replies_max=2) as under:
        device = await RawDevice.connect(under.port, clean=False)
        await device.subscribe("devices/cam-1/commands/#")
        await device.leave()
        counts = [under.listener.deliver("devices/cam-1/commands/reboot", b"%d" % n) for n in range(3)]
        assert counts == [1, 1, 1]
        async with await RawDevice.connect(under.port, clean=False) as again:
            told = [await again.receive(), await again.receive()]
            assert [packet.payload for packet in told if isinstance(packet, Publish)] == [b"1", b"2"]
        assert under.replies("dropped") == 1


async def test_unacknowledged_message_is_sent_again_with_dup() -> None:
    async with listening() as under:
        device = await RawDevice.connect(under.port, clean=False)
        await device.subscribe("devices/cam-1/commands/#")
        under.listener.deliver("devices/cam-1/commands/x", b"do")
        first = await device.receive()
        assert isinstance(first, Publish)
        device.abort()
        async with await RawDevice.connect(under.port, clean=False) as again:
            second = await again.receive()
            assert isinstance(second, Publish)
            assert (second.dup, second.packet_id, second.payload) == (True, first.packet_id, b"do")


@both_versions
async def test_device_hears_its_own_topics_only(version: int) -> None:
    filters = (
        RESULTS,
        "devices/cam-1/commands/#",
        "devices/cam-1/images",
        "devices/+/results",
        "#",
        "$share/g/devices/cam-1/results",
        "devices/cam-1/#/x",
    )
    async with listening() as under, await RawDevice.connect(under.port, version=version) as device:
        codes = await device.subscribe(*filters)
    if version == V3_1_1:
        assert codes == (1, 1, 0x80, 0x80, 0x80, 0x80, 0x80)
    else:
        assert codes == (1, 1, 0x87, 0x87, 0x87, 0x9E, 0x8F)


async def test_subscriptions_of_a_session_are_bounded() -> None:
    async with listening() as under, await RawDevice.connect(under.port, version=V5) as device:
        codes = await device.subscribe(*(f"devices/cam-{n}/results" for n in range(20)))
        assert codes == (1,) * 16 + (ReasonCode.QUOTA_EXCEEDED,) * 4


async def test_subscription_identifier_is_refused_as_announced() -> None:
    async with listening() as under, await RawDevice.connect(under.port, version=V5) as device:
        one = Subscription(topic_filter=RESULTS, qos=0)
        device.send(Subscribe(packet_id=1, subscriptions=(one,), properties=Properties(subscription_ids=(5,))))
        received = await device.receive_until_closed()
        assert not [packet for packet in received if isinstance(packet, Suback)]
        assert under.disconnects("subscription_identifiers_not_supported") == 1


# --- stopping ---


@both_versions
async def test_stop_finishes_what_was_taken_and_says_goodbye(version: int) -> None:
    async with listening() as under, await RawDevice.connect(under.port, version=version) as device:
        under.ingest.gate.clear()
        device.publish(b"last")
        await until(lambda: under.ingest.taken)
        stopping = asyncio.create_task(under.listener.stop(deadline_s=5))
        await asyncio.sleep(0.05)
        under.ingest.gate.set()
        assert await device.receive() == Puback(packet_id=1)
        received = await device.receive_until_closed()
        codes = [packet.code for packet in received if isinstance(packet, Disconnect)]
        assert codes == ([ReasonCode.SERVER_SHUTTING_DOWN] if version == V5 else [])
        await stopping


async def test_stop_does_not_wait_for_what_is_held() -> None:
    async with listening(ingest=FakeIngest(answer=LATER)) as under, await RawDevice.connect(under.port) as device:
        device.publish()
        await until(lambda: under.publishes("held"))
        async with asyncio.timeout(1.5):
            await under.listener.stop(deadline_s=5)
        assert await device.receive_until_closed() == []


async def test_listener_starts_again_after_a_stop_and_knows_its_sessions() -> None:
    async with listening() as under:
        device = await RawDevice.connect(under.port, clean=False)
        device.abort()
        await under.listener.stop(deadline_s=1)
        await under.listener.start()
        async with await RawDevice.connect(under.port, clean=False) as again:
            assert again.connack is not None
            assert again.connack.session_present
