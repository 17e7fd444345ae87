"""The site's devices: kept hashed and durably, proved offline, slowed down when guessed."""

import json
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.devices import throttle
from gateway.devices.book import FILE_NAME, BookedDevice, add_device, read_book, revoke_device
from gateway.devices.gatekeeper import Gatekeeper
from gateway.devices.secret import (
    SECRET_CHARS_MAX,
    SecretFormInvalid,
    kept_password,
    kept_token,
    new_token,
    parse_kept,
)
from gateway.devices.throttle import FREE_FAILURES, WAIT_MAX_S, Throttle
from gateway.errors import NotAuthenticated, OperatorError, TooManyFailures
from tests.fakes.intake import ManualClock, RecordingMeter

ADDED = datetime(2026, 5, 4, tzinfo=UTC)


def booked(device_id: str, token: str | None = None, password: str | None = None) -> BookedDevice:
    secret = kept_token(token) if token else kept_password(password) if password else None
    return BookedDevice(device_id=device_id, added_at=ADDED, secret=secret)


class Site:
    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.clock = ManualClock()
        self.meter = RecordingMeter()
        self.keeper = Gatekeeper(data_dir, clock=self.clock, meter=self.meter)

    async def proves(self, secret: str, device_id: str | None = None, source: str = "192.0.2.1") -> str:
        return await self.keeper.prove(device_id=device_id, secret=secret, source=source)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    add_device(tmp_path, booked("cam-1", token="gwt_one"))
    add_device(tmp_path, booked("cam-2", password="correct horse"))
    add_device(tmp_path, booked("cam-3"))
    return Site(tmp_path)


# --- the book ---


def test_what_is_kept_tells_nothing_of_the_secret(site: Site) -> None:
    text = (site.data_dir / FILE_NAME).read_text()
    assert "gwt_one" not in text
    assert "correct horse" not in text
    assert stat.S_IMODE((site.data_dir / FILE_NAME).stat().st_mode) == 0o600


def test_what_was_added_is_read_back(site: Site) -> None:
    assert {one.device_id: one.proof for one in read_book(site.data_dir).devices.values()} == {
        "cam-1": "token",
        "cam-2": "password",
        "cam-3": "none",
    }


def test_a_known_device_is_not_added_twice(site: Site) -> None:
    with pytest.raises(OperatorError, match="known already"):
        add_device(site.data_dir, booked("cam-1", token="other"))


