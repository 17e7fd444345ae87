"""What devices write to be read by people: it neither forges a line nor moves a cursor, in the log or on a terminal."""

import asyncio
import base64
import json
import unicodedata
from collections.abc import Iterator

import pytest
import requests
from typer.testing import CliRunner

from adapters.mqtt.codec_packets import Will
from gateway.cli import app
from tests.fakes.gateway_process import GatewayProcess
from tests.fakes.mqtt_device import RawDevice

# A new line that looks like ours, colours, a window's title, an eight-bit CSI, the direction of reading turned, BEL.
EVIL = '\r\n{"event":"forged"}\n\x1b[31m\x1b]0;pwned\x07\x9b2J\u202eevil\u2066\u2028'
WILL = EVIL.replace("\x00", "").encode()


def evil_over_http(url: str) -> None:
    post, native = requests.post, f"{url}/v1/devices/evil/readings"
    post(native, json={"note": EVIL, EVIL: 1}, timeout=10)
    post(native, data=json.dumps([{"n": "a", "v": 1, EVIL + "_": 1}]).encode(), timeout=10)
    post(native, data=b"{" + EVIL.encode(), timeout=10)
    post(f"{url}/image", params={"device": EVIL}, data=b"x", timeout=10)
    post(
        f"{url}/image",
        data=EVIL.encode(),
        headers={"Authorization": "Basic " + base64.b64encode(f"{EVIL}:wrong".encode()).decode()},
        timeout=10,
    )
    post(f"{url}/image", data=EVIL.encode(), headers={"Content-Type": "\x1b[31m"}, timeout=10)
    post(f"{url}/{EVIL}", data=b"x", timeout=10)


async def evil_over_mqtt(port: int) -> None:
    will = Will(topic="devices/evil-mqtt/status", payload=WILL, qos=1, retain=False)
    device = await RawDevice.connect(port, "evil-mqtt", will=will)
    device.publish(json.dumps({"note": EVIL}).encode(), topic="devices/evil-mqtt/readings")
    await device.receive()
    for topic in (f"devices/{EVIL}/readings", f"devices/evil-mqtt/{EVIL}"):
        device.publish(EVIL.encode(), topic=topic.replace("\x00", ""))
        await device.drained()
    await asyncio.sleep(0.1)
    device.abort()
    other = await RawDevice.connect(port, "evil" + EVIL, login=(EVIL, b"wrong"))
    other.abort()


@pytest.fixture(scope="module", params=["json", "human"])
def attacked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    environment = {"GATEWAY_GATEWAY__LOG_FORMAT": str(request.param), "GATEWAY_GATEWAY__LOG_LEVEL": "debug"}
    with GatewayProcess(tmp_path_factory.mktemp("evil") / "data", environment=environment) as gateway:
        evil_over_http(gateway.http)
        asyncio.run(evil_over_mqtt(int(gateway.mqtt.rpartition(":")[2])))
        yield gateway


def harmful(text: str) -> set[str]:
    """Return the characters that a terminal or an editor would obey, line feeds apart."""
    return {
        character
        for character in text
        if character != "\n" and (unicodedata.category(character) in {"Cc", "Cf", "Zl", "Zp"})
    }


def command(gateway: GatewayProcess, *arguments: str) -> str:
    done = CliRunner().invoke(app, [*arguments, "--set", f"gateway.data_dir={gateway.data_dir}"])
    assert done.exit_code == 0, done.output
    return done.output


def test_the_log_has_no_line_and_no_control_of_a_devices(attacked: GatewayProcess) -> None:
    log = attacked.log_file.read_bytes().decode()
    assert "evil" in log
    assert harmful(log) == set()
    assert not any(line.startswith('{"event":"forged"}') for line in log.splitlines())


@pytest.mark.parametrize(
    "arguments",
    [
        ("outbox", "list"),
        ("outbox", "list", "--json"),
        ("outbox", "list", "--refusals"),
        ("outbox", "list", "--refusals", "--json"),
        ("outbox", "export"),
        ("outbox", "export", "--format", "csv"),
        ("devices", "list"),
        ("devices", "list", "--json"),
    ],
    ids=" ".join,
)
def test_no_listing_hands_a_control_to_the_terminal(attacked: GatewayProcess, arguments: tuple[str, ...]) -> None:
    shown = command(attacked, *arguments)
    assert "evil" in shown
    assert harmful(shown) == set()
    assert not any(line.startswith('{"event":"forged"}') for line in shown.splitlines())


def test_metrics_and_health_repeat_nothing_that_devices_say(attacked: GatewayProcess) -> None:
    for path in ("/metrics", "/healthz"):
        assert "evil" not in requests.get(f"{attacked.admin}{path}", timeout=10).text
