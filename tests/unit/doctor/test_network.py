"""What is said of the way to the hub, of the broker, of ports, and of the radio."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.doctor.bluetooth import SYSTEM_BUS, bus_path, examine_bluetooth
from gateway.doctor.finding import Finding, Level
from gateway.doctor.network import examine_broker, examine_hub, examine_ports, hub_way, resolve
from gateway.settings import CloudEdgeSettings, CloudProvisioningSettings, CloudSettings, Settings

MODULE = "HostName=hub.example;DeviceId=d;ModuleId=m;SharedAccessKey=c2VjcmV0;GatewayHostName=edge.example"
KEY = "HostName=hub.example;DeviceId=d;SharedAccessKey=c2VjcmV0"


def settings(**sections: object) -> Settings:
    """Return settings with every listener off but those given."""
    off = {"http": {"enabled": False}, "mqtt": {"listen": ""}, "admin": {"enabled": False}}
    return Settings.model_validate(off | sections)


# --- the hub ------------------------------------------------------------------------------------------


def answers(_host: str, _port: int) -> list[str]:
    return ["192.0.2.7"]


def no_name(_host: str, _port: int) -> list[str]:
    raise socket.gaierror(-2, "Name or service not known")


def silence(_host: str, _port: int) -> None:
    raise TimeoutError("timed out")


def test_without_a_hub_there_is_nothing_to_mend() -> None:
    assert examine_hub(CloudSettings()).level is Level.OK


def test_a_hub_that_answers_is_fine() -> None:
    asked: list[tuple[str, int]] = []
    cloud = CloudSettings(connection_string=KEY)
    found = examine_hub(cloud, resolve=answers, connect=lambda host, port: asked.append((host, port)))
    assert (found.level, found.text, asked) == (Level.OK, "hub.example:8883: 192.0.2.7 answers", [("192.0.2.7", 8883)])


def test_a_name_that_nobody_knows_and_a_port_that_is_silent_are_told_apart_and_stop_nothing() -> None:
    cloud = CloudSettings(connection_string=KEY)
    nameless = examine_hub(cloud, resolve=no_name)
    silent = examine_hub(cloud, resolve=answers, connect=silence)
    assert (nameless.level, silent.level) == (Level.WARN, Level.WARN)
    assert "can't be resolved" in nameless.text
    assert "no connection" in silent.text


@pytest.mark.parametrize(
    ("cloud", "host", "port"),
    [
        (CloudSettings(connection_string=KEY, transport="websockets"), "hub.example", 443),
        (CloudSettings(connection_string=f"{KEY};GatewayHostName=edge.example"), "edge.example", 8883),
        (CloudSettings(connection_string=KEY, proxy="http://user:word@proxy.example:3128"), "proxy.example", 3128),
        (
            CloudSettings(
                hostname="x.example", device_id="d", certificate_file=Path("/c.pem"), key_file=Path("/k.pem")
            ),
            "x.example",
            8883,
        ),
        (
            CloudSettings(edge=CloudEdgeSettings(connection_string=MODULE, ca_file=Path("/ca.pem"))),
            "edge.example",
            8883,
        ),
        (
            CloudSettings(provisioning=CloudProvisioningSettings(id_scope="0ne1", host="dps.example")),
            "dps.example",
            8883,
        ),
    ],
)
def test_the_way_is_the_one_that_the_gateway_takes(cloud: CloudSettings, host: str, port: int) -> None:
    way = hub_way(cloud)
    assert way is not None
    assert (way.host, way.port) == (host, port)


def test_once_assigned_the_way_is_to_the_hub_and_not_to_the_provisioning_service() -> None:
    cloud = CloudSettings(provisioning=CloudProvisioningSettings(id_scope="0ne1"))

    way = hub_way(cloud, assigned_hub="hub.example")

    assert way is not None
    assert (way.host, way.port) == ("hub.example", 8883)


def test_no_secret_is_told() -> None:
    cloud = CloudSettings(connection_string=KEY, proxy="http://user:word@proxy.example:3128")
    for found in (examine_hub(cloud, resolve=no_name), examine_hub(cloud, resolve=answers, connect=silence)):
        assert "word" not in repr(found)
        assert "c2VjcmV0" not in repr(found)


def test_a_broker_is_asked_too() -> None:
    assert examine_broker("mqtt://broker.example", resolve=no_name).level is Level.WARN


def test_dns_that_hangs_has_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    release = threading.Event()
    monkeypatch.setattr("gateway.doctor.network.RESOLVE_TIMEOUT_S", 0.05)
    monkeypatch.setattr("socket.getaddrinfo", lambda *_args, **_options: release.wait(10) and [])
    with pytest.raises(TimeoutError, match="no answer from DNS"):
        resolve("hub.example", 8883)
    release.set()


# --- ports --------------------------------------------------------------------------------------------


@pytest.fixture
def taken() -> Iterator[int]:
    """Return a port that somebody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def only(found: Iterator[Finding]) -> Finding:
    (finding,) = found
    return finding


