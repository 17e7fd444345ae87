"""What half came from devices that are away: bounded by number, bytes and time, the oldest dropped and counted."""

from collections.abc import Awaitable, Coroutine, Generator
from typing import Any

import pytest

from adapters.ble.camera import Camera
from adapters.ble.cameras import CAMERAS_MAX, HALVES_MAX, Cameras
from adapters.ble.contract import Write
from adapters.ble.desk import Desk
from adapters.ble.directory import KnownDevice
from adapters.ble.framings import create_framing
from adapters.ble.profiles import Profile, load_profiles, profile_named
from gateway.settings import LimitsSettings
from gateway.simulators.devices.ble_image1_camera import GatewayImage1Camera
from tests.fakes.intake import FakeIntake, ManualClock, RecordingMeter

PICTURE = b"\xff\xd8\xff" + bytes(10_000)
KEEP_S = 600.0
# A picture, and a byte for each of its 42 chunks.
HALF_BYTES = len(PICTURE) + 42


class Written:
    """A write that is done."""

    def __await__(self) -> Generator[None, None, bool]:
        yield from ()
        return True


class World:
    """Cameras whose devices announce, send some chunks, and vanish."""

    def __init__(self, *, resume_bytes_max: int = 100 * HALF_BYTES) -> None:
        self.clock = ManualClock()
        self.written: list[Write] = []
        self.meter = RecordingMeter()
        self.profile = profile_named(load_profiles(), "gateway-image-1")
        self.cameras = Cameras(
            create=self._create, resume_bytes_max=resume_bytes_max, resume_keep_s=KEEP_S, clock=self.clock
        )

    def linked(self, number: int) -> Camera:
        known = KnownDevice(device_id=f"cam-{number}", address=f"address-{number}", profile=None, settings=None)
        camera = self.cameras.of(known, self.profile)
        self.written.clear()
        camera.attach(self._send, att_payload_max=244)
        return camera

    def half(self, number: int) -> Camera:
        """Return a camera that went away in a picture, a second after the one before."""
        camera, device = self.linked(number), GatewayImage1Camera(iter([PICTURE]))
        for notification in device.photo():
            camera.notified(notification.role, notification.data)
        for notification in device.written("control", self.written[-1].data)[:5]:
            camera.notified(notification.role, notification.data)
        camera.detach()
        self.cameras.trim()
        self.clock.advance(1)
        return camera

    def counted(self, reason: str) -> float:
        return self.meter.counts("gateway_ble_transfers_total", profile="gateway-image-1", outcome=reason)

    def _send(self, write: Write) -> Awaitable[bool]:
        self.written.append(write)
        return Written()

    def _create(self, known: KnownDevice, profile: Profile) -> Camera:
        framing = create_framing(
            profile, image_bytes_max=100_000, reading_bytes_max=1_000, attempts_max=3, resume_keep_s=KEEP_S
        )
        desk = Desk(
            intake=FakeIntake(), limits=LimitsSettings(), clock=self.clock, meter=self.meter, mint_id=lambda: "id"
        )
        return Camera(
            device_id=known.device_id,
            profile=profile,
            framing=framing,
            desk=desk,
            clock=self.clock,
            meter=self.meter,
            spawn=_spawn_nothing,
        )


def _spawn_nothing(work: Coroutine[Any, Any, None]) -> None:
    work.close()


@pytest.fixture
def world() -> World:
    return World()


def test_half_picture_of_a_device_that_is_away_is_kept(world: World) -> None:
    assert world.half(1).held_bytes == HALF_BYTES


def test_of_more_halves_than_are_kept_the_longest_away_is_dropped_and_counted(world: World) -> None:
    halves = [world.half(number) for number in range(HALVES_MAX + 2)]
    assert [number for number, half in enumerate(halves) if not half.held_bytes] == [0, 1]
    assert world.counted("no_room") == 2


def test_of_more_bytes_than_are_kept_the_longest_away_are_dropped_and_counted() -> None:
    world = World(resume_bytes_max=3 * HALF_BYTES - 1)
    halves = [world.half(number) for number in range(4)]
    assert [number for number, half in enumerate(halves) if not half.held_bytes] == [0, 1]
    assert world.counted("no_room") == 2


def test_half_that_is_larger_than_all_that_is_kept_is_dropped() -> None:
    world = World(resume_bytes_max=HALF_BYTES - 1)
    assert world.half(1).held_bytes == 0
    assert world.counted("no_room") == 1


def test_device_that_comes_back_keeps_its_half_whatever_the_others_left(world: World) -> None:
    first = world.half(0)
    world.linked(0)
    for number in range(1, HALVES_MAX + 2):
        world.half(number)
    assert first.held_bytes == HALF_BYTES
    assert world.counted("no_room") == 1


def test_half_whose_device_stays_away_is_dropped_after_its_time(world: World) -> None:
    half = world.half(1)
    world.clock.advance(KEEP_S)
    world.cameras.trim()
    assert half.held_bytes == 0
    assert world.counted("idle_timeout") == 1


def test_camera_that_is_forgotten_for_newer_ones_is_counted_with_its_half(world: World) -> None:
    world.half(0)
    for number in range(1, CAMERAS_MAX + 1):
        world.linked(number).detach()
    assert world.counted("no_room") == 1


def test_camera_that_is_linked_is_not_forgotten_for_newer_ones(world: World) -> None:
    first = world.linked(0)
    for number in range(1, CAMERAS_MAX + 2):
        world.linked(number).detach()
    assert world.cameras.linked("cam-0") is first


def test_camera_without_a_link_is_not_found_by_its_device(world: World) -> None:
    world.linked(0).detach()
    assert world.cameras.linked("cam-0") is None
