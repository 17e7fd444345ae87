"""Many cameras, on loopback: none delays another, and what they share costs once."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from structlog.testing import capture_logs

from adapters.camera_pull.camera import FIRST_WITHIN_S, Outcome
from adapters.camera_pull.places import Places
from adapters.camera_pull.trust import TrustStore
from tests.fakes.intake import FakeIntake
from tests.fakes.pulled_cameras import numbered, running, settings, until
from tests.fakes.raw_camera import RawCamera, raw_camera, watched


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
