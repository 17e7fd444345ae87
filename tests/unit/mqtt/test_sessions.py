"""Sessions, filters, packet ids and the byte budget: what is kept, and how much at most."""

import pytest

from adapters.mqtt.listener_budget import ByteBudget
from adapters.mqtt.sessions import QUEUE_BYTES_MAX, Message, PacketIds, Session, SessionKey, Sessions
from adapters.mqtt.sessions_filters import is_well_formed, matches, may_subscribe
from adapters.mqtt.sessions_room import MESSAGE_OVERHEAD_BYTES, WaitingRoom

KEY = SessionKey(client_id="c", device_id=None)
RESULTS = "devices/cam-1/results"


def session(queued_max: int = 5) -> Session:
    return Session(key=KEY, life="1", expiry_s=60, queued_max=queued_max, room=WaitingRoom(bytes_max=4_000_000))


@pytest.mark.parametrize(
    ("topic_filter", "topic", "is_match"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a/b/c", False),
        ("a/+", "a/b", True),
        ("a/+", "a", False),
        ("a/+/c", "a//c", True),
        ("a/#", "a", True),
        ("a/#", "a/b/c", True),
        ("#", "a", True),
        ("+", "/a", False),
    ],
)
def test_filter_matches_as_specified(topic_filter: str, topic: str, is_match: bool) -> None:
    assert matches(topic_filter, topic) is is_match


@pytest.mark.parametrize("topic_filter", ["", "a/#/b", "a#", "a/b+", "+a/b"])
def test_ill_formed_filters_are_known(topic_filter: str) -> None:
    assert not is_well_formed(topic_filter)


@pytest.mark.parametrize(
    ("topic_filter", "device_id", "is_allowed"),
    [
        (RESULTS, "cam-1", True),
        (RESULTS, None, True),
        (RESULTS, "cam-2", False),
        ("devices/cam-1/commands/#", "cam-1", True),
        ("devices/cam-1/commands", "cam-1", True),
        ("devices/cam-1/#", "cam-1", True),
        ("devices/cam-1/images", "cam-1", False),
        ("devices/+/results", None, False),
        ("devices/#", None, False),
        ("devices//results", None, False),
        ("+/cam-1/results", "cam-1", False),
    ],
)
def test_devices_hear_their_own_topics_only(topic_filter: str, device_id: str | None, is_allowed: bool) -> None:
    assert may_subscribe(topic_filter, device_id) is is_allowed


def test_packet_ids_are_a_set_of_bounded_size() -> None:
    ids = PacketIds()
    for packet_id in range(1, 65_536):
        ids.add(packet_id)
    assert ids._bits.__sizeof__() < 10_000
    assert ids.discard(65_535)
    assert not ids.discard(65_535)
    assert 65_534 in ids


def test_queue_keeps_the_newest_within_count_and_bytes() -> None:
    one = session(queued_max=3)
    assert [one.queue(Message(topic="t", payload=b"x")) for _ in range(5)] == [0, 0, 0, 1, 1]
    assert one.queue(Message(topic="t", payload=bytes(QUEUE_BYTES_MAX))) == 3
    assert one.next_outgoing(10) is not None
    assert one.next_outgoing(10) is None


def test_what_waits_in_all_sessions_is_bounded_and_the_greediest_loses_its_oldest() -> None:
    cost = 1000 + MESSAGE_OVERHEAD_BYTES + 1
    sessions = Sessions(sessions_max=10, queued_max=50, waiting_bytes_max=10 * cost)
    greedy, _ = sessions.open(KEY, clean_start=True, expiry_s=60, new_life="1")
    other, _ = sessions.open(SessionKey(client_id="d", device_id=None), clean_start=True, expiry_s=60, new_life="2")
    assert other.queue(Message(topic="t", payload=bytes(1000))) == 0
    for number in range(20):
        greedy.queue(Message(topic="t", payload=b"%4d" % number * 250))
        greedy.next_outgoing(3)
    assert sessions.room.used_bytes == 10 * cost
    assert sessions.room.take_evicted() == 11
    assert sessions.room.take_evicted() == 0
    held = [*(publish.payload[:4] for publish in greedy.unacknowledged()), *(one.payload[:4] for one in greedy._queue)]
    assert sorted(held) == [b"%4d" % number for number in range(11, 20)]
    assert other.next_outgoing(3) is not None


