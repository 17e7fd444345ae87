"""Guessed secrets: slowed down by address, checked in a time that tells nothing, while those with a right one go on."""

import asyncio
import base64
import hashlib
import hmac
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests

from adapters.mqtt.listener_credentials import PasswordFile
from gateway.devices.book import BookedDevice, add_device
from gateway.devices.gatekeeper import Gatekeeper
from gateway.devices.secret import kept_password, kept_token
from gateway.devices.throttle import FREE_FAILURES
from gateway.errors import NotAuthenticated
from tests.fakes.canary import secret
from tests.fakes.gateway_process import GatewayProcess
from tests.fakes.intake import ManualClock, RecordingMeter
from tests.fakes.siege import under_watch

TOKEN = secret("gwt_of-the-good-device-xxxxxxxxxxxxx")
PASSWORD = secret("battery staple")
GUESSERS = 4
GUESSING_S = 1.0


def book(data_dir: Path) -> None:
    now = datetime.now(UTC)
    add_device(data_dir, BookedDevice(device_id="good", added_at=now, secret=kept_token(TOKEN)))
    add_device(data_dir, BookedDevice(device_id="cam-2", added_at=now, secret=kept_password(PASSWORD)))


def guess(url: str, stop: threading.Event, statuses: list[int]) -> None:
    number = 0
    while not stop.is_set():
        number += 1
        answer = requests.post(f"{url}/image", data=b"x", auth=("cam-2", f"guess {number}"), timeout=30)
        statuses.append(answer.status_code)


def test_a_crowd_of_guessers_is_slowed_down_and_a_device_with_its_token_is_served(tmp_path: Path) -> None:
    book(tmp_path / "data")
    environment = {"GATEWAY_HTTP__ACCESS": "authenticated"}
    with GatewayProcess(tmp_path / "data", environment=environment) as gateway:
        stop, statuses = threading.Event(), list[int]()
        with under_watch(gateway, token=TOKEN) as watch:
            guessers = [threading.Thread(target=guess, args=(gateway.http, stop, statuses)) for _ in range(GUESSERS)]
            for one in guessers:
                one.start()
            time.sleep(GUESSING_S)
            give_up_at = time.monotonic() + 60
            while 429 not in statuses:  # a check of a password takes a slow machine its time
                assert time.monotonic() < give_up_at, statuses
                time.sleep(0.05)
            # Behind the guessers' own address, as devices behind one NAT are.
            bearer = {"Authorization": f"Bearer {TOKEN}"}
            readings = f"{gateway.http}/v1/devices/good/readings"
            answer = requests.post(readings, json={"n": 1}, headers=bearer, timeout=30)
            assert answer.status_code == 200
            stop.set()
            for one in guessers:
                one.join()
        assert set(statuses) == {401, 429}
        assert statuses.count(401) < FREE_FAILURES + GUESSERS
        watch.assert_unharmed(growth_mib_max=60)


async def test_a_guesser_at_a_password_file_is_slowed_down_too(tmp_path: Path) -> None:
    salt = bytes(12)
    digest = hashlib.pbkdf2_hmac("sha512", PASSWORD.encode(), salt, 101)
    text = "$".join(["cam-2:", "7", "101", base64.b64encode(salt).decode(), base64.b64encode(digest).decode()])
    (tmp_path / "passwords").write_text(text + "\n")
    file = PasswordFile.read(tmp_path / "passwords")

    async def tries(password: str, source: str) -> bool:
        return await file.check("cam-2", password.encode(), "c", source=source) is not None

    assert await tries(PASSWORD, "192.0.2.1")
    for number in range(FREE_FAILURES):
        assert not await tries(f"guess {number}", "192.0.2.1")
    assert not await tries(PASSWORD, "192.0.2.1")  # waits
    assert await tries(PASSWORD, "192.0.2.2")


@pytest.mark.parametrize("device_id", ["cam-2", "good", "nobody"])
async def test_a_wrong_secret_costs_the_same_check_whoever_it_is_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device_id: str
) -> None:
    book(tmp_path)
    keeper = Gatekeeper(tmp_path, clock=ManualClock(), meter=RecordingMeter())
    checks: list[str] = []
    compared: list[tuple[int, int]] = []
    scrypt, compare = hashlib.scrypt, hmac.compare_digest

    def counted(*args: object, **kwargs: object) -> bytes:
        checks.append("scrypt")
        return scrypt(*args, **kwargs)  # type: ignore[arg-type]

    def constant(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return compare(one, other)

    monkeypatch.setattr(hashlib, "scrypt", counted)
    monkeypatch.setattr(hmac, "compare_digest", constant)
    with pytest.raises(NotAuthenticated):
        await keeper.prove(device_id=device_id, secret="x" * 200, source="192.0.2.1")
    assert checks == ["scrypt"]
    assert compared == [(32, 32)]  # digests of one length, in constant time


def test_a_connection_for_each_guess_does_not_help(tmp_path: Path) -> None:
    book(tmp_path)
    keeper = Gatekeeper(tmp_path, clock=ManualClock(), meter=(meter := RecordingMeter()))

    async def all_at_once() -> None:
        tries = [keeper.prove(device_id="cam-2", secret=f"guess {n}", source="192.0.2.1") for n in range(50)]
        await asyncio.gather(*tries, return_exceptions=True)

    asyncio.run(all_at_once())
    assert meter.counts("gateway_logins_total", outcome="refused") == FREE_FAILURES
    assert meter.counts("gateway_logins_total", outcome="throttled") == 50 - FREE_FAILURES
