"""Where the gateway goes for a picture, and where it does not: names, addresses, redirects, https."""

import asyncio
import hashlib
import socket
import ssl
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path

import pytest

from adapters.camera_pull.faults import CameraFault, Reason
from adapters.camera_pull.whereabouts import Lookup, Whereabouts
from gateway.name_lookup import LOOKUPS_MAX, NameLookup
from gateway.settings import CameraPullSettings
from gateway.simulators.iot_hub.certificates import CertificateAuthority
from gateway.web_targets import parse_url
from tests.fakes.raw_camera import PICTURE, answer, fetch, raw_camera, snapshot_of


def resolving(*answers: Sequence[str]) -> Lookup:
    """Give each of the answers in turn, the last for ever; an empty one is a failure."""
    left = list(answers)

    async def lookup(host: str, port: int) -> Sequence[str]:
        found = left.pop(0) if len(left) > 1 else left[0]
        if not found:
            raise socket.gaierror(-3, "Temporary failure in name resolution")
        return found

    return lookup


def networks(*given: str) -> CameraPullSettings:
    return CameraPullSettings.model_validate({"allowed_networks": given})


async def addresses(host: str, *found: str, pull: CameraPullSettings | None = None) -> Sequence[str]:
    whereabouts = Whereabouts(lookup=resolving(found), settings=pull or CameraPullSettings())
    return await whereabouts.addresses(parse_url(f"http://{host}/"))


@pytest.mark.parametrize(
    "address", ["192.168.1.20", "10.0.0.2", "172.16.0.9", "100.64.3.2", "93.184.216.34", "fd00::20", "::ffff:10.0.0.2"]
)
async def test_cameras_of_the_site_and_outside_are_asked(address: str) -> None:
    assert await addresses("cam.example", address) == [address]


NEVER = ["169.254.169.254", "fe80::1%eth0", "fd00:ec2::254", "168.63.129.16", "100.100.100.200", "192.0.0.192"]
NOWHERE = ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255", "240.0.0.1"]
IN_DISGUISE = ["64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::", "::ffff:169.254.169.254", "2001:0:53aa:64c::1"]
BY_NAME_ONLY = ["127.0.0.1", "::1", "::ffff:127.0.0.1"]


@pytest.mark.parametrize("address", [*NEVER, *NOWHERE, *IN_DISGUISE, *BY_NAME_ONLY])
async def test_a_name_never_leads_to_metadata_link_local_or_this_machine(address: str) -> None:
    with pytest.raises(CameraFault) as told:
        await addresses("cam.example", address)
    assert told.value.reason is Reason.ADDRESS_REFUSED
    assert "allowed_networks" in told.value.detail


@pytest.mark.parametrize("host", ["169.254.169.254", "[fd00:ec2::254]", "0.0.0.0", "[::ffff:169.254.169.254]"])
async def test_such_an_address_in_the_url_itself_is_not_asked_either(host: str) -> None:
    with pytest.raises(CameraFault):
        await addresses(host)


@pytest.mark.parametrize(("host", "found"), [("127.0.0.1", ()), ("[::1]", ()), ("localhost", ("127.0.0.1",))])
async def test_this_machine_is_asked_where_the_url_says_so(host: str, found: tuple[str, ...]) -> None:
    assert await addresses(host, *found)


async def test_listed_networks_are_allowed_whatever_they_are_and_no_others() -> None:
    listed = networks("169.254.0.0/16", "10.1.0.0/16")
    assert await addresses("169.254.7.7", pull=listed)
    assert await addresses("cam.example", "192.168.1.1", "10.1.2.3", pull=listed) == ["10.1.2.3"]
    for other in ("10.2.0.1", "127.0.0.1"):
        with pytest.raises(CameraFault):
            await addresses(other, pull=listed)


async def test_the_connection_goes_to_the_address_that_was_checked() -> None:
    lookup = resolving(["127.0.0.1"], ["169.254.169.254"])
    async with raw_camera(answer()) as camera:
        url = camera.url.replace("127.0.0.1", "cam.localhost")
        snapshot = snapshot_of(url, lookup=lookup)
        assert await fetch(snapshot) == PICTURE
        assert f"Host: cam.localhost:{camera.port}\r\n" in camera.asked[0]
        with pytest.raises(CameraFault) as told:
            await fetch(snapshot)  # the name leads elsewhere now
    assert told.value.reason is Reason.ADDRESS_REFUSED
    assert len(camera.asked) == 1


async def test_a_camera_whose_name_server_is_gone_is_where_it_was() -> None:
    async with raw_camera(answer()) as camera:
        url = camera.url.replace("127.0.0.1", "cam.localhost")
        snapshot = snapshot_of(url, lookup=resolving(["127.0.0.1"], []))
        assert [await fetch(snapshot), await fetch(snapshot)] == [PICTURE, PICTURE]
    with pytest.raises(CameraFault) as told:
        await fetch(snapshot_of("http://cam.localhost/", lookup=resolving([])))
    assert told.value.reason is Reason.NAME_UNKNOWN


async def test_an_address_that_nobody_answers_is_followed_by_the_next() -> None:
    async with raw_camera(answer()) as camera:
        url = camera.url.replace("127.0.0.1", "cam.localhost")
        assert await fetch(snapshot_of(url, lookup=resolving(["127.0.0.2", "127.0.0.1"]))) == PICTURE


