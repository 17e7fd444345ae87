"""Logins over real sockets: lighttpd, which we did not write, and the simulated camera, which curl has judged."""

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from adapters.camera_pull.faults import CameraFault, Reason
from adapters.camera_pull.snapshot import Snapshot
from gateway.simulators.devices.snapshot_camera import Auth, SnapshotCamera, SnapshotCameraOptions
from tests.fakes.lighttpd import lighttpd, needs_lighttpd
from tests.fakes.raw_camera import PICTURE, fetch, raw_camera, snapshot_of

PASSWORD = 'p:a"s s\\wörd'
# Without the sloppy one: curl takes no spaces around "=".
FOR_CURL = [auth for auth in Auth if auth not in {Auth.NONE, Auth.DIGEST_SLOPPY}]
WITH_LOGIN = [auth for auth in Auth if auth is not Auth.NONE]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with lighttpd(tmp_path_factory.mktemp("lighttpd"), PICTURE, username="admin", password=PASSWORD) as url:
        yield url


def asking(url: str, *, password: str = PASSWORD, **camera: Any) -> Snapshot:
    return snapshot_of(url, password=password, username="admin", password_file="named", **camera)


@needs_lighttpd
@pytest.mark.parametrize("place", ["open", "basic", "md5", "sha", "both"])
async def test_lighttpd_gives_its_picture_for_the_right_login_again_and_again(server: str, place: str) -> None:
    snapshot = asking(f"{server}/{place}/snapshot.jpg?channel=1&q=%22x%22")
    assert [await fetch(snapshot) for _ in range(3)] == [PICTURE] * 3


@needs_lighttpd
@pytest.mark.parametrize("place", ["basic", "sha"])  # it takes a second to refuse
async def test_lighttpd_refuses_the_wrong_login_and_so_it_is_told(server: str, place: str) -> None:
    with pytest.raises(CameraFault) as told:
        await fetch(asking(f"{server}/{place}/snapshot.jpg", password="guess"))
    assert told.value.reason is Reason.LOGIN_REFUSED
    assert "guess" not in told.value.detail


@needs_lighttpd
async def test_lighttpd_redirects_on_the_same_host_into_a_login(server: str) -> None:
    assert await fetch(asking(f"{server}/moved.jpg")) == PICTURE


def simulated(auth: Auth, *, nonce_uses: int = 0) -> SnapshotCamera:
    options = SnapshotCameraOptions(auth=auth, password=PASSWORD, nonce_uses=nonce_uses)
    return SnapshotCamera(options, cycle([PICTURE]))


@pytest.mark.skipif(shutil.which("curl") is None, reason="missing package: curl")
@pytest.mark.parametrize("auth", FOR_CURL)
async def test_curl_takes_the_simulated_camera_for_a_right_one(auth: Auth, tmp_path: Path) -> None:
    async with simulated(auth) as camera:
        for password, code in ((PASSWORD, "200"), ("guess", "401")):
            login = ["--anyauth", "--user", f"admin:{password}"]
            done = await asyncio.to_thread(
                subprocess.run,
                ["curl", "--silent", *login, "-o", str(tmp_path / "got"), "-w", "%{http_code}", camera.url],
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.stdout == code
        assert camera.served == 1


@pytest.mark.parametrize("auth", WITH_LOGIN)
async def test_every_login_of_a_simulated_camera_is_answered_also_when_its_nonces_age(auth: Auth) -> None:
    async with simulated(auth, nonce_uses=2) as camera:
        snapshot = asking(camera.url)
        assert [await fetch(snapshot) for _ in range(5)] == [PICTURE] * 5
        assert camera.refused == 0


@pytest.mark.parametrize("auth", WITH_LOGIN)
async def test_a_wrong_password_costs_one_try_of_the_account(auth: Auth) -> None:
    async with simulated(auth) as camera:
        with pytest.raises(CameraFault) as told:
            await fetch(asking(camera.url, password="guess"))
        assert told.value.reason is Reason.LOGIN_REFUSED
        assert camera.refused == 1


async def test_a_login_that_belongs_into_the_url_is_filled_in_escaped_and_never_told() -> None:
    async with raw_camera(b"HTTP/1.1 500 no\r\n\r\n") as camera:
        url = camera.url + "?user={username}&pwd={password}"
        snapshot = asking(url, password="a&b=c/ä")
        with pytest.raises(CameraFault) as told:
            await fetch(snapshot)
    assert camera.asked[0].startswith("GET /snapshot.jpg?user=admin&pwd=a%26b%3Dc%2F%C3%A4 HTTP/1.1\r\n")
    assert "a%26b" not in told.value.detail + snapshot.where


async def test_a_realm_with_a_line_break_adds_no_line_to_our_request() -> None:
    challenge = b'WWW-Authenticate: Digest realm="x\rX-Injected: 1", nonce="n"\r\n'
    async with raw_camera(b"HTTP/1.1 401 no\r\n" + challenge + b"Content-Length: 0\r\n\r\n") as camera:
        with pytest.raises(CameraFault):
            await fetch(asking(camera.url))
    assert "Authorization: Digest" in camera.asked[1]
    assert not [line for line in camera.asked[1].splitlines() if line.startswith("X-Injected")]