def test_messages_are_counted_until_the_device_has_them_or_its_session_ends() -> None:
    sessions = Sessions(sessions_max=10, queued_max=5, waiting_bytes_max=4_000_000)
    one, _ = sessions.open(KEY, clean_start=True, expiry_s=60, new_life="1")
    for qos in (0, 1, 1):
        one.queue(Message(topic="t", payload=b"x", qos=qos))
    sent = [one.next_outgoing(10) for _ in range(3)]
    assert sessions.room.used_bytes == 2 * (2 + MESSAGE_OVERHEAD_BYTES), "the two that wait for a PUBACK"
    assert sent[1] is not None
    assert sent[1].packet_id is not None
    one.acknowledge(sent[1].packet_id)
    assert sessions.room.used_bytes == 2 + MESSAGE_OVERHEAD_BYTES
    sessions.drop(KEY)
    assert sessions.room.used_bytes == 0


def test_packet_id_in_flight_is_not_given_again() -> None:
    one = session()
    one.queue(Message(topic="t", payload=b"1"))
    first = one.next_outgoing(10)
    assert first is not None
    one._last_id = 0
    one.queue(Message(topic="t", payload=b"2"))
    second = one.next_outgoing(10)
    assert second is not None
    assert first.packet_id != second.packet_id


def test_sessions_away_expire_and_those_connected_do_not() -> None:
    sessions = Sessions(sessions_max=10, queued_max=5, waiting_bytes_max=4_000_000)
    connected, _ = sessions.open(KEY, clean_start=False, expiry_s=5, new_life="1")
    away, _ = sessions.open(SessionKey(client_id="d", device_id=None), clean_start=False, expiry_s=5, new_life="2")
    sessions.leave(away, now=100)
    assert sessions.expire(104) == []
    assert sessions.expire(105) == [away.key]
    assert sessions.find(KEY) is connected


def test_topic_finds_its_subscribers_until_they_unsubscribe_or_end() -> None:
    sessions = Sessions(sessions_max=10, queued_max=5, waiting_bytes_max=4_000_000)
    one, _ = sessions.open(KEY, clean_start=False, expiry_s=0, new_life="1")
    other, _ = sessions.open(SessionKey(client_id="d", device_id=None), clean_start=False, expiry_s=0, new_life="2")
    for each in (one, other):
        sessions.subscribe(each, RESULTS, 1)
    sessions.subscribe(one, "devices/cam-1/commands/#", 0)
    assert sessions.subscribers(RESULTS) == [(one, 1), (other, 1)] or len(sessions.subscribers(RESULTS)) == 2
    sessions.leave(other, now=0)
    assert sessions.subscribers(RESULTS) == [(one, 1)]
    assert sessions.unsubscribe(one, RESULTS)
    assert not sessions.unsubscribe(one, RESULTS)
    assert sessions.subscribers(RESULTS) == []
    assert sessions.subscribers("devices/cam-1/commands/x") == [(one, 0)]
    sessions.drop(KEY)
    assert sessions._by_device == {}


def test_budget_grants_in_the_order_of_asking() -> None:
    budget = ByteBudget(100)
    granted: list[str] = []
    large, small = (lambda: granted.append("large")), (lambda: granted.append("small"))
    assert budget.request(60, lambda: None)
    assert not budget.request(80, large)
    assert not budget.request(10, small)
    budget.release(60)
    assert granted == ["large", "small"]
    assert budget.used_bytes == 90


def test_budget_lets_a_request_be_withdrawn_and_serves_the_next() -> None:
    budget = ByteBudget(100)
    granted: list[str] = []

    def large() -> None:
        granted.append("large")

    budget.request(60, lambda: None)
    budget.request(80, large)
    budget.request(10, lambda: granted.append("small"))
    assert budget.withdraw(large)
    assert not budget.withdraw(large)
    assert granted == ["small"]


def test_budget_grants_what_is_larger_than_all_of_it_when_nothing_is_held() -> None:
    assert ByteBudget(100).request(200, lambda: None)
