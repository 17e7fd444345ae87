"""The canary that watches what the suite makes the program print: it sings, and only then."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.devices.secret import new_token
from tests.fakes.canary import THE_CANARY, Canary


@pytest.mark.parametrize(
    "text",
    [
        f"token {new_token()} refused",
        "HostName=h;DeviceId=d;SharedAccessKey=c2VjcmV0LWtleQ==",
        "SharedAccessSignature sr=h&sig=c2VjcmV0LWtleQ%3D%3D&se=1",
        "-----BEGIN EC PRIVATE KEY-----",
        "Authorization: Basic Y2FtLTE6aHVzaGh1c2g=",
        "proxy http://site:hushhush@proxy:3128",
        "it was xyzzy-xyzzy all along",
    ],
    ids=["token", "connection string", "signature", "key", "basic", "url", "known"],  # a token is another in each run
)
def test_a_secret_in_what_came_out_is_told_without_repeating_it(text: str) -> None:
    canary = Canary()
    canary.secret("xyzzy-xyzzy")
    canary.look_at(text, "a log")
    (leak,) = canary.take_leaks()
    assert "came out in a log" in str(leak)
    assert "xyzzy" not in str(leak)
    assert not canary.take_leaks()


@pytest.mark.parametrize(
    "text",
    [
        "SharedAccessKey=***;sig=***&se=1 http://site:***@proxy Bearer ***",
        "HTTP: Authorization: Bearer TOKEN, or ?key=TOKEN.",
        'WWW-Authenticate: Basic realm="gateway", charset="UTF-8"',
        "http://127.0.0.1:8080/image and http://[::1]:8080/@x",
    ],
)
def test_what_is_masked_or_no_secret_is_left_alone(text: str) -> None:
    canary = Canary()
    canary.look_at(text, "a log")
    assert not canary.take_leaks()


def test_the_canary_sees_what_commands_print_however_they_are_run() -> None:
    seen = THE_CANARY.chars_seen
    CliRunner().invoke(app, ["version"])
    assert THE_CANARY.chars_seen > seen
    seen = THE_CANARY.chars_seen
    subprocess.run([sys.executable, "-m", "gateway", "version"], capture_output=True, check=True)
    assert THE_CANARY.chars_seen > seen


def test_the_token_that_devices_add_shows_is_what_it_is_for() -> None:
    canary = Canary()
    canary.look_at_command(["devices", "add", "cam-1"], f"its token: {new_token()}")
    assert not canary.take_leaks()
    canary.look_at_command(["devices", "list"], f"its token: {new_token()}")
    assert canary.take_leaks()
