"""A camera over time, on loopback: when it is asked, what is handed in, and how it stands."""

import asyncio
import itertools

import pytest

from gateway.clock import SystemClock
from gateway.errors import (
    DiskUnavailable,
    IntakeFull,
    NotAnImage,
    OutboxFull,
    SubmitTimeout,
)
from gateway.messages import Image, Transport
from tests.fakes.intake import FakeIntake
from tests.fakes.pulled_cameras import numbered, running, settings, until
from tests.fakes.raw_camera import PICTURE, answer, raw_camera, watched


async def test_each_new_picture_is_handed_in_as_the_cameras() -> None:
    intake = FakeIntake()
    async with raw_camera(numbered()) as camera:
        site = watched(settings(camera.url), intake)
        async with running(site.cameras):
            await until(lambda: len(intake.events) >= 3)
    assert {one.device_id for one in intake.submissions} == {"cam-0"}
    assert {one.transport for one in intake.submissions} == {Transport.CAMERA_PULL}
    assert len({one.submission_id for one in intake.submissions}) == len(intake.submissions)
    assert site.outcomes("committed") >= 3
    assert (intake.places_held, intake.bytes_held) == (0, 0)
    assert site.status.noted == [("cam-0", "online", f"http://127.0.0.1:{camera.port}")]


async def test_an_unchanged_picture_is_no_event_whatever_is_behind_its_end() -> None:
    stamps = itertools.count()
    intake = FakeIntake()
    async with raw_camera(lambda _: answer(PICTURE + b"stamp %d" % next(stamps))) as camera:
        site = watched(settings(camera.url), intake)
        async with running(site.cameras):
            await until(lambda: site.outcomes("unchanged") >= 3)
    assert len(intake.events) == 1
    assert intake.submissions[0].payload == Image(data=PICTURE)


async def test_an_unchanged_picture_is_an_event_where_the_setting_says_so() -> None:
    intake = FakeIntake()
    async with raw_camera(answer()) as camera:
        site = watched(settings(camera.url, skip_unchanged=False), intake)
        async with running(site.cameras):
            await until(lambda: len(intake.events) >= 3)


async def test_a_place_and_the_bytes_are_reserved_before_the_picture_is_read() -> None:
    intake = FakeIntake(closed=IntakeFull("full", retry_after_s=0.05))
    async with raw_camera(answer()) as camera:
        site = watched(settings(camera.url), intake)
        async with running(site.cameras):
            await until(lambda: site.outcomes("unavailable") >= 2)
            assert not intake.submissions
            intake.closed = None
            await until(lambda: bool(intake.events))
    assert intake.bytes_held_high == len(PICTURE)
    # Its picture found no room: that is not the camera's failure.
    assert [state for _, state, _ in site.status.noted] == ["online"]


