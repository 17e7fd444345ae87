"""The protocols whose cameras send a picture once: what is whole, what is not, what is asked for again."""

import binascii
import struct
from collections.abc import Iterable, Sequence

import pytest

from adapters.ble.contract import Action, Complete, Framing, Incomplete, Verdict, Write
from adapters.ble.framings import create_framing
from adapters.ble.profiles import Profile, load_profiles, profile_named
from gateway.simulators.devices.ble_cameras import CAMERAS, OmiGlassCamera
from gateway.simulators.devices.ble_firmware import BleCamera, Notification

PICTURE = b"\xff\xd8\xff" + bytes(n % 251 for n in range(3000)) + b"\xff\xd9"
ONE_WAY = ["openglass", "omiglass", "nordic-its", "esp32cam-cafebabe", "jpeg-stream"]


def profile(name: str) -> Profile:
    return profile_named(load_profiles(), name)


def framing_for(name: str, *, image_bytes_max: int = 100_000, attempts_max: int = 3) -> Framing:
    return create_framing(
        profile(name),
        image_bytes_max=image_bytes_max,
        reading_bytes_max=1000,
        attempts_max=attempts_max,
        resume_keep_s=60,
    )


def camera(name: str, *pictures: bytes, att_payload_max: int = 244) -> BleCamera:
    return CAMERAS[name](iter(pictures), att_payload_max=att_payload_max)


def sent(framing: Framing, notifications: Iterable[Notification], now_s: float = 1.0) -> list[Action]:
    return [action for one in notifications for action in framing.notified(one.role, one.data, now_s)]


def settled(framing: Framing, notifications: Iterable[Notification]) -> list[Action]:
    """Send it all, then let time pass until nothing more is to come of it."""
    return [*sent(framing, notifications), *framing.ticked(2.5), *framing.ticked(20.0)]


def pictures(actions: Iterable[Action]) -> list[bytes]:
    return [action.payload for action in actions if isinstance(action, Complete)]


def reasons(actions: Iterable[Action]) -> list[str]:
    return [action.reason for action in actions if isinstance(action, Incomplete)]


def writes(actions: Iterable[Action]) -> list[tuple[str, bytes]]:
    return [(action.role, action.data) for action in actions if isinstance(action, Write)]


def without(notifications: Sequence[Notification], index: int) -> list[Notification]:
    return [*notifications[:index], *notifications[index + 1 :]]


# --- all of them --------------------------------------------------------------------------------------


@pytest.mark.parametrize("att_payload_max", [20, 244, 512])
@pytest.mark.parametrize("name", ONE_WAY)
def test_a_picture_arrives_as_it_was_sent(name: str, att_payload_max: int) -> None:
    framing = framing_for(name)

    actions = settled(framing, camera(name, PICTURE, att_payload_max=att_payload_max).photo())

    assert pictures(actions) == [PICTURE]
    assert not reasons(actions)


@pytest.mark.parametrize("name", ONE_WAY)
def test_two_pictures_in_a_row_arrive_as_two(name: str) -> None:
    framing, device = framing_for(name), camera(name, PICTURE, PICTURE)

    assert pictures([*settled(framing, device.photo()), *settled(framing, device.photo())]) == [PICTURE, PICTURE]


@pytest.mark.parametrize("name", ["openglass", "omiglass", "nordic-its", "esp32cam-cafebabe"])
def test_a_picture_with_a_lost_notification_is_never_handed_on(name: str) -> None:
    whole = camera(name, PICTURE).photo()
    for index, lost in enumerate(whole):
        if lost.data[0] == 2 and lost.role == "info":
            continue  # tells the link's parameters, which nobody needs
        framing = framing_for(name)

        actions = settled(framing, without(whole, index))

        assert not pictures(actions), index


@pytest.mark.parametrize("name", ["openglass", "nordic-its", "esp32cam-cafebabe"])
def test_a_link_lost_in_the_middle_is_counted_as_a_gap(name: str) -> None:
    framing = framing_for(name)
    sent(framing, camera(name, PICTURE).photo()[:5])

    assert reasons(framing.disconnected(2.0)) == ["gap"]
    assert pictures(settled(framing, camera(name, PICTURE).photo())) == [PICTURE]


@pytest.mark.parametrize("name", ONE_WAY)
def test_a_picture_beyond_the_limit_is_refused_without_being_held(name: str) -> None:
    framing = framing_for(name, image_bytes_max=1024)

    actions = sent(framing, camera(name, PICTURE).photo())

    assert "too_large" in reasons(actions)
    assert not pictures(actions)


@pytest.mark.parametrize("name", ["openglass", "nordic-its", "esp32cam-cafebabe"])
def test_silence_in_the_middle_ends_a_picture(name: str) -> None:
    framing = framing_for(name)
    sent(framing, camera(name, PICTURE).photo()[:5])

    assert not framing.ticked(1.5)
    assert reasons(framing.ticked(60.0)) in (["idle_timeout"], ["size"])


# --- asking again -------------------------------------------------------------------------------------


def test_a_damaged_picture_is_asked_for_again_when_it_is_quiet() -> None:
    framing, device = framing_for("openglass"), camera("openglass", PICTURE, PICTURE)
    framing.connected(0.0, att_payload_max=244)
    sent(framing, without(device.photo(), 3))

    assert not writes(framing.ticked(1.5))
    assert writes(framing.ticked(2.5)) == [("control", b"\xff")]
    assert pictures(sent(framing, device.photo(), now_s=3.0)) == [PICTURE]


