"""Framings under any split, loss, doubling, exchange and garbage: the payload that was sent, or none; never an error.

What protocols without a checksum can't see (bytes changed on the way, which Bluetooth's own CRC guards) is not asked
of them here; docs/PROTOCOLS-ble.md says so.
"""

import struct
import zlib
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.ble.contract import Action, Complete, Framing, Incomplete, Verdict, Write
from adapters.ble.framing_image1 import GatewayImage1Framing
from adapters.ble.framings import create_framing
from adapters.ble.image1 import Announce, encode_from_device, parse_from_device, parse_from_gateway
from adapters.ble.profiles import load_profiles, profile_named
from gateway.simulators.devices.ble_cameras import CAMERAS
from gateway.simulators.devices.ble_firmware import Notification
from gateway.simulators.devices.ble_image1_camera import GatewayImage1Camera

PROFILES = load_profiles()
NAMES = sorted(CAMERAS)
BYTES_MAX = 4096
# As in a JPEG's data: no FF but in front of a zero or a mark of its own.
ENTROPY = st.binary(min_size=1, max_size=1500).map(lambda body: body.replace(b"\xff", b"\xfe"))
PICTURES = ENTROPY.map(lambda body: b"\xff\xd8\xff" + body + b"\xff\xd9")
MTUS = st.sampled_from([20, 23, 50, 244, 512])
ROLES = st.sampled_from(["data", "info", "control", "other"])


def framing_for(name: str) -> Framing:
    return create_framing(
        profile_named(PROFILES, name),
        image_bytes_max=BYTES_MAX,
        reading_bytes_max=1000,
        attempts_max=3,
        resume_keep_s=60,
    )


def payloads(actions: Sequence[Action]) -> list[bytes]:
    return [one.payload for one in actions if isinstance(one, Complete)]


class World:
    """Carries a framing's writes to a camera and its answers back, as ``fate`` decides for each notification."""

    def __init__(self, framing: GatewayImage1Framing, camera: GatewayImage1Camera, fates: Sequence[int]) -> None:
        self.framing = framing
        self.camera = camera
        self.now_s = 0.0
        self.actions: list[Action] = []
        self._fates = iter(fates)

    def act(self, actions: Sequence[Action]) -> None:
        for action in actions:
            self.actions.append(action)
            if isinstance(action, Write):
                self.carry(self.camera.written(action.role, action.data))

    def carry(self, notifications: Sequence[Notification]) -> None:
        waiting = list(notifications)
        while waiting:
            fate = next(self._fates, 1)
            position = 1 if fate == 3 and len(waiting) > 1 else 0  # 3: the next one overtakes
            one = waiting.pop(position)
            for _ in range(2 if fate == 2 else min(fate, 1)):  # 0: lost; 2: twice
                self.act(self.framing.notified(one.role, one.data, self.now_s))

    def wait(self, seconds: float) -> None:
        for _ in range(int(seconds * 2)):
            self.now_s += 0.5
            self.act(self.framing.ticked(self.now_s))


FATES = st.lists(st.sampled_from([1, 1, 1, 0, 2, 3]), max_size=120)


@settings(max_examples=80, deadline=None)
@given(picture=PICTURES, mtu=MTUS, fates=FATES, breaks=st.booleans())
def test_gateway_image_1_gets_every_picture_through_a_link_that_recovers(
    picture: bytes, mtu: int, fates: list[int], breaks: bool
) -> None:
    framing = framing_for("gateway-image-1")
    assert isinstance(framing, GatewayImage1Framing)
    world = World(framing, GatewayImage1Camera(iter([picture]), att_payload_max=mtu), fates)
    world.act(framing.connected(0.0, att_payload_max=mtu))
    world.carry(world.camera.photo())
    if breaks:
        world.act(framing.disconnected(world.now_s))
        world.act(framing.connected(world.now_s, att_payload_max=mtu))
    for _ in range(200):  # the fates end, and with them the losses
        if payloads(world.actions):
            break
        world.carry(world.camera.announce())
        world.wait(2.5)

    assert payloads(world.actions) == [picture]


@settings(max_examples=60, deadline=None)
@given(picture=PICTURES, mtu=MTUS, noise=st.lists(st.tuples(st.integers(0, 100), st.binary(max_size=60)), max_size=20))
def test_gateway_image_1_hands_on_nothing_but_what_was_announced_under_garbage(
    picture: bytes, mtu: int, noise: list[tuple[int, bytes]]
) -> None:
    framing = framing_for("gateway-image-1")
    camera = GatewayImage1Camera(iter([picture]), att_payload_max=mtu)
    crcs = {zlib.crc32(picture)}
    stream = [one.data for one in camera.photo()]
    (write,) = framing.notified("data", stream[0], 0.0)
    assert isinstance(write, Write)
    stream = [one.data for one in camera.written("control", write.data)]
    for position, garbage in noise:
        stream.insert(position, garbage)
        packet = parse_from_device(garbage)
        crcs |= {packet.crc32} if isinstance(packet, Announce) else set()

    actions = [action for data in stream for action in framing.notified("data", data, 0.0)]

    assert {zlib.crc32(payload) for payload in payloads(actions)} <= crcs


