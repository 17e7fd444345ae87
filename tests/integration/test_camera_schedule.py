"""A camera over time, on loopback: when it is asked, what is handed in, how it stands, and that none delays another."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from structlog.testing import capture_logs

from adapters.camera_pull.adapter import CameraPullAdapter
from adapters.camera_pull.camera import FIRST_WITHIN_S, Outcome, PulledCamera
from adapters.camera_pull.places import Places
from adapters.camera_pull.trust import TrustStore
from gateway.clock import SystemClock
from gateway.errors import (
    AdapterUnavailable,
    CommandUnknown,
    DiskUnavailable,
    IntakeFull,
    NotAnImage,
    OutboxFull,
    SubmitTimeout,
)
from gateway.messages import DeviceCommand, Image, Transport
from gateway.settings import CameraPullSettings
from tests.fakes.intake import FakeIntake
from tests.fakes.raw_camera import PICTURE, RawCamera, Watched, answer, raw_camera, watched


def settings(*urls: str, camera: dict[str, object] | None = None, **pull: object) -> CameraPullSettings:
    given = {"interval_s": 0.05, "timeout_s": 5, **(camera or {})}
    cameras = [{"url": url, "device_id": f"cam-{n}", **given} for n, url in enumerate(urls)]
    return CameraPullSettings.model_validate({"camera": cameras, **pull})


@asynccontextmanager
async def running(cameras: Sequence[PulledCamera]) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(camera.run()) for camera in cameras]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ended), ended


async def until(holds: Callable[[], bool], timeout_s: float = 20) -> None:
    deadline_s = asyncio.get_running_loop().time() + timeout_s
    while not holds():
        assert asyncio.get_running_loop().time() < deadline_s, "not in time"
        await asyncio.sleep(0.005)


def numbered() -> Callable[[str], bytes]:
    """Answer with another picture each time: the same, and a number behind its end... which would be cut off."""
    numbers = itertools.count()

    def answers(_: str) -> bytes:
        # A comment segment (T.81, B.2.4.5) makes other bytes of the same picture.
        return answer(PICTURE[:2] + b"\xff\xfe\x00\x06%04d" % next(numbers) + PICTURE[2:])

    return answers


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


# --- many ---------------------------------------------------------------------------------------------


@dataclass
class Rhythm:
    """When each camera was asked."""

    times: dict[int, list[float]] = field(default_factory=dict)

    def of(self, number: int) -> Callable[[str], bytes]:
        pictures = numbered()

        def answers(head: str) -> bytes:
            self.times.setdefault(number, []).append(asyncio.get_running_loop().time())
            return pictures(head)

        return answers


@asynccontextmanager
async def many(count: int, make: Callable[[int], dict[str, Any]]) -> AsyncIterator[tuple[list[RawCamera], Rhythm]]:
    rhythm = Rhythm()
    async with contextlib.AsyncExitStack() as stack:
        cameras = [
            await stack.enter_async_context(raw_camera(rhythm.of(number), **make(number))) for number in range(count)
        ]
        yield cameras, rhythm


async def test_a_hundred_cameras_are_asked_on_time_though_some_are_dead_silent_or_slow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("adapters.camera_pull.camera.SLOW_S", 0.2)
    interval_s, bad, known_after_s, watched_s = 0.8, 24, 1.7, 2.4
    kinds: list[dict[str, Any]] = [
        {"before": asyncio.Event().wait},  # takes the connection and says nothing
        {"piece_bytes": 100, "pause_s": 0.4},  # never done in time
        {"piece_bytes": 1000, "pause_s": 0.1},  # slow, and done
    ]
    intake = FakeIntake()
    async with many(100, lambda n: kinds[n % len(kinds)] if n < bad else {}) as (cameras, rhythm):
        urls = [camera.url for camera in cameras]
        camera: dict[str, object] = {"interval_s": interval_s, "timeout_s": 0.8}
        site = watched(settings(*urls, camera=camera, at_once_max=4, backoff_max_s=1), intake)
        async with running(site.cameras):
            # The first time nobody knows who is slow: a slow one may then hold a place that all wait for.
            await asyncio.sleep(known_after_s)
            known_from_s = asyncio.get_running_loop().time()
            await asyncio.sleep(watched_s)
    for number in range(bad, 100):
        times = [at_s for at_s in rhythm.times[number] if at_s >= known_from_s]
        # A tenth more or less by the jitter; the rest is room for a machine that does much else.
        assert len(times) >= 2, number
        assert max(later - sooner for sooner, later in itertools.pairwise(times)) < 1.1 * interval_s + 1, number
    taken = {one.device_id for one in intake.submissions}
    assert {f"cam-{n}" for n in range(bad, 100)} < taken  # some that are slow and done had their turn, too
    assert intake.places_held_high <= 4
    assert site.outcomes("timed_out") >= 16


async def test_a_camera_that_was_slow_leaves_places_to_those_that_were_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapters.camera_pull.camera.SLOW_S", 0.1)
    monkeypatch.setattr("adapters.camera_pull.camera.FIRST_WITHIN_S", 0.01)
    never_done: dict[str, Any] = {"piece_bytes": 100, "pause_s": 0.3}
    intake = FakeIntake()
    async with many(13, lambda n: never_done if n else {}) as (cameras, rhythm):
        camera: dict[str, object] = {"interval_s": 0.1, "timeout_s": 0.4}
        site = watched(settings(*[one.url for one in cameras], camera=camera, at_once_max=2, backoff_max_s=1), intake)
        async with running(site.cameras):
            await until(lambda: all(one._is_slow for one in site.cameras[1:]))
            asked = len(rhythm.times[0])
            await asyncio.sleep(1.5)
    # Some 14 in that time; 3 or 4 when it has to wait for those that are never done.
    assert len(rhythm.times[0]) - asked >= 7


async def test_a_camera_that_turns_out_to_be_slow_is_asked_again_among_the_slow_and_keeps_no_other_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("adapters.camera_pull.camera.SLOW_S", 0.2)
    intake = FakeIntake()
    async with raw_camera(numbered(), piece_bytes=1000, pause_s=0.1) as camera:
        site = watched(settings(camera.url), intake)
        async with running(site.cameras):
            await until(lambda: len(intake.events) >= 2)
    # Twice for the first picture, once for the second, and one may be under way.
    assert 3 <= len(camera.asked) <= 4
    assert site.outcomes("timed_out") == 0


async def test_slow_cameras_have_half_of_the_places_at_most() -> None:
    places, release = Places(4), asyncio.Event()

    async def hold(*, is_slow: bool, taken: list[int]) -> None:
        async with places.place(slow=is_slow):
            taken.append(places.taken)
            await release.wait()

    slow: list[int] = []
    fast: list[int] = []
    tasks = [asyncio.create_task(hold(is_slow=True, taken=slow)) for _ in range(5)]
    tasks += [asyncio.create_task(hold(is_slow=False, taken=fast)) for _ in range(3)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (len(slow), len(fast), places.taken) == (2, 2, 4)
    release.set()
    await asyncio.gather(*tasks)
    assert (len(slow), len(fast), places.taken) == (5, 3, 0)


def test_every_start_warns_of_a_camera_that_is_believed_whoever_it_is() -> None:
    site = settings("https://10.0.0.1/secret-path", "https://10.0.0.2/", camera={"verify": False})
    for _ in range(2):
        with capture_logs() as logs:
            watched(site, FakeIntake())
        told = [line for line in logs if line["event"] == "camera_not_verified"]
        assert [(line["device_id"], line["log_level"]) for line in told] == [("cam-0", "warning"), ("cam-1", "warning")]
        assert "secret-path" not in str(logs)


def test_cameras_that_trust_the_same_share_what_that_costs() -> None:
    store = TrustStore()
    urls = [f"https://10.0.0.{n}/" for n in range(3)]
    contexts = {id(store.context(one)) for one in settings(*urls).camera}
    assert len(contexts) == 1
    assert id(store.context(settings(urls[0], camera={"verify": False}).camera[0])) not in contexts


async def test_first_pictures_are_spread_and_intervals_vary() -> None:
    site = watched(settings(*[f"http://10.0.0.{n}/" for n in range(1, 101)], camera={"interval_s": 60}), FakeIntake())
    draws = [camera._first_wait_s() for camera in site.cameras]
    assert min(draws) < 0.1 * FIRST_WITHIN_S
    assert 0.9 * FIRST_WITHIN_S < max(draws) <= FIRST_WITHIN_S
    waits = [camera._wait_s(Outcome.COMMITTED, took_s=1) for camera in site.cameras]
    assert all(53 <= wait <= 65 for wait in waits)
    assert max(waits) - min(waits) > 8


# --- the adapter --------------------------------------------------------------------------------------


def adapter_of(site: Watched) -> CameraPullAdapter:
    return CameraPullAdapter(lambda: site.cameras)


def command(name: str = "photo", *, device_id: str = "cam-0", command_id: str = "c1") -> DeviceCommand:
    return DeviceCommand(command_id=command_id, device_id=device_id, name=name)


async def test_photo_on_command_is_handed_in_also_if_it_is_unchanged() -> None:
    intake = FakeIntake()
    async with raw_camera(answer()) as camera:
        adapter = adapter_of(watched(settings(camera.url, camera={"interval_s": 0}), intake))
        await adapter.start()
        try:
            assert await adapter.tell(command())
            assert await adapter.tell(command(command_id="c2"))
            assert not await adapter.tell(command(device_id="another"))
            with pytest.raises(CommandUnknown, match="photo"):
                await adapter.tell(command("reboot"))
        finally:
            await adapter.stop(1)
    assert len(intake.events) == len(camera.asked) == 2


async def test_a_slow_camera_takes_one_photo_for_a_command_that_is_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapters.camera_pull.adapter.PHOTO_WAIT_S", 0.05)
    intake = FakeIntake()
    async with raw_camera(answer(), pause_s=0.1, piece_bytes=2000) as camera:
        adapter = adapter_of(watched(settings(camera.url, camera={"interval_s": 0}), intake))
        await adapter.start()
        try:
            tries = 1
            while not await adapter.tell(command()):
                tries += 1
        finally:
            await adapter.stop(1)
    assert tries > 1
    assert len(camera.asked) == 1


async def test_a_camera_that_failed_is_not_there_for_commands_until_it_may_be_asked_again() -> None:
    async with raw_camera(b"") as camera:
        adapter = adapter_of(watched(settings(camera.url, camera={"interval_s": 0}), FakeIntake()))
        await adapter.start()
        try:
            assert not await adapter.tell(command())
            assert not await adapter.tell(command())
            assert len(camera.asked) == 1
        finally:
            await adapter.stop(1)


async def test_stop_lets_the_intake_finish_and_leaves_nothing_behind() -> None:
    intake = FakeIntake(submit_s=0.3)
    async with raw_camera(answer()) as camera, raw_camera(b"", stays_open=True) as silent:
        site = watched(settings(camera.url, silent.url), intake)
        adapter = adapter_of(site)
        before = len(asyncio.all_tasks())
        await adapter.start()
        assert adapter.describe() == "2 cameras asked for pictures"
        await until(lambda: len(intake.submissions) == 1 and silent.open_connections == 1)
        await adapter.stop(5)
        await until(lambda: silent.open_connections == 0)
        assert len(asyncio.all_tasks()) <= before + 2  # the raw cameras' own
    assert len(intake.events) == 1
    assert intake.places_held == 0


async def test_a_bug_in_one_camera_ends_the_adapter_which_says_whose(monkeypatch: pytest.MonkeyPatch) -> None:
    site = watched(settings("http://10.0.0.1/", "http://10.0.0.2/"), FakeIntake())
    monkeypatch.setattr(site.cameras[1], "_rest", None)
    adapter = adapter_of(site)
    await adapter.start()
    try:
        async with asyncio.timeout(10):
            with pytest.raises(AdapterUnavailable, match="camera cam-1 broke"):
                await adapter.failed()
    finally:
        await adapter.stop(1)


async def test_a_stopped_adapter_starts_again_and_knows_what_it_knew() -> None:
    intake = FakeIntake()
    async with raw_camera(answer()) as camera:
        site = watched(settings(camera.url), intake)
        adapter = adapter_of(site)
        for _ in range(2):
            await adapter.start()
            asked = len(camera.asked)
            await until(lambda asked=asked: len(camera.asked) >= asked + 2)  # type: ignore[misc]
            await adapter.stop(1)
    assert len(intake.events) == 1
