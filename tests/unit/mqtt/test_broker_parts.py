"""The small parts of the broker client: keepalive, budget, options, the session's file, back-off, diagnosis."""

import errno
import os
import socket
import ssl
from pathlib import Path

import pytest

from adapters.mqtt import broker_diagnosis as diagnosis
from adapters.mqtt.broker import BACKOFF_MAX_S, backoff_s
from adapters.mqtt.broker_budget import Budget
from adapters.mqtt.broker_keepalive import Due, Keepalive
from adapters.mqtt.broker_session import FILE_NAME, SessionFile
from gateway.settings import MqttTopicsSettings
from tests.fakes.broker_client import options

# --- keepalive ----------------------------------------------------------------------------------------


def quiet_since(moment: float) -> Keepalive:
    return Keepalive(keepalive_s=30, heard_at=moment, sent_at=moment)


def test_nothing_is_due_while_there_is_traffic_both_ways() -> None:
    assert quiet_since(0).due(29, listening=True) is Due.NOTHING


@pytest.mark.parametrize("quiet", ["sent_at", "heard_at"])
def test_silence_in_either_direction_asks_for_a_ping(quiet: str) -> None:
    keepalive = quiet_since(25)
    setattr(keepalive, quiet, 0)
    assert keepalive.due(30, listening=True) is Due.PING


def test_a_ping_without_answer_gives_the_link_up_after_one_and_a_half_keepalives() -> None:
    keepalive = quiet_since(0)
    keepalive.pinged(30)
    assert keepalive.due(44, listening=True) is Due.NOTHING
    assert keepalive.due(45, listening=True) is Due.GIVE_UP


def test_any_packet_answers_a_ping() -> None:
    keepalive = quiet_since(0)
    keepalive.pinged(30)
    keepalive.heard(40)
    assert keepalive.due(46, listening=True) is Due.NOTHING


def test_while_we_do_not_listen_pings_go_out_and_silence_says_nothing() -> None:
    keepalive = quiet_since(0)
    assert keepalive.due(30, listening=False) is Due.PING
    keepalive.pinged(30)
    assert keepalive.due(59, listening=False) is Due.NOTHING
    assert keepalive.due(60, listening=False) is Due.PING
    keepalive.pinged(60)
    assert keepalive.due(61, listening=True) is Due.NOTHING


# --- budget -------------------------------------------------------------------------------------------


def test_budget_is_bounded_in_messages() -> None:
    budget = Budget(count_max=2, bytes_max=1000)
    budget.take(1)
    assert budget.has_room(1)
    budget.take(1)
    assert not budget.has_room(1)
    budget.give_place()
    assert budget.has_room(1)


def test_budget_is_bounded_in_bytes_before_they_are_read() -> None:
    budget = Budget(count_max=10, bytes_max=1000)
    budget.take(600)
    assert budget.has_room(400)
    assert not budget.has_room(401)
    budget.give_bytes(600)
    assert budget.has_room(401)


def test_the_first_message_is_always_read() -> None:
    assert Budget(count_max=10, bytes_max=1000).has_room(5000)


# --- options ------------------------------------------------------------------------------------------


def test_filters_are_the_patterns_with_captures_as_any_level() -> None:
    topics = MqttTopicsSettings(images=("site/+/cam/{device_id}",), readings=("devices/{device_id}/r",), chunks=())
    assert options(topics=topics).filters == ("site/+/cam/+", "devices/+/r")


def test_filters_of_a_share_group_are_shared_subscriptions() -> None:
    topics = MqttTopicsSettings(images=("cam/{device_id}",), readings=(), chunks=())
    assert options(topics=topics, share_group="gateways").filters == ("$share/gateways/cam/+",)


def test_client_id_is_the_gateways_unless_given() -> None:
    assert options().client_id == "gw-1"
    assert options(client_id="site-7").client_id == "site-7"


# --- session ------------------------------------------------------------------------------------------