def test_a_port_in_use_fails_with_a_way_to_find_out_by_whom(taken: int) -> None:
    found = only(examine_ports(settings(http={"listen": f"127.0.0.1:{taken}"}), serving=None))
    assert (found.check, found.level) == ("port http.listen", Level.FAIL)
    assert f"sport = :{taken}" in found.cure


def test_a_port_of_the_gateway_that_runs_is_fine(taken: int) -> None:
    serving = {"http": f"http://127.0.0.1:{taken}", "mqtt": "not serving"}
    assert only(examine_ports(settings(http={"listen": f"127.0.0.1:{taken}"}), serving=serving)).level is Level.OK


def test_a_port_of_another_program_fails_beside_a_running_gateway_too(taken: int) -> None:
    found = only(examine_ports(settings(mqtt={"listen": f"127.0.0.1:{taken}"}), serving={"mqtt": "not serving"}))
    assert found.level is Level.FAIL


def test_an_address_of_another_machine_fails() -> None:
    found = only(examine_ports(settings(admin={"listen": "192.0.2.1:18081"}), serving=None))
    assert (found.level, "ip addr" in found.cure) == (Level.FAIL, True)


def test_free_ports_and_ports_that_the_system_chooses_are_fine() -> None:
    found = list(examine_ports(settings(http={"listen": "127.0.0.1:0"}, admin={"listen": "[::1]:0"}), serving=None))
    assert [finding.level for finding in found] == [Level.OK, Level.OK]


# --- the radio ----------------------------------------------------------------------------------------


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[Path]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "bus"))
        listener.listen()
        yield tmp_path / "bus"


def radio(tmp_path: Path, *names: str) -> Path:
    for name in names:
        (tmp_path / "radios" / name).mkdir(parents=True)
    return tmp_path / "radios"


def switch(tmp_path: Path, **files: str) -> Path:
    folder = tmp_path / "switches" / "rfkill0"
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(f"{text}\n")
    return folder.parent


def test_a_radio_that_is_on_is_fine(bus: Path, tmp_path: Path) -> None:
    switches = switch(tmp_path, type="bluetooth", soft="0", hard="0")
    found = examine_bluetooth(bus=bus, radios=radio(tmp_path, "hci0", "hci0:64"), switches=switches)
    assert (found.level, found.text) == (Level.OK, "D-Bus answers; hci0")


def test_no_bus_no_radio_and_a_switched_off_radio_are_told_apart(bus: Path, tmp_path: Path) -> None:
    nobody = tmp_path / "nobody"
    switches = switch(tmp_path, type="bluetooth", soft="1", hard="0")
    found = [
        examine_bluetooth(bus=nobody, radios=nobody, switches=nobody),
        examine_bluetooth(bus=bus, radios=nobody, switches=nobody),
        examine_bluetooth(bus=bus, radios=radio(tmp_path, "hci0"), switches=switches),
    ]
    assert [finding.level for finding in found] == [Level.FAIL] * 3
    assert [words in finding.text for finding, words in zip(found, ("no D-Bus", "no radio", "soft block"), strict=True)]


@pytest.mark.parametrize(
    ("environment", "path"),
    [
        ({}, SYSTEM_BUS),
        ({"DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/host/bus,guid=1"}, Path("/host/bus")),
        ({"DBUS_SYSTEM_BUS_ADDRESS": "tcp:host=x;unix:path=/b"}, Path("/b")),
    ],
)
def test_the_bus_is_where_the_environment_says(environment: dict[str, str], path: Path) -> None:
    assert bus_path(environment) == path