def test_after_the_limit_of_attempts_it_is_not_asked_for_again() -> None:
    framing, asked = framing_for("openglass", attempts_max=3), 0
    bad = without(camera("openglass", PICTURE).photo(), 3)

    for attempt in range(3):
        sent(framing, bad, now_s=attempt * 10.0)
        asked += len(writes(framing.ticked(attempt * 10.0 + 2)))

    assert asked == 2


def test_a_trigger_that_nothing_answers_is_counted() -> None:
    framing = framing_for("openglass")

    assert writes(framing.connected(0.0, att_payload_max=244)) == [("control", b"\xff")]
    assert reasons(framing.ticked(14.0)) == []
    assert reasons(framing.ticked(15.5)) == ["idle_timeout"]


# --- OpenGlass and omiGlass ---------------------------------------------------------------------------


@pytest.mark.parametrize(("quarter_turns", "exif"), [(0, 1), (1, 6), (2, 3), (3, 8)])
def test_the_orientation_byte_of_omiglass_becomes_exifs(quarter_turns: int, exif: int) -> None:
    device = OmiGlassCamera(iter([PICTURE]), quarter_turns=quarter_turns)

    (done,) = sent(framing_for("omiglass"), device.photo())

    assert isinstance(done, Complete)
    assert (done.payload, done.orientation, done.submission_id) == (PICTURE, exif, None)


def test_every_notification_twice_makes_one_picture() -> None:
    twice = [one for notification in camera("openglass", PICTURE).photo() for one in (notification, notification)]

    assert pictures(sent(framing_for("openglass"), twice)) == [PICTURE]


def test_one_lost_chunk_is_counted_as_a_gap() -> None:
    assert reasons(sent(framing_for("openglass"), without(camera("openglass", PICTURE).photo(), 4))) == ["gap"]


def test_other_data_under_a_known_index_is_a_fault() -> None:
    whole = list(camera("openglass", PICTURE).photo())
    forged = Notification(role="data", data=whole[2].data[:2] + b"forged")

    assert reasons(sent(framing_for("openglass"), [*whole[:5], forged, *whole[5:]])) == ["protocol"]


def test_a_new_beginning_ends_the_old_picture_and_begins_one() -> None:
    other = b"\xff\xd8\xffother\xff\xd9"
    device = camera("openglass", PICTURE, other)

    actions = sent(framing_for("openglass"), [*device.photo()[:5], *device.photo()])

    assert reasons(actions) == ["gap"]
    assert pictures(actions) == [other]


def test_an_interval_is_written_within_the_bounds_of_the_profile() -> None:
    framing = framing_for("openglass")

    intervals = (1, 30, 1000)
    written = [writes(framing.command("interval", value, 0.0)) for value in intervals]

    assert written == [[("control", bytes([number]))] for number in (5, 30, 127)]
    assert framing.command("unknown", 1, 0.0) == ()


# --- Nordic ---------------------------------------------------------------------------------------------


def test_more_than_the_announced_size_is_counted_though_it_is_a_whole_jpeg() -> None:
    info = Notification(role="info", data=struct.pack("<BI", 1, len(PICTURE) - 10))

    assert reasons(sent(framing_for("nordic-its"), [info, Notification(role="data", data=PICTURE)])) == ["size"]


# --- ESP32-CAM ----------------------------------------------------------------------------------------


def test_esp32cam_is_acknowledged_after_the_commit_and_only_then() -> None:
    framing = framing_for("esp32cam-cafebabe")
    actions = sent(framing, camera("esp32cam-cafebabe", PICTURE).photo())
    (done,) = actions
    assert isinstance(done, Complete)

    assert writes(actions) == []
    assert framing.judged(done.transfer, Verdict.LATER, 2.0, retry_after_s=5) == ()

    (again,) = sent(framing, camera("esp32cam-cafebabe", PICTURE).photo())
    assert isinstance(again, Complete)
    told = framing.judged(again.transfer, Verdict.COMMITTED, 3.0)
    assert writes(told) == [("control", struct.pack("<I", 0xABCD4321))]


def test_a_wrong_crc16_is_counted() -> None:
    header = struct.pack("<IIIH", 0xCAFEBABE, len(PICTURE), 0, binascii.crc_hqx(PICTURE, 0xFFFF) ^ 1)
    body = [Notification(role="data", data=PICTURE[at : at + 244]) for at in range(0, len(PICTURE), 244)]

    actions = sent(framing_for("esp32cam-cafebabe"), [Notification(role="data", data=header), *body])

    assert reasons(actions) == ["crc"]


# --- raw JPEG -----------------------------------------------------------------------------------------


def test_a_stream_that_stops_before_the_end_mark_is_counted() -> None:
    framing = framing_for("jpeg-stream")
    sent(framing, camera("jpeg-stream", PICTURE).photo()[:3])

    assert reasons(framing.ticked(5.0)) == ["idle_timeout"]


def test_a_camera_that_hangs_up_after_its_picture_has_sent_it() -> None:
    framing = framing_for("jpeg-stream")
    sent(framing, camera("jpeg-stream", PICTURE).photo())

    assert pictures(framing.disconnected(1.1)) == [PICTURE]
