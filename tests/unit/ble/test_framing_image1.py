"""``gateway-image-1``: a picture and its device, over links that lose, double and break."""

import zlib
from collections.abc import Iterable, Sequence

import pytest

from adapters.ble.contract import Action, Complete, ContentKind, Incomplete, Verdict, Write
from adapters.ble.framing_image1 import ASK_AGAIN_S, ASKS_MAX, UNJUDGED_MAX, GatewayImage1Framing
from adapters.ble.image1 import (
    Announce,
    Chunk,
    Command,
    CommandCode,
    End,
    FromDevice,
    FromGateway,
    Hello,
    Range,
    Request,
    Status,
    StatusCode,
    encode_from_device,
    encode_from_gateway,
    parse_from_device,
    parse_from_gateway,
)
from adapters.ble.profiles import load_profiles, profile_named
from gateway.simulators.devices.ble_firmware import Notification
from gateway.simulators.devices.ble_image1_camera import GatewayImage1Camera

PICTURE = b"\xff\xd8\xff" + bytes(n % 251 for n in range(3000)) + b"\xff\xd9"


def framing_for(*, image_bytes_max: int = 100_000, attempts_max: int = 3) -> GatewayImage1Framing:
    return GatewayImage1Framing(
        profile_named(load_profiles(), "gateway-image-1"),
        image_bytes_max=image_bytes_max,
        reading_bytes_max=1000,
        attempts_max=attempts_max,
        resume_keep_s=60,
    )


class Link:
    """Carries packets between a framing and a camera; ``lose`` says which notifications vanish (by running number)."""

    def __init__(self, framing: GatewayImage1Framing, camera: GatewayImage1Camera, lose: Iterable[int] = ()) -> None:
        self.framing = framing
        self.camera = camera
        self.now_s = 0.0
        self.done: list[Complete] = []
        self.incomplete: list[Incomplete] = []
        self.carried = 0
        self.chunks = 0
        self._lose = set(lose)

    def connect(self, att_payload_max: int = 244) -> None:
        self.camera.connected(att_payload_max=att_payload_max)
        self.act(self.framing.connected(self.now_s, att_payload_max=att_payload_max))

    def notify(self, notifications: Sequence[Notification], most: int | None = None) -> None:
        for notification in notifications[:most]:
            self.carried += 1
            self.chunks += notification.data[0] == 0x02
            if self.carried not in self._lose:
                self.act(self.framing.notified(notification.role, notification.data, self.now_s))

    def act(self, actions: Sequence[Action]) -> None:
        for action in actions:
            if isinstance(action, Complete):
                self.done.append(action)
            elif isinstance(action, Incomplete):
                self.incomplete.append(action)
            else:
                self.notify(self.camera.written(action.role, action.data))

    def wait(self, seconds: float) -> None:
        for _ in range(int(seconds * 2)):
            self.now_s += 0.5
            self.act(self.framing.ticked(self.now_s))

    def judge(self, verdict: Verdict, retry_after_s: float = 0) -> None:
        self.act(self.framing.judged(self.done[-1].transfer, verdict, self.now_s, retry_after_s=retry_after_s))


def linked(*pictures: bytes, lose: Iterable[int] = (), att_payload_max: int = 244, attempts_max: int = 3) -> Link:
    camera = GatewayImage1Camera(iter(pictures), att_payload_max=att_payload_max)
    link = Link(framing_for(attempts_max=attempts_max), camera, lose)
    link.connect(att_payload_max)
    return link


# --- a whole transfer ---------------------------------------------------------------------------------


@pytest.mark.parametrize("att_payload_max", [20, 182, 244, 514])
def test_a_picture_arrives_and_its_status_means_on_disk(att_payload_max: int) -> None:
    link = linked(PICTURE, att_payload_max=att_payload_max)
    link.notify(link.camera.photo())

    assert [(one.payload, one.kind, one.submission_id) for one in link.done] == [(PICTURE, ContentKind.IMAGE, "1")]
    assert (link.camera.kept, link.camera.statuses) == (1, [])

    link.judge(Verdict.COMMITTED)

    assert (link.camera.kept, link.camera.statuses) == (0, [(1, StatusCode.ON_DISK)])


