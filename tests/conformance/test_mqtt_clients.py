"""Clients that devices really use, against the listener: paho-mqtt 1.6 and 2.x, mosquitto's tools, mqtt.js."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.ingest import LATER, REFUSED, FakeIngest
from tests.fakes.mqtt_listener import listening

DEVICES = Path(__file__).parent / "mqtt_devices"
INSTALL_TIMEOUT_S = 120
RUN_TIMEOUT_S = 60
both_versions = pytest.mark.parametrize("version", [4, 5])
needs_mosquitto_tools = pytest.mark.skipif(
    shutil.which("mosquitto_pub") is None, reason="missing package: mosquitto-clients"
)


@pytest.fixture(scope="session")
def paho_2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with paho-mqtt 2: the project itself is bound to 1.6 by the azure SDK."""
    folder = tmp_path_factory.mktemp("paho2")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder, "paho-mqtt>=2.1,<3"]
    _install(command, folder, "paho-mqtt 2 (pip)")
    return folder


@pytest.fixture(scope="session")
def mqtt_js(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose node_modules has mqtt.js."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"missing package: {program}")
    folder = tmp_path_factory.mktemp("mqtt-js")
    _install(["npm", "install", "--no-audit", "--no-fund", "--prefer-offline", "mqtt@5"], folder, "mqtt (npm)")
    return folder


def _install(command: list[Any], folder: Path, name: str) -> None:
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=INSTALL_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"missing package: {name}: {error}")


async def run(*command: object, **environment: str) -> tuple[int, str]:
    """Return the exit code and what the program printed."""
    process = await asyncio.create_subprocess_exec(
        *(str(part) for part in command),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=os.environ | environment,
    )
    try:
        async with asyncio.timeout(RUN_TIMEOUT_S):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        output, _ = await process.communicate()
        pytest.fail(f"the client did not end: {output.decode()}")
    assert process.returncode is not None
    return process.returncode, output.decode()


async def seen_by(*command: object, **environment: str) -> dict[str, Any]:
    """Return what a device printed last, as JSON."""
    code, output = await run(*command, **environment)
    assert code == 0, output
    found = json.loads(output.splitlines()[-1])
    assert isinstance(found, dict)
    return found


def paho(port: int, version: int, task: str = "publish") -> tuple[object, ...]:
    return sys.executable, "-W", "ignore", DEVICES / "paho_device.py", port, version, task


# --- paho ---


@both_versions
async def test_paho_1_6_publishes_and_hears_every_result(version: int) -> None:
    async with listening(queued_replies_max=100) as under:
        seen = await seen_by(*paho(under.port, version))
        assert (seen["acknowledged"], seen["results"], seen["statuses"]) == (60, 60, ["committed"])
        assert seen["paho"] == 1
        assert len(under.ingest.stored) == 60


@both_versions
async def test_paho_2_publishes_and_hears_every_result(version: int, paho_2: Path) -> None:
    async with listening(queued_replies_max=100) as under:
        seen = await seen_by(*paho(under.port, version), PYTHONPATH=str(paho_2))
        assert (seen["acknowledged"], seen["results"], seen["statuses"]) == (60, 60, ["committed"])
        assert seen["paho"] == 2
        assert len(under.ingest.stored) == 60


async def test_paho_2_is_told_refusals_by_reason_code(paho_2: Path) -> None:
    async with listening(ingest=FakeIngest(answer=REFUSED), queued_replies_max=100) as under:
        seen = await seen_by(*paho(under.port, 5), PYTHONPATH=str(paho_2))
        # 0x92: at QoS 2 paho sends a PUBREL after a refusing PUBREC and reports what the PUBCOMP says.
        assert (seen["codes"], seen["statuses"]) == ([0x92, 0x99], ["refused"])


@both_versions
async def test_paho_1_6_survives_refusals(version: int) -> None:
    async with listening(ingest=FakeIngest(answer=REFUSED), queued_replies_max=100) as under:
        seen = await seen_by(*paho(under.port, version))
        assert (seen["acknowledged"], seen["statuses"]) == (60, ["refused"])