def test_revoking_somebody_unknown_says_so_and_is_kept_for_certificates_until_it_is_added(site: Site) -> None:
    assert not revoke_device(site.data_dir, "cam-9")
    assert revoke_device(site.data_dir, "cam-1")
    assert read_book(site.data_dir).revoked == {"cam-1", "cam-9"}
    add_device(site.data_dir, booked("cam-9"))
    assert read_book(site.data_dir).revoked == {"cam-1"}


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"version": 2, "devices": {}}',
        '{"version": 1, "devices": {"a/b": {"added_at": "2026-05-04", "secret": null}}}',
        '{"version": 1, "devices": {"a": {"added_at": "2026-05-04", "secret": "plain"}}}',
        '{"version": 1, "devices": {"a": {"secret": null}}}',
        '{"version": 1, "devices": {}, "revoked": [7]}',
    ],
)
def test_a_damaged_book_is_told_and_left_as_it_is(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(OperatorError):
        add_device(tmp_path, booked("cam-1"))
    assert (tmp_path / FILE_NAME).read_text() == text


@pytest.mark.parametrize("text", ["", "sha256", "sha256$$", "md5$$" + "A" * 43 + "=", "scrypt$!$!"])
def test_a_form_of_secret_that_is_not_ours_is_refused(text: str) -> None:
    with pytest.raises(SecretFormInvalid):
        parse_kept(text)


def test_tokens_need_no_quoting_and_do_not_repeat() -> None:
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(token.isascii() and token.replace("_", "").replace("-", "").isalnum() for token in tokens)


# --- proofs ---


async def test_a_token_tells_whose_it_is(site: Site) -> None:
    assert await site.proves("gwt_one") == "cam-1"
    assert await site.proves("gwt_one", "cam-1") == "cam-1"


async def test_a_token_is_no_proof_for_another_device(site: Site) -> None:
    with pytest.raises(NotAuthenticated):
        await site.proves("gwt_one", "cam-2")


async def test_a_password_proves_its_own_device_only(site: Site) -> None:
    assert await site.proves("correct horse", "cam-2") == "cam-2"
    for claimed in ("cam-1", "cam-3", "cam-9", None):
        with pytest.raises(NotAuthenticated):
            await site.proves("correct horse", claimed, source=f"198.51.100.{len(claimed or '')}")


@pytest.mark.parametrize("secret", ["", "x" * (SECRET_CHARS_MAX + 1), "\ud800", "gwt_one\0"])
async def test_odd_secrets_are_wrong_and_nothing_else(site: Site, secret: str) -> None:
    for claimed in ("cam-1", "cam-2", None):
        with pytest.raises(NotAuthenticated):
            await site.proves(secret, claimed)


async def test_a_device_without_a_secret_is_known_and_proves_nothing(site: Site) -> None:
    assert site.keeper.is_known("cam-3")
    assert not site.keeper.is_known("cam-9")
    with pytest.raises(NotAuthenticated):
        await site.proves("", "cam-3")


async def test_a_running_gateway_takes_note_of_additions_and_revocations_within_a_second(site: Site) -> None:
    assert await site.proves("correct horse", "cam-2") == "cam-2"
    revoke_device(site.data_dir, "cam-2")
    add_device(site.data_dir, booked("cam-4", token="gwt_four"))
    site.clock.advance(1)
    assert await site.proves("gwt_four") == "cam-4"
    with pytest.raises(NotAuthenticated):
        await site.proves("correct horse", "cam-2")


async def test_a_new_password_ends_the_old_one_though_it_was_proven(site: Site) -> None:
    assert await site.proves("correct horse", "cam-2") == "cam-2"
    revoke_device(site.data_dir, "cam-2")
    add_device(site.data_dir, booked("cam-2", password="battery staple"))
    site.clock.advance(1)
    with pytest.raises(NotAuthenticated):
        await site.proves("correct horse", "cam-2")


async def test_a_book_that_becomes_unreadable_leaves_the_last_good_one_in_force(site: Site) -> None:
    assert site.keeper.is_known("cam-1")
    (site.data_dir / FILE_NAME).write_text("{")
    site.clock.advance(2)
    assert await site.proves("gwt_one") == "cam-1"


# --- guessing ---


async def test_guessing_is_slowed_down_more_and_more(site: Site) -> None:
    for _ in range(FREE_FAILURES):
        with pytest.raises(NotAuthenticated):
            await site.proves("wrong", "cam-2")
    waits = []
    for _ in range(4):
        with pytest.raises(TooManyFailures) as refused:
            await site.proves("wrong", "cam-2")
        waits.append(refused.value.retry_after_s)
        site.clock.advance(refused.value.retry_after_s)
        with pytest.raises(NotAuthenticated):
            await site.proves("wrong", "cam-2")
    assert waits == [1, 2, 4, 8]
    assert site.meter.counts("gateway_logins_total", outcome="throttled") == 4


async def test_the_right_password_waits_too_while_its_address_guesses(site: Site) -> None:
    for _ in range(FREE_FAILURES):
        with pytest.raises(NotAuthenticated):
            await site.proves("wrong", "cam-2")
    with pytest.raises(TooManyFailures):
        await site.proves("correct horse", "cam-2")
    assert await site.proves("correct horse", "cam-2", source="192.0.2.2") == "cam-2"


async def test_a_token_works_on_behind_the_address_of_somebody_who_guesses(site: Site) -> None:
    for _ in range(FREE_FAILURES):
        with pytest.raises(NotAuthenticated):
            await site.proves("wrong", "cam-2")
    assert await site.proves("gwt_one") == "cam-1"


async def test_a_success_does_not_give_a_guesser_new_tries(site: Site) -> None:
    for _ in range(FREE_FAILURES - 1):
        with pytest.raises(NotAuthenticated):
            await site.proves("wrong", "cam-2")
    assert await site.proves("correct horse", "cam-2") == "cam-2"
    with pytest.raises(NotAuthenticated):
        await site.proves("wrong", "cam-2")
    with pytest.raises(TooManyFailures):
        await site.proves("wrong", "cam-2")


def test_the_wait_has_an_end_and_is_forgotten_after_an_hour() -> None:
    one = Throttle()
    for _ in range(100):
        one.failed("a", 0.0)
    assert one.wait_s("a", 0.0) == WAIT_MAX_S
    one.failed("a", 2 * throttle.FORGET_S)
    assert one.wait_s("a", 2 * throttle.FORGET_S) == 0


def test_addresses_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "SOURCES_MAX", 3)
    one = Throttle()
    for n in range(10):
        one.failed(str(n), 0.0)
    assert len(one) == 3


def test_a_guesser_who_takes_another_ipv6_address_each_time_waits_too() -> None:
    one = Throttle()
    for n in range(throttle.SUBNET_FREE_FAILURES):
        assert one.wait_s(f"2001:db8::{n:x}", 0.0) == 0
        one.failed(f"2001:db8::{n:x}", 0.0)
    assert one.wait_s("2001:db8::ffff", 0.0) == throttle.WAIT_FIRST_S
    assert one.wait_s("2001:db8:0:1::1", 0.0) == 0
    one.forgiven("2001:db8::ffff")
    assert one.wait_s("2001:db8::ffff", 0.0) == 0


def test_the_books_format_is_the_documented_one(site: Site) -> None:
    document = json.loads((site.data_dir / FILE_NAME).read_text())
    assert document["version"] == 1
    assert document["devices"]["cam-3"] == {"added_at": "2026-05-04T00:00:00+00:00", "secret": None}