def test_a_reading_arrives_as_a_reading() -> None:
    link = linked()
    link.notify(link.camera.reading(b'{"t":21.5}'))

    assert [(one.payload, one.kind) for one in link.done] == [(b'{"t":21.5}', ContentKind.READING)]


def test_what_waits_follows_after_each_status() -> None:
    link = linked(PICTURE, PICTURE[:-9] + b"another\xff\xd9")
    link.notify(link.camera.photo())
    link.notify(link.camera.photo())

    link.judge(Verdict.COMMITTED)
    link.judge(Verdict.COMMITTED)

    assert [one.submission_id for one in link.done] == ["1", "2"]
    assert link.camera.kept == 0


# --- loss ---------------------------------------------------------------------------------------------


def test_only_lost_chunks_are_sent_again() -> None:
    link = linked(PICTURE, lose=(4, 5, 9))
    link.notify(link.camera.photo())

    assert [one.payload for one in link.done] == [PICTURE]
    assert link.chunks == -(-len(PICTURE) // 240) + 3


def test_a_lost_end_mark_costs_only_time() -> None:
    chunks = -(-len(PICTURE) // 240)
    link = linked(PICTURE, lose=(3, chunks + 2))
    link.notify(link.camera.photo())
    assert not link.done

    link.wait(ASK_AGAIN_S + 0.5)

    assert [one.payload for one in link.done] == [PICTURE]


def test_a_lost_link_goes_on_where_it_broke() -> None:
    link = linked(PICTURE)
    announcement = link.camera.photo()
    (asked,) = link.framing.notified("data", announcement[0].data, 0.0)
    assert isinstance(asked, Write)
    link.notify(link.camera.written("control", asked.data), most=8)
    link.act(link.framing.disconnected(1.0))
    before = link.chunks

    link.connect()

    assert [one.payload for one in link.done] == [PICTURE]
    assert not link.incomplete
    assert link.chunks - before == -(-len(PICTURE) // 240) - 8


def test_half_a_picture_whose_device_stays_away_is_dropped_and_counted() -> None:
    link = linked(PICTURE)
    (asked,) = link.framing.notified("data", link.camera.photo()[0].data, 0.0)
    assert isinstance(asked, Write)
    link.notify(link.camera.written("control", asked.data), most=8)
    link.act(link.framing.disconnected(1.0))
    link.now_s = 61.5

    link.connect()

    assert [one.reason for one in link.incomplete] == ["idle_timeout"]


def test_a_device_that_stops_sending_is_given_up_after_the_limit_of_asks() -> None:
    link = linked(PICTURE, lose=range(4, 10_000))
    link.notify(link.camera.photo())

    link.wait(ASK_AGAIN_S * (ASKS_MAX + 2))

    assert [one.reason for one in link.incomplete] == ["idle_timeout"]
    assert link.camera.statuses == [(1, StatusCode.DAMAGED)]
    assert link.camera.kept == 1


def test_a_status_lost_with_its_link_is_told_again_without_sending_the_picture_again() -> None:
    link = linked(PICTURE)
    link.notify(link.camera.photo())
    link.act(link.framing.disconnected(1.0))
    link.framing.judged(link.done[-1].transfer, Verdict.COMMITTED, 1.1)  # nobody is there to hear it
    before = link.chunks

    link.connect()

    assert link.camera.statuses == [(1, StatusCode.ON_DISK)]
    assert (len(link.done), link.chunks) == (1, before)


# --- faults -------------------------------------------------------------------------------------------


def test_a_wrong_crc_is_asked_for_again_up_to_the_limit() -> None:
    framing, offered = framing_for(attempts_max=3), 0
    announce = Announce(version=1, content=1, orientation=0, transfer_id=9, total_bytes=100, crc32=1, chunk_bytes=100)
    actions = list(framing.notified("data", encode_from_device(announce), 0.0))
    while any(isinstance(one, Write) and one.data[0] == 0x11 for one in actions):
        offered += 1
        chunk = Chunk(id_low=9, index=0, data=bytes(100))
        actions = list(framing.notified("data", encode_from_device(chunk), 0.0))

    assert offered == 3
    assert [one.reason for one in actions if isinstance(one, Incomplete)] == ["crc"]
    assert written(actions) == [Status(code=StatusCode.DAMAGED, transfer_id=9)]


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("version", 2, StatusCode.VERSION_UNKNOWN),
        ("content", 9, StatusCode.ANNOUNCEMENT_INVALID),
        ("orientation", 9, StatusCode.ANNOUNCEMENT_INVALID),
        ("total_bytes", 0, StatusCode.ANNOUNCEMENT_INVALID),
        ("chunk_bytes", 0, StatusCode.ANNOUNCEMENT_INVALID),
        ("total_bytes", 100_001, StatusCode.TOO_LARGE),
        ("total_bytes", 0xFFFFFFFF, StatusCode.TOO_LARGE),
        ("chunk_bytes", 1, StatusCode.ANNOUNCEMENT_INVALID),
    ],
)
def test_an_announcement_that_can_not_be_served_is_refused_by_code(field: str, value: int, code: StatusCode) -> None:
    sound = {"version": 1, "content": 1, "orientation": 0, "transfer_id": 7, "total_bytes": 70_000, "crc32": 0}
    announce = Announce(**{**sound, "chunk_bytes": 240, field: value})

    assert written(framing_for().notified("data", encode_from_device(announce), 0.0)) == [
        Status(code=code, transfer_id=7)
    ]


def test_try_later_keeps_what_came_so_that_it_is_not_sent_again() -> None:
    link = linked(PICTURE)
    link.notify(link.camera.photo())
    link.judge(Verdict.LATER, retry_after_s=12.5)
    assert (link.camera.statuses, link.camera.retry_after_s) == ([(1, StatusCode.TRY_LATER)], 13)
    before = link.chunks

    link.notify(link.camera.announce())

    assert [one.payload for one in link.done] == [PICTURE, PICTURE]
    assert link.chunks == before


def test_a_straggler_hands_nothing_on_a_second_time() -> None:
    link = linked(PICTURE)
    link.notify(link.camera.photo())
    link.judge(Verdict.LATER, retry_after_s=12.5)

    straggler = encode_from_device(Chunk(id_low=1, index=0, data=PICTURE[:240]))
    link.act(link.framing.notified("data", straggler, link.now_s))

    assert len(link.done) == 1


def test_a_refused_picture_is_not_sent_again() -> None:
    link = linked(PICTURE)
    link.notify(link.camera.photo())
    link.judge(Verdict.REFUSED)

    assert link.camera.statuses == [(1, StatusCode.REFUSED)]
    assert link.camera.kept == 0


def test_a_restarted_counter_with_another_picture_is_a_new_transfer() -> None:
    other = PICTURE[:-9] + b"another\xff\xd9"
    link = linked(PICTURE)
    link.notify(link.camera.photo())
    link.judge(Verdict.COMMITTED)
    link.camera = GatewayImage1Camera(iter([other]))
    link.notify(link.camera.photo())

    assert [(one.submission_id, one.payload) for one in link.done] == [("1", PICTURE), ("1", other)]


def test_stragglers_of_another_transfer_are_not_taken() -> None:
    framing = framing_for()
    announce = Announce(
        version=1, content=1, orientation=6, transfer_id=2, total_bytes=2, crc32=zlib.crc32(b"ab"), chunk_bytes=1
    )
    packets: list[FromDevice] = [
        announce,
        Chunk(id_low=1, index=0, data=b"x"),
        Chunk(id_low=2, index=0, data=b"a"),
        Chunk(id_low=2, index=1, data=b"b"),
    ]

    actions = [action for one in packets for action in framing.notified("data", encode_from_device(one), 0.0)]

    assert [(one.payload, one.orientation) for one in actions if isinstance(one, Complete)] == [(b"ab", 6)]


def test_a_chunk_of_another_size_than_announced_is_asked_for_again() -> None:
    framing = framing_for()
    announce = Announce(
        version=1, content=1, orientation=0, transfer_id=2, total_bytes=4, crc32=zlib.crc32(b"abcd"), chunk_bytes=2
    )
    packets: list[FromDevice] = [
        announce,
        Chunk(id_low=2, index=0, data=b"ab"),
        Chunk(id_low=2, index=1, data=bytes(500)),
        End(id_low=2),
    ]

    actions = [action for one in packets for action in framing.notified("data", encode_from_device(one), 0.0)]

    assert written(actions)[-1] == Request(id_low=2, ranges=(Range(first=1, count=1),))


def test_a_device_that_does_not_wait_for_outcomes_is_put_off() -> None:
    framing = framing_for()
    last: list[Action] = []
    crc32 = zlib.crc32(b"a")
    for number in range(1, UNJUDGED_MAX + 2):
        announce = Announce(
            version=1,
            content=1,
            orientation=0,
            transfer_id=number,
            total_bytes=1,
            crc32=crc32,
            chunk_bytes=1,
        )
        last = list(framing.notified("data", encode_from_device(announce), 0.0))
        framing.notified("data", encode_from_device(Chunk(id_low=number, index=0, data=b"a")), 0.0)

    assert [one.code for one in written(last) if isinstance(one, Status)] == [StatusCode.TRY_LATER]


def test_commands_are_written() -> None:
    framing = framing_for()

    assert written(framing.command("photo", None, 0.0)) == [Command(code=CommandCode.PHOTO, value=0)]
    assert written(framing.command("interval", 30, 0.0)) == [Command(code=CommandCode.INTERVAL, value=30)]
    assert framing.command("dance", 1, 0.0) == ()


# --- packets ------------------------------------------------------------------------------------------


def test_the_packets_are_those_of_the_specification() -> None:
    announce = Announce(
        version=1, content=1, orientation=6, transfer_id=0x04030201, total_bytes=3005, crc32=0xDDCCBBAA, chunk_bytes=240
    )
    assert encode_from_device(announce).hex(" ") == "01 01 01 06 01 02 03 04 bd 0b 00 00 aa bb cc dd f0 00 00 00"
    assert encode_from_device(Chunk(id_low=1, index=258, data=b"\xff")).hex(" ") == "02 01 02 01 ff"
    assert encode_from_device(End(id_low=1)).hex(" ") == "03 01"
    assert encode_from_gateway(Hello(version=1, notification_bytes_max=244)).hex(" ") == "10 01 f4 00"
    ranges = (Range(first=0, count=65536), Range(first=3, count=2))
    assert encode_from_gateway(Request(id_low=1, ranges=ranges)).hex(" ") == "11 01 00 00 00 00 03 00 02 00"
    status = Status(code=StatusCode.TRY_LATER, transfer_id=0x04030201, retry_after_s=60)
    assert encode_from_gateway(status).hex(" ") == "12 40 01 02 03 04 3c 00"
    assert encode_from_gateway(Command(code=CommandCode.INTERVAL, value=30)).hex(" ") == "13 02 1e 00 00 00"


def test_every_packet_of_the_gateway_fits_the_smallest_mtu() -> None:
    link = linked(bytes(10_000), lose=range(2, 500, 3), att_payload_max=20)
    longest = 0
    written_before = link.camera.written

    def measured(role: str, data: bytes) -> Sequence[Notification]:
        nonlocal longest
        longest = max(longest, len(data))
        return written_before(role, data)

    link.camera.written = measured  # type: ignore[method-assign]
    link.notify(link.camera.photo())
    link.wait(60)

    assert [one.payload for one in link.done] == [bytes(10_000)]
    assert longest <= 20


def written(actions: Iterable[Action]) -> list[FromGateway | None]:
    return [parse_from_gateway(one.data) for one in actions if isinstance(one, Write)]


def test_what_is_no_packet_is_none() -> None:
    assert parse_from_device(b"") is None
    assert parse_from_device(b"\x02\x01\x00\x00") is None
    assert parse_from_gateway(b"\x11\x01") is None
    assert parse_from_gateway(b"\x99") is None
