"""Small parts of the listener: the file of sessions, logins, addresses."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from adapters.mqtt import sessions_file
from adapters.mqtt.listener_credentials import Identity, OpenCredentials
from adapters.mqtt.listener_holdings import Holdings
from adapters.mqtt.listener_socket import bind
from adapters.mqtt.sessions import SessionKey, SessionRecord
from adapters.mqtt.sessions_file import SessionsFile
from gateway.errors import AdapterUnavailable


def record(client_id: str, life: str = "1") -> SessionRecord:
    key = SessionKey(client_id=client_id, device_id=None)
    return SessionRecord(key=key, life=life, expiry_s=60, subscriptions=(("devices/a/results", 1),))


async def test_open_credentials_let_in_and_prove_nothing() -> None:
    assert await OpenCredentials().check("anyone", b"", "c", source="192.0.2.1") == Identity(device_id=None)


async def test_file_of_sessions_keeps_the_last_of_each(tmp_path: Path) -> None:
    path = tmp_path / "sessions"
    file = SessionsFile(path, current=list)
    await file.keep(record("a"))
    await file.keep(record("b"))
    await file.keep(record("a", "2"))
    file.forget(SessionKey(client_id="b", device_id=None))
    await file.flushed()
    assert await SessionsFile(path, current=list).load() == [record("a", "2")]


async def test_file_of_sessions_is_written_anew_when_it_grew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions_file, "SPARE_LINES_MAX", 10)
    path = tmp_path / "sessions"
    file = SessionsFile(path, current=lambda: [record("a", "49")])
    for number in range(50):
        await file.keep(record("a", str(number)))
    assert len(path.read_text().splitlines()) < 15
    assert await SessionsFile(path, current=list).load() == [record("a", "49")]


async def test_sessions_work_where_the_disk_does_not(tmp_path: Path) -> None:
    file = SessionsFile(tmp_path / "absent" / "sessions", current=list)
    with capture_logs() as logs:
        await file.keep(record("a"))
    assert [entry["event"] for entry in logs] == ["mqtt_sessions_not_saved"]


async def test_without_a_path_nothing_is_kept() -> None:
    file = SessionsFile(None, current=list)
    await file.keep(record("a"))
    assert await file.load() == []


@pytest.mark.parametrize(
    ("listen", "words"),
    [("192.0.2.1:1883", "not an address of this machine"), ("no.such.host.invalid:1883", "mqtt.listen")],
)
def test_address_that_cannot_be_used_is_named_with_its_setting(listen: str, words: str) -> None:
    with pytest.raises(AdapterUnavailable, match=words):
        bind(listen)


class Held:
    """A connection that can be cut."""

    def __init__(self) -> None:
        self.is_cut = False

    def cut(self) -> None:
        self.is_cut = True


def test_beyond_what_all_connections_may_hold_the_one_that_holds_most_is_cut() -> None:
    holdings = Holdings(bytes_max=100)
    modest, greedy, late = Held(), Held(), Held()
    holdings.note(modest, 30)
    holdings.note(greedy, 60)
    holdings.note(late, 10)
    assert not greedy.is_cut
    holdings.note(late, 20)
    assert [one.is_cut for one in (modest, greedy, late)] == [False, True, False]
    assert holdings.held_bytes == 50


def test_what_a_connection_holds_is_what_it_said_last() -> None:
    holdings = Holdings(bytes_max=100)
    one = Held()
    holdings.note(one, 80)
    assert (holdings.held_bytes, holdings.is_tight) == (80, True)
    holdings.note(one, 5)
    assert (holdings.held_bytes, holdings.is_tight) == (5, False)
    holdings.note(one, 0)
    assert (holdings.held_bytes, holdings._held) == (0, {})
