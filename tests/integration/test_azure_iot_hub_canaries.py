"""What we rely on inside azure-iot-device 2.14 and paho 1.6.1 without its being promised. When one of these fails
after an upgrade, read gateway/cloud before mending the test."""

import inspect
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from azure.iot.device import Message, constant
from azure.iot.device.common import async_adapter, mqtt_transport, transport_exceptions
from azure.iot.device.common.pipeline import pipeline_stages_base
from paho.mqtt import client as paho

from gateway.cloud import child_link, diagnosis
from gateway.errors import MessageRefused
from tests.fakes.hub import hub_in_thread, running_hub
from tests.fakes.link import link_to, message


def test_the_versions_are_those_that_were_measured() -> None:
    assert version("azure-iot-device").startswith("2.14.")
    assert version("paho-mqtt") == "1.6.1"


def test_paho_keeps_more_in_flight_than_our_window() -> None:
    assert paho.Client()._max_inflight_messages > child_link.WINDOW_MAX


def test_the_sdk_renews_its_token_later_than_we_end_the_session() -> None:
    margin_s = pipeline_stages_base.SasTokenStage.DEFAULT_TOKEN_UPDATE_MARGIN
    assert child_link.TOKEN_TTL_S - margin_s > child_link.SESSION_AGE_MAX_S


def test_the_sdk_publishes_from_the_default_executor() -> None:
    """One thread there makes the order of sends ours (azure_iot_hub.py)."""
    assert "run_in_executor(None" in inspect.getsource(async_adapter.emulate_async)


def test_the_sdk_measures_messages_as_python_objects_which_is_above_our_cap() -> None:
    largest = Message(b"x" * child_link.MESSAGE_BYTES_MAX)
    largest.custom_properties["p"] = "x"
    assert largest.get_size() > len(largest.data) + 1  # objects, not bytes
    assert largest.get_size() < constant.TELEMETRY_MESSAGE_SIZE_LIMIT


def test_the_errors_that_are_known_by_name_have_these_names() -> None:
    for name in ("ConnectionFailedError", "ConnectionDroppedError", "NoConnectionError", "UnauthorizedError"):
        assert hasattr(transport_exceptions, name)
        assert name in inspect.getsource(diagnosis)


def test_ports_are_hard_coded_so_that_tests_need_the_proxy() -> None:
    source = inspect.getsource(mqtt_transport.MQTTTransport.connect)
    assert "port=8883" in source
    assert "port=443" in source


async def test_the_mqtt_librarys_no_to_a_message_is_a_refusal_and_the_session_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A topic above MQTT's 65,535 bytes: our cap on properties keeps it from happening."""
    monkeypatch.setattr(child_link, "PROPERTIES_BYTES_MAX", 100_000)
    async with running_hub(tmp_path) as hub, link_to(hub) as link, link.session() as session:
        with pytest.raises(MessageRefused) as refused:
            await session.send(message(1, note="x" * 70_000))
        assert refused.value.reason == "invalid_message"
        await session.send(message(2))
        assert [received.message_id for received in hub.messages] == ["m-2"]


# In a process of its own: what it shows also leaves a socket behind.
_REUSE = """
import asyncio, sys
from azure.iot.device import Message, ProxyOptions, exceptions
from azure.iot.device.aio import IoTHubDeviceClient

async def main(connection_string, ca_file, host, port):
    client = IoTHubDeviceClient.create_from_connection_string(
        connection_string,
        server_verification_cert=open(ca_file).read(),
        proxy_options=ProxyOptions("HTTP", host, int(port)),
        auto_connect=False,
        connection_retry=False,
    )
    await client.connect()
    try:
        await client.send_message(Message(b"poison"))
    except (exceptions.OperationCancelled, exceptions.NoConnectionError):
        print("not sent, it said", flush=True)
    sys.stdin.readline()
    await client.connect()
    await client.send_message(Message(b"new"))
    await asyncio.sleep(0.2)
    await client.shutdown()

asyncio.run(main(*sys.argv[1:]))
"""


def test_a_client_object_that_is_used_again_after_a_drop_sends_what_it_called_cancelled(tmp_path: Path) -> None:
    """Why every session has a fresh one. If this fails, the SDK was mended. Which error it raises is a race: when the
    hub's hang-up has been noticed before paho's publish() returns, "cancelled" is called "not connected"."""
    with hub_in_thread(tmp_path) as hub:
        hub.set_faults(poison_text="poison")
        host, port = hub.description.proxy.removeprefix("http://").split(":")
        arguments = [hub.connection_string(), str(hub.description.ca_file), host, port]
        with subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", _REUSE, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as client:
            assert client.stdin
            assert client.stdout
            assert client.stdout.readline() == "not sent, it said\n"
            hub.set_faults()
            client.stdin.write("\n")
            client.stdin.flush()
            client.wait(20)
        assert sorted(received.body for received in hub.messages) == [b"new", b"poison"]
