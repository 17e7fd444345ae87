"""Commands are kept, told when the device is there, settled once and reported upstream."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gateway import command_desk
from gateway.command_desk import CommandDesk
from gateway.device_commands import command_body
from gateway.errors import CommandUnknown, OutboxFull
from gateway.messages import Command, DeviceCommand, Readings
from gateway.outbox.inspection import command_outcome
from gateway.outbox.sqlite_outbox import SqliteOutbox
from gateway.ports import CommandTarget
from tests.fakes.intake import FakeIntake, ManualClock, RecordingMeter
from tests.fakes.outbox_parts import opened

pytestmark = pytest.mark.usefixtures("quick_looks")


@dataclass
class FakeFace:
    """Implements ports.CommandTarget for the devices that are ``here``."""

    here: set[str] = field(default_factory=set)
    knows: set[str] = field(default_factory=lambda: {"photo"})
    told: list[DeviceCommand] = field(default_factory=list)
    hangs: bool = False

    async def tell(self, command: DeviceCommand) -> bool:
        if self.hangs:
            await asyncio.Event().wait()
        if command.device_id not in self.here:
            return False
        if command.name not in self.knows:
            raise CommandUnknown(f"{command.device_id} knows no {command.name}")
        self.told.append(command)
        return True


@dataclass
class Desk:
    desk: CommandDesk
    outbox: SqliteOutbox
    intake: FakeIntake
    clock: ManualClock
    meter: RecordingMeter
    data_dir: Path

    async def give(self, body: bytes, command_id: str = "c-1") -> None:
        command = Command(command_id=command_id, received_at=self.clock.now(), body=body, properties={})
        await self.desk.take(command)

    async def outcome(self, command_id: str = "c-1") -> str:
        async with asyncio.timeout(10):
            while (state := command_outcome(self.data_dir, command_id)[0]) == "waiting":  # noqa: ASYNC110  another process's view
                await asyncio.sleep(0.01)
        return state

    def reports(self) -> list[dict[str, object]]:
        payloads = [one.payload for one in self.intake.submissions]
        return [json.loads(one.data) for one in payloads if isinstance(one, Readings)]


@pytest.fixture
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_desk, "LOOK_EVERY_S", 0.01)


@asynccontextmanager
async def running(
    data_dir: Path, *faces: CommandTarget, intake: FakeIntake | None = None, runs: bool = True
) -> AsyncIterator[Desk]:
    clock, meter = ManualClock(), RecordingMeter()
    intake = intake or FakeIntake()

    def targets() -> Sequence[CommandTarget]:
        return faces

    async with opened(data_dir) as outbox:
        desk = CommandDesk(
            store=outbox,
            intake=intake,
            targets=targets,
            gateway_id="gw-1",
            keep_s=600,
            clock=clock,
            meter=meter,
        )
        task = asyncio.create_task(desk.run() if runs else asyncio.sleep(0))
        try:
            yield Desk(desk, outbox, intake, clock, meter, data_dir)
        finally:
            task.cancel()
            await asyncio.wait({task})


PHOTO = command_body("cam-1", "photo", None)


async def test_a_command_is_told_to_the_face_that_has_the_device(tmp_path: Path) -> None:
    other, face = FakeFace(), FakeFace(here={"cam-1"})
    async with running(tmp_path, other, face) as site:
        await site.give(PHOTO)
        assert await site.outcome() == "told"
    assert [one.name for one in face.told] == ["photo"]
    assert other.told == []


async def test_the_outcome_goes_upstream_as_a_reading_of_the_device(tmp_path: Path) -> None:
    async with running(tmp_path, FakeFace(here={"cam-1"})) as site:
        await site.give(PHOTO)
        await site.outcome()
    assert site.reports() == [{"command_id": "c-1", "command": "photo", "outcome": "told"}]
    assert (site.intake.last.device_id, site.intake.last.submission_id) == ("cam-1", "command-c-1")


async def test_a_command_waits_until_its_device_is_there(tmp_path: Path) -> None:
    face = FakeFace()
    async with running(tmp_path, face) as site:
        await site.give(PHOTO)
        await asyncio.sleep(0.05)
        assert command_outcome(tmp_path, "c-1") == ("waiting", "")
        face.here.add("cam-1")
        assert await site.outcome() == "told"


async def test_a_command_whose_device_stays_away_expires_and_says_so(tmp_path: Path) -> None:
    async with running(tmp_path, FakeFace()) as site:
        await site.give(PHOTO)
        await asyncio.sleep(0.05)
        site.clock.advance(601)
        assert await site.outcome() == "expired"
    assert site.reports()[0]["outcome"] == "expired"
    assert "command_keep_s" in str(site.reports()[0]["detail"])


async def test_a_command_that_the_device_does_not_know_is_invalid_at_once(tmp_path: Path) -> None:
    async with running(tmp_path, FakeFace(here={"cam-1"})) as site:
        await site.give(command_body("cam-1", "dance", None))
        assert await site.outcome() == "invalid"
        async with asyncio.timeout(10):  # the outcome is on disk a moment before it is counted
            while site.meter.counts("gateway_commands_total", outcome="invalid") != 1:  # noqa: ASYNC110
                await asyncio.sleep(0.005)


async def test_nonsense_is_reported_under_the_gateways_own_id(tmp_path: Path) -> None:
    async with running(tmp_path) as site:
        await site.give(b"make me a sandwich", command_id="../../with spaces")
        assert await site.outcome("../../with spaces") == "invalid"
    assert site.intake.last.device_id == "gw-1"
    assert (site.intake.last.submission_id or "").startswith("command-")


async def test_a_face_that_hangs_keeps_no_other_from_its_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command_desk, "TELL_TIMEOUT_S", 0.01)
    face = FakeFace(here={"cam-1"})
    async with running(tmp_path, FakeFace(hangs=True), face) as site:
        await site.give(PHOTO)
        assert await site.outcome() == "told"


async def test_a_command_survives_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path, FakeFace()) as site:
        await site.give(PHOTO)
    async with running(tmp_path, FakeFace(here={"cam-1"})) as site:
        assert await site.outcome() == "told"


async def test_a_settled_command_is_not_told_again_after_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path, FakeFace(here={"cam-1"})) as site:
        await site.give(PHOTO)
        await site.outcome()
    face = FakeFace(here={"cam-1"})
    async with running(tmp_path, face) as site:
        await site.give(command_body("cam-1", "photo", None), command_id="c-2")
        await site.outcome("c-2")
    assert [one.command_id for one in face.told] == ["c-2"]


async def test_while_the_outbox_is_full_the_device_is_told_once_and_the_outcome_waits(tmp_path: Path) -> None:
    intake = FakeIntake(fault=OutboxFull("full"))
    face = FakeFace(here={"cam-1"})
    async with running(tmp_path, face, intake=intake) as site:
        await site.give(PHOTO)
        await asyncio.sleep(0.1)
        assert command_outcome(tmp_path, "c-1")[0] == "waiting"
        intake.fault = None
        assert await site.outcome() == "told"
    assert len(face.told) == 1