async def test_lookups_that_hang_hold_a_bounded_number_of_threads_and_no_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()

    def hangs(*_: object, **__: object) -> list[object]:
        gate.wait(10)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hangs)
    lookup = NameLookup()
    asked = [asyncio.create_task(lookup(f"cam{n}.example", 80)) for n in range(3 * LOOKUPS_MAX)]
    await asyncio.sleep(0.05)
    threads = [thread for thread in threading.enumerate() if thread.name == "name-lookup"]
    assert len(threads) == LOOKUPS_MAX
    assert all(thread.daemon for thread in threads)
    for task in asked:
        task.cancel()
    await asyncio.gather(*asked, return_exceptions=True)
    gate.set()
    for thread in threads:
        thread.join(5)


def redirecting(location: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://127.0.0.2/",
        "//evil.example/x.jpg",
        "http://localhost/",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "http://user:pw@127.0.0.1/",
        "http://[::1",
    ],
)
async def test_a_redirect_to_anywhere_else_is_refused(location: str) -> None:
    async with raw_camera(redirecting(location)) as camera:
        with pytest.raises(CameraFault) as told:
            await fetch(snapshot_of(camera.url))
        assert len(camera.asked) == 1
    assert told.value.reason is Reason.REDIRECT_REFUSED


async def test_a_redirect_on_the_same_host_is_followed() -> None:
    def answers(head: str) -> bytes:
        return answer() if "GET /now%201.jpg?x" in head else redirecting("/now 1.jpg?x")

    async with raw_camera(answers) as camera:
        assert await fetch(snapshot_of(camera.url)) == PICTURE


async def test_redirects_without_an_end_are_ended() -> None:
    async with raw_camera(redirecting("/again.jpg")) as camera:
        with pytest.raises(CameraFault) as told:
            await fetch(snapshot_of(camera.url))
        assert len(camera.asked) == 5
    assert told.value.reason is Reason.REDIRECT_REFUSED


# --- https --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    return CertificateAuthority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def server(authority: CertificateAuthority) -> ssl.SSLContext:
    return authority.server_context("cam.localhost")


def fingerprint_of(file: Path) -> str:
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(file.read_text())).hexdigest()


TO_LOOPBACK = resolving(["127.0.0.1"])


async def test_https_of_the_cameras_own_authority_is_believed_for_its_name(
    authority: CertificateAuthority, server: ssl.SSLContext
) -> None:
    async with raw_camera(answer(), tls=server) as camera:
        url = f"https://cam.localhost:{camera.port}/"
        assert await fetch(snapshot_of(url, lookup=TO_LOOPBACK, ca_file=authority.ca_file)) == PICTURE
        with pytest.raises(CameraFault) as told:
            await fetch(snapshot_of(url.replace("cam", "other"), lookup=TO_LOOPBACK, ca_file=authority.ca_file))
    assert told.value.reason is Reason.CERTIFICATE_REFUSED
    assert len(camera.asked) == 1


async def test_https_that_nobody_vouches_for_is_refused_before_anything_is_said(server: ssl.SSLContext) -> None:
    async with raw_camera(answer(), tls=server) as camera:
        with pytest.raises(CameraFault) as told:
            await fetch(snapshot_of(f"https://127.0.0.1:{camera.port}/", auth="basic", username="u", password="p"))
        assert camera.asked == []
    assert told.value.reason is Reason.CERTIFICATE_REFUSED
    assert "fingerprint" in told.value.detail


async def test_a_pinned_certificate_is_believed_whatever_it_says_and_no_other(
    authority: CertificateAuthority, tmp_path: Path
) -> None:
    files = authority.issue("pinned", common_name="another.example", for_server=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    right = fingerprint_of(files.certificate)
    shouted = ":".join(right[at : at + 2] for at in range(0, 64, 2)).upper()
    async with raw_camera(answer(), tls=context) as camera:
        url = f"https://127.0.0.1:{camera.port}/"
        assert await fetch(snapshot_of(url, fingerprint=shouted)) == PICTURE
        with pytest.raises(CameraFault) as told:
            await fetch(snapshot_of(url, fingerprint="ab" * 32))
        assert len(camera.asked) == 1
    assert told.value.reason is Reason.CERTIFICATE_REFUSED
    assert right in told.value.detail


async def test_an_unverified_camera_is_believed_and_a_redirect_from_https_to_http_is_not(
    server: ssl.SSLContext,
) -> None:
    async with raw_camera(answer(), tls=server) as camera:
        assert await fetch(snapshot_of(f"https://127.0.0.1:{camera.port}/", verify=False)) == PICTURE
    async with raw_camera(redirecting("http://127.0.0.1/"), tls=server) as camera:
        with pytest.raises(CameraFault, match="https to http"):
            await fetch(snapshot_of(f"https://127.0.0.1:{camera.port}/", verify=False))


async def test_tls_1_0_is_spoken_where_it_is_asked_for_only(authority: CertificateAuthority) -> None:
    files = authority.issue("old", common_name="127.0.0.1", for_server=True)
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    old.load_cert_chain(files.certificate, files.key)
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1
    async with raw_camera(answer(), tls=old) as camera:
        url, ca = f"https://127.0.0.1:{camera.port}/", authority.ca_file
        assert await fetch(snapshot_of(url, ca_file=ca, legacy_tls=True)) == PICTURE
        with pytest.raises(CameraFault) as told:
            await fetch(snapshot_of(url, ca_file=ca))
    assert told.value.reason is Reason.TLS_FAILED