async def test_paho_sends_large_pictures() -> None:
    async with listening() as under:
        seen = await seen_by(*paho(under.port, 4, "large"))
        assert seen["acknowledged"] == 2
        assert [len(payload) for payload in under.ingest.payloads] == [300_006, 1_000_006]


async def test_paho_that_was_held_too_long_comes_back_and_delivers_everything() -> None:
    ingest = FakeIngest(script=[LATER] * 200)
    async with listening(ingest=ingest, hold_max_s=0.3, queued_replies_max=100) as under:
        seen = await seen_by(*paho(under.port, 4))
        assert seen["acknowledged"] == 60
        assert under.disconnects("unavailable") > 0
        assert len(ingest.stored) == 60


# --- mosquitto's tools ---


@needs_mosquitto_tools
@pytest.mark.parametrize("protocol", ["mqttv311", "mqttv5"])
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_mosquitto_pub_is_acknowledged(protocol: str, qos: int) -> None:
    async with listening() as under:
        command = ["mosquitto_pub", "-p", under.port, "-V", protocol, "-q", qos, "-t", "devices/cam-1/readings"]
        code, output = await run(*command, "-m", "21.5")
        assert (code, output) == (0, "")
        async with asyncio.timeout(5):
            while not under.ingest.payloads:  # noqa: ASYNC110 -- QoS 0 tells nobody
                await asyncio.sleep(0.01)
        assert under.ingest.payloads == [b"21.5"]


@needs_mosquitto_tools
@pytest.mark.parametrize("protocol", ["mqttv311", "mqttv5"])
async def test_mosquitto_sub_hears_the_results_of_its_device(protocol: str) -> None:
    async with listening() as under:
        common = ["-p", under.port, "-V", protocol, "-q", 1]
        subscriber = asyncio.create_task(
            run("mosquitto_sub", *common, "-t", "devices/cam-1/results", "-C", 1, "-W", 30, "-v")
        )
        while not under.statuses:  # noqa: ASYNC110 -- ends with the test's own limit
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.3)
        await run("mosquitto_pub", *common, "-t", "devices/cam-1/readings", "-m", "21.5")
        code, output = await subscriber
        assert code == 0
        topic, _, body = output.strip().partition(" ")
        assert topic == "devices/cam-1/results"
        assert json.loads(body)["status"] == "committed"


@needs_mosquitto_tools
async def test_mosquitto_sub_is_refused_the_topics_of_others() -> None:
    async with listening() as under:
        _, output = await run("mosquitto_sub", "-p", under.port, "-t", "devices/+/results", "-W", 2)
        assert "denied" in output.lower()


@needs_mosquitto_tools
async def test_client_of_mqtt_3_1_is_told_its_protocol_version() -> None:
    async with listening() as under:
        code, output = await run(
            "mosquitto_pub", "-p", under.port, "-V", "mqttv31", "-t", "devices/c/readings", "-m", "1"
        )
        assert code != 0
        assert "protocol version" in output


@needs_mosquitto_tools
async def test_refusal_reaches_mosquitto_pub_in_words() -> None:
    async with listening(ingest=FakeIngest(answer=REFUSED)) as under:
        _, output = await run(
            "mosquitto_pub", "-p", under.port, "-V", "mqttv5", "-q", 1, "-t", "devices/cam-1/readings", "-m", "x"
        )
        assert "Payload format invalid" in output


# --- mqtt.js ---


@both_versions
async def test_mqtt_js_publishes_and_hears_every_result(version: int, mqtt_js: Path) -> None:
    async with listening(queued_replies_max=100) as under:
        seen = await seen_by("node", DEVICES / "mqtt_js_device.cjs", mqtt_js, under.port, version)
        assert seen == {"acknowledged": 30, "results": 30, "statuses": ["committed"], "errors": []}
        assert len(under.ingest.stored) == 30


async def test_mqtt_js_is_told_refusals_by_reason_code(mqtt_js: Path) -> None:
    async with listening(ingest=FakeIngest(answer=REFUSED), queued_replies_max=100) as under:
        seen = await seen_by("node", DEVICES / "mqtt_js_device.cjs", mqtt_js, under.port, 5)
        assert seen["errors"] == [str(0x99)] * 20
        assert seen["statuses"] == ["refused"]
