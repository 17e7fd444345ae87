from pathlib import Path

from gateway.commands.run import opened_to_lan
from gateway.settings import PRIVATE_NETWORKS, load_settings


def test_lan_opens_both_device_listeners_to_private_networks_and_not_the_operators(tmp_path: Path) -> None:
    settings = opened_to_lan(load_settings(None, {}, {"gateway.data_dir": str(tmp_path)}, tmp_path))

    assert (settings.http.listen, settings.http.allowed_networks) == ("0.0.0.0:8080", PRIVATE_NETWORKS)
    assert (settings.mqtt.listen, settings.mqtt.allowed_networks) == ("0.0.0.0:1883", PRIVATE_NETWORKS)
    assert settings.admin.listen == "127.0.0.1:8081"


def test_lan_opens_no_listener_that_is_off(tmp_path: Path) -> None:
    overrides = {"gateway.data_dir": str(tmp_path), "mqtt.listen": ""}

    assert opened_to_lan(load_settings(None, {}, overrides, tmp_path)).mqtt.listen == ""


def test_lan_keeps_the_networks_that_the_operator_named(tmp_path: Path) -> None:
    overrides = {"gateway.data_dir": str(tmp_path), "http.allowed_networks": "10.9.9.0/24"}
    settings = opened_to_lan(load_settings(None, {}, overrides, tmp_path))

    assert [str(network) for network in settings.http.allowed_networks] == ["10.9.9.0/24"]
    assert settings.mqtt.allowed_networks == PRIVATE_NETWORKS
