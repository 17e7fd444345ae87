"""``gateway simulate device mqtt`` against the real ingest, through a real broker."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from itertools import repeat
from pathlib import Path

import pytest

from adapters.mqtt.broker import create_mqtt_broker_client
from adapters.mqtt.contract import Accepted, Inbound, Outcome
from adapters.mqtt.ingest import MqttIngest
from gateway.errors import OperatorError
from gateway.messages import Image
from gateway.settings import LimitsSettings, MqttSettings
from gateway.simulators.devices.mqtt_camera import CameraOptions, CameraSummary, MqttCamera
from gateway.simulators.devices.mqtt_messages import Form
from gateway.simulators.devices.pictures import pictures
from tests.fakes.gateway_process import ROOT, GatewayProcess
from tests.fakes.intake import FakeIntake, RecordingMeter
from tests.fakes.mosquitto import Mosquitto, needs_mosquitto

JPEG = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 8


class LossyIngest(MqttIngest):
    """Acknowledges the first ``lose`` messages and forgets them, as a gateway does that crashes between chunks."""

    lose = 0

    async def take(self, inbound: Inbound) -> Outcome:
        if self.lose:
            self.lose -= 1
            return Accepted(device_id="cam-1", receipt=None)
        return await super().take(inbound)

    def reply(self, inbound: Inbound, outcome: Outcome) -> tuple[str, bytes] | None:
        return None if self.lose else super().reply(inbound, outcome)


class Site:
    """A broker, a gateway's broker client with the real ingest and a fake intake, and cameras."""

    def __init__(self, broker: Mosquitto, folder: Path) -> None:
        self.broker = broker
        self.intake = FakeIntake()
        settings = MqttSettings(url=broker.url)
        self.ingest = LossyIngest(
            intake=self.intake,
            settings=settings,
            limits=LimitsSettings(),
            clock=self.intake.clock,
            meter=RecordingMeter(),
        )
        self.client = create_mqtt_broker_client(
            settings=settings,
            limits=LimitsSettings(),
            ingest=self.ingest,
            meter=RecordingMeter(),
            clock=self.intake.clock,
            gateway_id="gw1",
            data_dir=folder,
        )
        self.told: list[str] = []

    async def photographed(self, options: CameraOptions, seen: Iterator[bytes] | None = None) -> CameraSummary:
        camera = MqttCamera(replace(options, url=self.broker.url), pictures=seen or repeat(JPEG), tell=self.told.append)
        return await asyncio.to_thread(camera.run)

    @property
    def pictures_taken(self) -> list[bytes]:
        taken = [submission.payload for submission in self.intake.submissions]
        return [payload.data for payload in taken if isinstance(payload, Image)]


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    with Mosquitto(tmp_path / "broker") as broker:
        site = Site(broker, tmp_path)
        await site.client.start()
        try:
            yield site
        finally:
            await site.client.stop(2)


OPTIONS = CameraOptions(url="", count=2, interval_s=0, wait_s=10)


@needs_mosquitto
@pytest.mark.parametrize("form", list(Form))
async def test_a_camera_hears_its_results_whatever_form_it_sends(site: Site, form: Form) -> None:
    summary = await site.photographed(replace(OPTIONS, form=form))

    assert (summary.sent, summary.acknowledged, summary.accepted) == (2, 2, 2)
    assert site.pictures_taken == [JPEG, JPEG]
    assert len({submission.submission_id for submission in site.intake.submissions}) == 2
    assert "ripe 100.0%, sequence 1" in site.told[0]


@needs_mosquitto
async def test_a_camera_hears_why_its_picture_was_refused(site: Site) -> None:
    summary = await site.photographed(replace(OPTIONS, count=1), repeat(b"no picture"))

    assert (summary.acknowledged, summary.refused, summary.all_well) == (1, 1, False)
    assert "not_an_image" in site.told[0]


@needs_mosquitto
async def test_a_camera_mends_a_picture_whose_first_chunks_the_gateway_forgot(site: Site) -> None:
    site.ingest.lose = 2

    summary = await site.photographed(replace(OPTIONS, count=1, form=Form.CHUNKS, wait_s=4))

    assert summary.all_well
    assert site.pictures_taken == [JPEG]
    assert any("sends 2 missing chunks again" in line for line in site.told)


@pytest.mark.parametrize("form", [Form.BASE64, Form.CHUNKS])
def test_the_command_line_sends_pictures_to_a_gateways_own_listener(tmp_path: Path, form: Form) -> None:
    command = [sys.executable, "-m", "gateway", "simulate", "device", "mqtt", "--count", "2", "--interval", "0"]
    with GatewayProcess(tmp_path / "data") as gateway:
        done = subprocess.run(
            [*command, "--url", gateway.mqtt, "--form", form, "--picture", "examples/banana-ripe.jpg"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    assert "sent 2, acknowledged 2, accepted 2, refused 0, unanswered 0" in done.stdout, done.stderr
    assert "ripe" in done.stdout
    assert done.returncode == 0


async def test_a_camera_says_when_nobody_answers() -> None:
    camera = MqttCamera(CameraOptions(url="mqtt://127.0.0.1:9"), pictures=repeat(JPEG), tell=print)

    with pytest.raises(OperatorError, match="Nobody answers"):
        await asyncio.to_thread(camera.run)


def test_without_files_a_camera_sees_another_fruit_each_time() -> None:
    seen = pictures(())

    first, second = next(seen), next(seen)

    assert first[:3] == b"\xff\xd8\xff"
    assert first != second


def test_with_files_a_camera_sees_them_in_turn(tmp_path: Path) -> None:
    files = [tmp_path / "a.jpg", tmp_path / "b.jpg"]
    for file in files:
        file.write_bytes(file.name.encode())

    seen = pictures(files)

    assert [next(seen) for _ in range(3)] == [b"a.jpg", b"b.jpg", b"a.jpg"]


def test_a_file_that_can_not_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="can't be read"):
        pictures([tmp_path / "absent.jpg"])
