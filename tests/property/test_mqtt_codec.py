"""The MQTT codec under any packet, any split of any byte stream, and garbage."""

import dataclasses
from itertools import pairwise
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from adapters.mqtt.codec import CONTROL_BYTES_MAX, LARGE_FRAME_BYTES, MalformedPacket, PacketDecoder, encode
from adapters.mqtt.codec_packets import (
    V3_1_1,
    V5,
    Auth,
    Connack,
    Connect,
    Disconnect,
    Packet,
    Pingreq,
    Pingresp,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
    Subscription,
    Unsuback,
    Unsubscribe,
    Will,
)
from adapters.mqtt.codec_properties import _TABLE, NO_PROPERTIES, PacketType, Properties

PACKET_BYTES_MAX = 200_000

# Large ones are few and plain: hypothesis would draw each of their bytes.
payloads = st.binary(max_size=300) | st.builds(
    lambda pattern, count: (pattern * count)[:count],
    st.binary(min_size=1, max_size=7),
    st.integers(LARGE_FRAME_BYTES - 100, LARGE_FRAME_BYTES + 100) | st.just(3 * LARGE_FRAME_BYTES),
)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
topics = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00#+"), min_size=1, max_size=20)
ids = st.integers(1, 65_535)
codes = st.integers(0, 255)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "payload_format": st.integers(0, 1),
    "maximum_qos": st.integers(0, 1),
    "message_expiry_s": st.integers(0, 2**32 - 1),
    "session_expiry_s": st.integers(0, 2**32 - 1),
    "will_delay_s": st.integers(0, 2**32 - 1),
    "maximum_packet_bytes": st.integers(1, 2**32 - 1),
    "receive_maximum": ids,
    "topic_alias_maximum": st.integers(0, 65_535),
    "topic_alias": st.integers(0, 65_535),
    "server_keep_alive_s": st.integers(0, 65_535),
    "correlation_data": st.binary(max_size=20),
    "authentication_data": st.binary(max_size=20),
    "user": st.lists(st.tuples(texts, texts), max_size=3).map(tuple),
}
BOOLEANS = {
    "request_problem_information",
    "request_response_information",
    "retain_available",
    "wildcard_available",
    "subscription_ids_available",
    "shared_available",
}


def properties(kind: PacketType) -> st.SearchStrategy[Properties]:
    """Return any properties that ``kind`` may carry."""
    fields = {}
    for declared in _TABLE.values():
        if kind in declared.packets:
            plain = st.booleans() if declared.name in BOOLEANS else texts
            fields[declared.name] = VALUES.get(declared.name, plain)
    if "subscription_ids" in fields:
        most = 1 if kind is PacketType.SUBSCRIBE else 3
        fields["subscription_ids"] = st.lists(st.integers(1, 268_435_455), max_size=most).map(tuple)
    given_properties = st.fixed_dictionaries({}, optional=fields).map(lambda values: Properties(**values))
    return st.just(NO_PROPERTIES) | given_properties


def of(kind: PacketType, version: int) -> st.SearchStrategy[Properties]:
    return properties(kind) if version == V5 else st.just(NO_PROPERTIES)


def connects(version: int) -> st.SearchStrategy[Connect]:
    wills = st.builds(
        Will,
        topic=texts,
        payload=st.binary(max_size=20),
        qos=st.integers(0, 2),
        retain=st.booleans(),
        properties=of(PacketType.WILL, version),
    )
    plain = st.builds(
        Connect,
        version=st.just(version),
        client_id=texts,
        clean_start=st.booleans(),
        keep_alive_s=st.integers(0, 65_535),
        username=st.none() | texts,
        password=st.none() | st.binary(max_size=20),
        will=st.none() | wills,
        properties=of(PacketType.CONNECT, version),
    )
    if version == V5:
        return plain
    return plain.map(lambda one: one if one.username is not None else dataclasses.replace(one, password=None))


def publishes(version: int) -> st.SearchStrategy[Publish]:
    def build(qos: int, packet_id: int, **values: Any) -> Publish:
        return Publish(qos=qos, packet_id=packet_id if qos else None, **values)

    return st.builds(
        build,
        qos=st.integers(0, 2),
        packet_id=ids,
        topic=topics,
        payload=payloads,
        dup=st.booleans(),
        retain=st.booleans(),
        properties=of(PacketType.PUBLISH, version),
    )


