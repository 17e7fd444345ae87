import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cloud import child_protocol, framing
from gateway.cloud.framing import BODY_BYTES_MAX, HEADER_BYTES_MAX, BrokenStream, Frame, FrameDecoder, encode

FRAMES = st.lists(
    st.builds(
        Frame,
        header=st.dictionaries(st.text(max_size=10), st.one_of(st.text(max_size=20), st.integers(), st.booleans())),
        body=st.binary(max_size=200),
    ),
    max_size=5,
)


@given(frames=FRAMES, cuts=st.lists(st.integers(min_value=0, max_value=2000)))
def test_frames_come_out_as_they_went_in_however_the_stream_is_cut(frames: list[Frame], cuts: list[int]) -> None:
    stream = b"".join(encode(frame) for frame in frames)
    edges = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    decoder = FrameDecoder()
    out = [frame for start, end in itertools.pairwise(edges) for frame in decoder.feed(stream[start:end])]
    assert out == frames


@given(frames=FRAMES)
def test_a_stream_byte_by_byte_is_the_same_stream(frames: list[Frame]) -> None:
    decoder = FrameDecoder()
    stream = b"".join(encode(frame) for frame in frames)
    assert [frame for byte in stream for frame in decoder.feed(bytes((byte,)))] == frames


@given(noise=st.binary(min_size=1, max_size=300))
def test_noise_is_either_waited_for_or_refused(noise: bytes) -> None:
    decoder = FrameDecoder()
    try:
        frames = decoder.feed(noise)
    except BrokenStream:
        return
    assert all(isinstance(frame.header, dict) for frame in frames)


@pytest.mark.parametrize("lengths", [(HEADER_BYTES_MAX + 1, 0), (2, BODY_BYTES_MAX + 1), (2**32 - 1, 2**32 - 1)])
def test_a_frame_above_the_caps_is_refused_before_it_is_collected(lengths: tuple[int, int]) -> None:
    head = b"".join(length.to_bytes(4, "big") for length in lengths)
    with pytest.raises(BrokenStream):
        FrameDecoder().feed(head)


def test_a_frame_above_the_caps_is_not_sent() -> None:
    with pytest.raises(BrokenStream):
        encode(Frame(header={}, body=b"x" * (BODY_BYTES_MAX + 1)))


@pytest.mark.parametrize("header", [b"[]", b"no json", b"\xff"])
def test_a_header_that_is_no_json_object_is_refused(header: bytes) -> None:
    stream = len(header).to_bytes(4, "big") + bytes(4) + header
    with pytest.raises(BrokenStream):
        FrameDecoder().feed(stream)


MESSAGES: list[Any] = [
    child_protocol.Open(
        session=1, hostname="h", device_id="d", websockets=True, keep_alive_s=15, token_ttl_s=1, session_age_max_s=1.5
    ),
    child_protocol.Provision(
        host="dps",
        id_scope="0ne1",
        registration_id="gw1",
        symmetric_key="c2VjcmV0",
        websockets=False,
        keep_alive_s=15,
    ),
    child_protocol.Provisioned(hub="h", device_id="d"),
    child_protocol.ProvisioningFailed(reason="provisioning_refused", detail="why"),
    child_protocol.Send(
        session=1,
        number=2,
        message_id="m",
        properties={"ä": "ö"},
        content_type="application/json",
        content_encoding="utf-8",
        body=b"\x00\xff",
    ),
    child_protocol.Close(session=3),
    child_protocol.Ping(),
    child_protocol.Hello(),
    child_protocol.Opened(session=1),
    child_protocol.OpenFailed(session=1, reason="r", detail="d", clean=False),
    child_protocol.Acknowledged(session=1, number=2),
    child_protocol.NotSent(session=1, number=2, reason="r", detail="d", refused=True),
    child_protocol.Lost(session=1, reason="r", detail="d"),
    child_protocol.Closed(session=1, clean=True),
    child_protocol.CommandArrived(message_id="m", properties={"a": "b"}, body=b"\x00"),
    child_protocol.Pong(),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_every_message_survives_the_way_through_a_frame(message: Any) -> None:
    [frame] = FrameDecoder().feed(encode(child_protocol.to_frame(message)))
    assert child_protocol.from_frame(frame) == message


def test_orders_show_no_secret_in_a_traceback() -> None:
    orders = (
        child_protocol.Provision(
            host="dps",
            id_scope="0ne1",
            registration_id="gw1",
            symmetric_key="c2VjcmV0",
            proxy_password="c2VjcmV0",
            websockets=False,
            keep_alive_s=15,
        ),
        child_protocol.Open(
            session=1,
            hostname="h",
            device_id="d",
            connection_string="c2VjcmV0",
            module_environment={"EdgeHubConnectionString": "c2VjcmV0"},
            proxy_password="c2VjcmV0",
            websockets=True,
            keep_alive_s=15,
            token_ttl_s=1,
            session_age_max_s=1.5,
        ),
    )
    assert "c2VjcmV0" not in repr(orders)


def test_every_message_type_is_tried_above() -> None:
    assert {type(message).__name__ for message in MESSAGES} == set(child_protocol._TYPES)


@pytest.mark.parametrize("header", [{}, {"type": "Unknown"}, {"type": "Close"}, {"type": "Close", "other": 1}])
def test_a_frame_that_is_no_message_of_ours_breaks_the_stream(header: dict[str, Any]) -> None:
    with pytest.raises(framing.BrokenStream):
        child_protocol.from_frame(Frame(header=header))


def test_orders_do_not_show_their_secrets() -> None:
    order = child_protocol.Open(
        session=1,
        hostname="h",
        device_id="d",
        connection_string="s3cret",
        proxy_password="s3cret",
        websockets=False,
        keep_alive_s=1,
        token_ttl_s=1,
        session_age_max_s=1,
    )
    assert "s3cret" not in repr(order)