async def test_a_picture_that_finds_no_room_while_it_is_read_is_dropped_and_gives_all_back() -> None:
    intake = FakeIntake(bytes_max=len(PICTURE) // 2)
    async with raw_camera(answer(), piece_bytes=500) as camera:
        site = watched(settings(camera.url), intake)
        async with running(site.cameras):
            await until(lambda: site.outcomes("unavailable") >= 1)
    assert (intake.places_held, intake.bytes_held, intake.submissions) == (0, 0, [])


async def test_a_full_outbox_drops_the_picture_and_the_camera_is_asked_for_a_newer_one() -> None:
    intake = FakeIntake(fault=OutboxFull("full", retry_after_s=0.05))
    async with raw_camera(numbered()) as camera:
        site = watched(settings(camera.url), intake)
        async with running(site.cameras):
            await until(lambda: site.outcomes("unavailable") >= 2)
            intake.fault = None
            await until(lambda: bool(intake.events))
    assert intake.submissions[0].payload != intake.submissions[-1].payload


async def test_a_moments_trouble_of_the_disk_does_not_cost_a_minute_of_pictures() -> None:
    intake = FakeIntake(fault=DiskUnavailable("a moment's trouble"))  # devices are asked to wait for a minute
    async with raw_camera(numbered()) as camera:
        site = watched(settings(camera.url), intake)
        async with running(site.cameras):
            await until(lambda: site.outcomes("unavailable") >= 1)
            intake.fault = None
            await until(lambda: bool(intake.events))


async def test_a_picture_whose_commit_is_not_known_keeps_its_id() -> None:
    intake = FakeIntake(fault=SubmitTimeout("late", retry_after_s=0.05))
    async with raw_camera(answer()) as camera:
        site = watched(settings(camera.url), intake)
        async with running(site.cameras):
            await until(lambda: len(intake.submissions) >= 2)
            intake.fault = None
            await until(lambda: site.outcomes("unchanged") >= 1)
    assert len({one.submission_id for one in intake.submissions}) == 1
    assert len(intake.events) == 1


async def test_a_refused_picture_is_refused_once() -> None:
    intake = FakeIntake(fault=NotAnImage("no"))
    async with raw_camera(answer()) as camera:
        site = watched(settings(camera.url), intake)
        async with running(site.cameras):
            await until(lambda: site.outcomes("unchanged") >= 2)
    assert (len(intake.submissions), site.outcomes("refused")) == (1, 1)


# --- failures -----------------------------------------------------------------------------------------


async def test_a_failing_camera_is_asked_ever_more_rarely_told_as_lost_and_told_when_it_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("adapters.camera_pull.camera.BACKOFF_INITIAL_S", 0.03)
    broken, times = [True], []

    def answers(_: str) -> bytes:
        times.append(asyncio.get_running_loop().time())
        return answer(status="503 Busy") if broken[0] else answer()

    async with raw_camera(answers) as camera:
        site = watched(settings(camera.url, camera={"interval_s": 0.01}), FakeIntake())
        async with running(site.cameras):
            await until(lambda: len(times) >= 6)
            broken[0] = False
            await until(lambda: site.outcomes("committed") == 1)
    gaps = [later - sooner for sooner, later in itertools.pairwise(times[:6])]
    # The bound doubles, and at least half of it is waited: 0.03, 0.06, 0.12, 0.24, 0.48.
    assert all(gap >= 0.014 * 2**n for n, gap in enumerate(gaps)), gaps
    assert [state for _, state, _ in site.status.noted] == ["lost", "online"]
    assert site.status.noted[0][2] == "status: it answers 503"
    assert site.outcomes("status") == 6


async def test_a_wrong_password_is_tried_once_in_the_longest_time() -> None:
    challenge = b'HTTP/1.1 401 no\r\nWWW-Authenticate: Digest realm="r", nonce="n", qop="auth"\r\n\r\n'
    async with raw_camera(challenge) as camera:
        site = watched(settings(camera.url, camera={"username": "admin"}, backoff_max_s=60), FakeIntake())
        async with running(site.cameras):
            await until(lambda: site.outcomes("login_refused") == 1)
            assert site.cameras[0]._not_before_s - SystemClock().monotonic() > 25
    assert len([head for head in camera.asked if "Authorization" in head]) == 1


@pytest.mark.parametrize("shows", ["nothing", "the same"])
async def test_a_camera_without_a_new_picture_for_its_time_is_told_as_silent_until_it_has_one(
    shows: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.camera_pull.camera.BACKOFF_INITIAL_S", 0.05)
    fresh, well = numbered(), [True]
    stale = answer() if shows == "the same" else answer(b"", status="500 broken")
    async with raw_camera(lambda head: fresh(head) if well[0] else stale) as camera:
        site = watched(settings(camera.url, camera={"silent_after_s": 0.3}, backoff_max_s=1), FakeIntake())

        def states() -> list[str]:
            return [state for _, state, _ in site.status.noted]

        async with running(site.cameras):
            await until(lambda: states() == ["online"])
            well[0] = False
            await until(lambda: states()[-1] == "silent")
            well[0] = True
            await until(lambda: states()[-1] == "online")
    assert "silent" in states()