def test_a_session_that_continues_keeps_its_name_across_restarts(tmp_path: Path) -> None:
    first = SessionFile(tmp_path).enter("gw@broker", present=False)
    assert SessionFile(tmp_path).enter("gw@broker", present=True).name == first.name


def test_a_session_that_the_broker_forgot_gets_a_new_name(tmp_path: Path) -> None:
    sessions = SessionFile(tmp_path)
    first = sessions.enter("gw@broker", present=False)
    sessions.granted(("a/+",))
    second = sessions.enter("gw@broker", present=False)
    assert second.name != first.name
    assert second.filters == ()


def test_a_session_at_another_broker_is_another_one(tmp_path: Path) -> None:
    first = SessionFile(tmp_path).enter("gw@one", present=False)
    assert SessionFile(tmp_path).enter("gw@two", present=True).name != first.name


def test_granted_filters_are_remembered_across_restarts(tmp_path: Path) -> None:
    sessions = SessionFile(tmp_path)
    sessions.enter("gw@broker", present=False)
    sessions.granted(("a/+", "b/+"))
    assert SessionFile(tmp_path).enter("gw@broker", present=True).filters == ("a/+", "b/+")


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"key": "gw@broker"}', b"\xff\xfe"])
def test_a_damaged_session_file_means_a_new_name(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(damage)
    assert SessionFile(tmp_path).enter("gw@broker", present=True).name


def test_a_session_file_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    sessions = SessionFile(tmp_path / "absent")
    first = sessions.enter("gw@broker", present=False)
    assert sessions.enter("gw@broker", present=True).name == first.name


# --- back-off -----------------------------------------------------------------------------------------


def test_backoff_is_full_jitter_below_a_bound_that_doubles_to_a_cap() -> None:
    assert [backoff_s(n, 1.0) for n in (1, 2, 3)] == [1, 2, 4]
    assert backoff_s(3, 0.25) == 1
    assert backoff_s(10_000, 1.0) == BACKOFF_MAX_S


# --- diagnosis ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "reason", "cure"),
    [
        (socket.gaierror(-2, "Name or service not known"), "name_unknown", "mqtt.url"),
        (ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED)), "connection_refused", "Start"),
        (TimeoutError("timed out"), "timeout", "firewall"),
        (OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH)), "network", "network"),
        (ConnectionResetError(errno.ECONNRESET, "reset"), "connection_reset", ""),
        (ssl.SSLEOFError(8, "EOF occurred"), "closed", "log"),
    ],
)
def test_each_error_of_the_network_has_its_slug_and_cure(error: OSError, reason: str, cure: str) -> None:
    lost = diagnosis.network_error(error, options())
    assert lost.reason == reason
    assert cure in lost.cure
    assert "broker.example" in str(lost)


@pytest.mark.parametrize(("code", "cure"), [(62, "mqtt.url"), (64, "mqtt.url"), (10, "clock"), (20, "mqtt.ca_file")])
def test_each_fault_of_a_certificate_has_its_cure(code: int, cure: str) -> None:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, "what OpenSSL says"
    lost = diagnosis.network_error(error, options(url="mqtts://broker.example"))
    assert lost.reason == "certificate_untrusted"
    assert cure in lost.cure


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (1, "protocol_refused"),
        (2, "client_id_refused"),
        (3, "broker_unavailable"),
        (4, "login_refused"),
        (5, "not_authorised"),
        (77, "refused"),
    ],
)
def test_each_return_code_of_connack_has_its_slug(code: int, reason: str) -> None:
    assert diagnosis.refused_connection(code, options()).reason == reason


def test_no_diagnosis_shows_the_password() -> None:
    known = options(username="gw", password="hunter2")
    lost = [diagnosis.refused_connection(5, known), diagnosis.closed_by_broker(known, subscribed=True)]
    assert not any("hunter2" in str(one) for one in lost)