def acknowledgements(version: int) -> st.SearchStrategy[Packet]:
    kinds = ((Puback, PacketType.PUBACK), (Pubrec, PacketType.PUBREC), (Pubrel, PacketType.PUBREL))
    return st.one_of(
        *(
            st.builds(packet, packet_id=ids, code=codes if version == V5 else st.just(0), properties=of(kind, version))
            for packet, kind in (*kinds, (Pubcomp, PacketType.PUBCOMP))
        )
    )


def subscribes(version: int) -> st.SearchStrategy[Packet]:
    options = {
        "no_local": st.booleans(),
        "retain_as_published": st.booleans(),
        "retain_handling": st.integers(0, 2),
    }
    one = st.builds(Subscription, topic_filter=texts, qos=st.integers(0, 2), **(options if version == V5 else {}))
    return st.builds(
        Subscribe,
        packet_id=ids,
        subscriptions=st.lists(one, min_size=1, max_size=4).map(tuple),
        properties=of(PacketType.SUBSCRIBE, version),
    ) | st.builds(
        Unsubscribe,
        packet_id=ids,
        topic_filters=st.lists(texts, min_size=1, max_size=4).map(tuple),
        properties=of(PacketType.UNSUBSCRIBE, version),
    )


def answers(version: int) -> st.SearchStrategy[Packet]:
    some_codes = st.lists(codes, min_size=1, max_size=4).map(tuple)
    return st.one_of(
        st.builds(Connack, code=codes, session_present=st.booleans(), properties=of(PacketType.CONNACK, version)),
        st.builds(Suback, packet_id=ids, codes=some_codes, properties=of(PacketType.SUBACK, version)),
        st.builds(
            Unsuback,
            packet_id=ids,
            codes=some_codes if version == V5 else st.just(()),
            properties=of(PacketType.UNSUBACK, version),
        ),
    )


def others(version: int) -> st.SearchStrategy[Packet]:
    plain: st.SearchStrategy[Packet] = st.sampled_from([Pingreq(), Pingresp(), Disconnect()])
    if version != V5:
        return plain
    return st.one_of(
        plain,
        st.builds(Disconnect, code=codes, properties=of(PacketType.DISCONNECT, version)),
        st.builds(Auth, code=codes, properties=of(PacketType.AUTH, version)),
    )


def packets(version: int) -> st.SearchStrategy[Packet]:
    families = (connects, publishes, acknowledgements, subscribes, answers, others)
    return st.one_of(*(family(version) for family in families))


streams = st.sampled_from([V3_1_1, V5]).flatmap(
    lambda version: st.tuples(st.just(version), st.lists(packets(version), max_size=6))
)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


@given(streams, st.lists(st.integers(0, 5000), max_size=12))
def test_any_packets_survive_encoding_and_any_split(stream: tuple[int, list[Packet]], places: list[int]) -> None:
    version, sent = stream
    decoder = PacketDecoder(packet_bytes_max=PACKET_BYTES_MAX, version=version)
    received = []
    for piece in cut(b"".join(encode(packet, version) for packet in sent), places):
        decoder.feed(piece)
        while (packet := decoder.next_packet()) is not None:
            received.append(packet)
    assert received == sent
    assert decoder.buffered_bytes == 0


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=6), st.sampled_from([None, V3_1_1, V5]))
@example(b"\x10\x0c\x00\x04MQTT\x05\x02\x00\x00\x00\x00", [], None)  # a property length beyond the end
@example(b"\x30\xff\xff\xff\xff\x01", [], V5)  # five bytes of remaining length
def test_garbage_raises_nothing_but_the_codecs_error(data: bytes, places: list[int], version: int | None) -> None:
    whole = drained(data, [], version)
    assert drained(data, places, version) == whole


@given(streams, st.data())
def test_damaged_packets_raise_nothing_but_the_codecs_error(
    stream: tuple[int, list[Packet]], data: st.DataObject
) -> None:
    version, sent = stream
    wire = bytearray(b"".join(encode(packet, version) for packet in sent))
    for _ in range(data.draw(st.integers(1, 4))):
        if wire:
            wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    drained(bytes(wire), [], version)


def drained(data: bytes, places: list[int], version: int | None) -> tuple[list[Packet], str | None]:
    decoder = PacketDecoder(packet_bytes_max=PACKET_BYTES_MAX, version=version)
    received: list[Packet] = []
    try:
        for piece in cut(data, places):
            decoder.feed(piece)
            while (packet := decoder.next_packet()) is not None:
                received.append(packet)
    except MalformedPacket as error:
        return received, error.detail
    assert decoder.buffered_bytes <= max(CONTROL_BYTES_MAX, PACKET_BYTES_MAX)
    return received, None
