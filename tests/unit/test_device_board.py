"""Who is there; and, if wanted, events for those that come and go."""

import asyncio
import json

import pytest

from gateway import device_board
from gateway.device_board import DeviceBoard
from gateway.errors import IntakeFull
from gateway.messages import DeviceStatus, Readings, Transport
from tests.fakes.intake import FakeIntake, ManualClock, RecordingMeter


def board(intake: FakeIntake, *, events: bool = False) -> tuple[DeviceBoard, RecordingMeter]:
    meter = RecordingMeter()
    return DeviceBoard(intake=intake, events=events, clock=ManualClock(), meter=meter), meter


def status(device_id: str = "cam-1", state: str = "online", detail: str = "") -> DeviceStatus:
    return DeviceStatus(device_id=device_id, transport=Transport.MQTT, state=state, detail=detail)  # type: ignore[arg-type]


def said(intake: FakeIntake) -> list[tuple[str, dict[str, str]]]:
    found = [(one.device_id, one.payload) for one in intake.submissions]
    return [(device_id, json.loads(payload.data)) for device_id, payload in found if isinstance(payload, Readings)]


def test_the_latest_change_is_listed_first() -> None:
    one, meter = board(FakeIntake())
    one.note(status("cam-1"))
    one.note(status("cam-2"))
    one.note(status("cam-1", "lost"))
    assert [(known.status.device_id, known.status.state) for known in one.devices()] == [
        ("cam-1", "lost"),
        ("cam-2", "online"),
    ]
    assert meter.counts("gateway_device_changes_total", transport="mqtt", state="online") == 2


def test_a_repetition_is_no_change() -> None:
    one, meter = board(FakeIntake())
    one.note(status())
    one.note(status())
    assert meter.counts("gateway_device_changes_total", transport="mqtt", state="online") == 1


def test_devices_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_board, "DEVICES_MAX", 2)
    one, _ = board(FakeIntake())
    for n in range(5):
        one.note(status(f"cam-{n}"))
    assert [known.status.device_id for known in one.devices()] == ["cam-4", "cam-3"]


async def _settled(one: DeviceBoard) -> None:
    task = asyncio.create_task(one.run())
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.wait({task})


async def test_changes_are_events_where_that_is_wanted() -> None:
    intake = FakeIntake()
    one, _ = board(intake, events=True)
    one.note(status())
    one.note(status("cam-2", "lost", "keep_alive_timeout; its will: bye"))
    await _settled(one)
    assert said(intake) == [
        ("cam-1", {"status": "online"}),
        ("cam-2", {"status": "lost", "detail": "keep_alive_timeout; its will: bye"}),
    ]


async def test_silence_and_its_end_are_events_always() -> None:
    intake = FakeIntake()
    one, _ = board(intake)
    for state in ("online", "silent"):
        one.note(status(state=state))
    await _settled(one)
    for state in ("online", "lost"):
        one.note(status(state=state))
        await _settled(one)
    assert said(intake) == [("cam-1", {"status": "silent"}), ("cam-1", {"status": "online"})]


async def test_changes_are_no_events_otherwise() -> None:
    intake = FakeIntake()
    one, _ = board(intake)
    one.note(status())
    await _settled(one)
    assert intake.submissions == []


async def test_while_the_intake_is_busy_a_devices_latest_change_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_board, "RETRY_S", 0.01)
    intake = FakeIntake(fault=IntakeFull("busy"))
    one, _ = board(intake, events=True)
    task = asyncio.create_task(one.run())
    one.note(status())
    await asyncio.sleep(0.03)
    one.note(status(state="offline"))
    intake.fault = None
    intake.submissions.clear()
    async with asyncio.timeout(5):
        while not intake.events:  # noqa: ASYNC110  a fake's list
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait({task})
    assert said(intake)[-1] == ("cam-1", {"status": "offline"})