@settings(max_examples=100, deadline=None)
@given(
    name=st.sampled_from(["openglass", "omiglass"]),
    picture=PICTURES,
    mtu=MTUS,
    fates=st.lists(st.sampled_from([1, 1, 1, 0, 2, 3]), max_size=100),
)
def test_indexed_chunks_hand_on_the_picture_or_nothing(name: str, picture: bytes, mtu: int, fates: list[int]) -> None:
    assert payloads(carried(name, picture, mtu, fates)) in ([], [picture])


@settings(max_examples=100, deadline=None)
@given(
    name=st.sampled_from(["nordic-its", "esp32cam-cafebabe", "openglass", "omiglass"]),
    picture=PICTURES,
    mtu=MTUS,
    only=st.sampled_from([0, 2]),
    places=st.sets(st.integers(0, 80), max_size=6),
)
def test_loss_alone_or_doubling_alone_hands_on_the_picture_or_nothing(
    name: str, picture: bytes, mtu: int, only: int, places: set[int]
) -> None:
    fates = [only if place in places else 1 for place in range(81)]

    assert payloads(carried(name, picture, mtu, fates)) in ([], [picture])


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(NAMES), picture=PICTURES, mtu=MTUS)
def test_a_perfect_link_hands_on_the_picture(name: str, picture: bytes, mtu: int) -> None:
    if name != "gateway-image-1":
        assert payloads(carried(name, picture, mtu, [])) == [picture]


def carried(name: str, picture: bytes, mtu: int, fates: Sequence[int]) -> list[Action]:
    """Send one picture of a one-way camera with these fates, then silence."""
    framing = framing_for(name)
    actions: list[Action] = []
    waiting = list(CAMERAS[name](iter([picture]), att_payload_max=mtu).photo())
    fate = iter(fates)
    while waiting:
        now = next(fate, 1)
        one = waiting.pop(1 if now == 3 and len(waiting) > 1 else 0)
        for _ in range(2 if now == 2 else min(now, 1)):
            actions += framing.notified(one.role, one.data, 1.0)
    return [*actions, *framing.ticked(60.0), *framing.disconnected(61.0)]


EVENT = st.one_of(
    st.tuples(st.just("notified"), ROLES, st.binary(max_size=600)),
    st.tuples(st.just("ticked"), st.floats(0, 100), st.just(b"")),
    st.tuples(st.just("connected"), st.integers(-5, 70_000), st.just(b"")),
    st.tuples(st.just("disconnected"), st.just(0), st.just(b"")),
    st.tuples(st.just("judged"), st.integers(0, 5), st.just(b"")),
    st.tuples(st.just("command"), st.sampled_from(["photo", "interval", "stop", "x"]), st.just(b"")),
)
ANNOUNCEMENTS = st.builds(
    Announce,
    version=st.sampled_from([1, 1, 1, 2]),
    content=st.integers(0, 3),
    orientation=st.integers(0, 9),
    transfer_id=st.integers(0, 3),
    total_bytes=st.sampled_from([0, 1, 50, 4096, 4097, 0xFFFFFFFF]),
    crc32=st.sampled_from([0, 0xFFFFFFFF]),
    chunk_bytes=st.sampled_from([0, 1, 20, 0xFFFF]),
).map(lambda one: ("notified", "data", encode_from_device(one)))

# What begins a picture in each protocol, so that the noise often finds one begun.
BEGINNINGS = st.one_of(
    ANNOUNCEMENTS,
    st.sampled_from([50, 4096, 5000, 0xFFFFFFFF]).map(lambda size: ("notified", "info", struct.pack("<BI", 1, size))),
    st.sampled_from([50, 5000]).map(lambda size: ("notified", "data", struct.pack("<IIIH", 0xCAFEBABE, size, 0, 7))),
    st.sampled_from([b"\x00\x00", b""]).map(lambda index: ("notified", "data", index + b"\xff\xd8\xff" + bytes(100))),
    st.integers(1, 30).map(lambda index: ("notified", "data", struct.pack("<H", index) + bytes(200))),
)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60, deadline=None)
@given(events=st.lists(st.one_of(EVENT, BEGINNINGS), max_size=50))
def test_no_device_can_raise_an_error_or_hand_on_more_than_the_limit(
    name: str, events: list[tuple[str, object, bytes]]
) -> None:
    framing, now_s = framing_for(name), 0.0
    for kind, what, data in events:
        now_s += float(what) if kind == "ticked" and isinstance(what, float) else 0.1
        actions = happened(framing, kind, what, data, now_s)
        assert all(len(one.payload) <= BYTES_MAX for one in actions if isinstance(one, Complete))
        assert all(one.reason and one.detail for one in actions if isinstance(one, Incomplete))


def happened(framing: Framing, kind: str, what: object, data: bytes, now_s: float) -> Sequence[Action]:
    if kind == "notified":
        return framing.notified(str(what), data, now_s)
    if kind == "ticked":
        return framing.ticked(now_s)
    if kind == "connected":
        return framing.connected(now_s, att_payload_max=int(str(what)))
    if kind == "disconnected":
        return framing.disconnected(now_s)
    if kind == "judged":
        return framing.judged(int(str(what)), Verdict.COMMITTED, now_s)
    return framing.command(str(what), 7, now_s)


@given(data=st.binary(max_size=40))
def test_any_bytes_are_a_packet_or_none(data: bytes) -> None:
    parse_from_device(data)
    parse_from_gateway(data)
