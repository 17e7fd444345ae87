import socket
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import AdapterUnavailable
from gateway.tls.authority import LocalAuthority
from gateway.tls.certificates import LocalCertificate, fingerprint
from gateway.tls.host_names import addresses_for_devices, addresses_of, host_names
from gateway.tls.identity import device_of_certificate


@pytest.mark.parametrize(
    ("certificate", "device"),
    [
        (None, None),
        ({}, None),
        ({"subject": ((("commonName", "cam-1"),),)}, "cam-1"),
        ({"subject": ((("organizationName", "farm"),), (("commonName", "cam-1"),))}, "cam-1"),
        ({"subject": ((("commonName", "Camera 1"),),), "subjectAltName": (("DNS", "cam-1.farm"),)}, "cam-1.farm"),
        ({"subject": (), "subjectAltName": (("IP Address", "10.0.0.1"), ("URI", "urn:dev:1"))}, "urn:dev:1"),
        ({"subject": (), "subjectAltName": (("email", "cam@farm"),)}, "cam@farm"),
        ({"subject": ((("commonName", "a/b"),),), "subjectAltName": (("DNS", "*.farm"),)}, ""),
    ],
)
def test_the_common_name_is_the_device_or_else_the_first_name_that_can_be(
    certificate: dict[str, Any] | None, device: str | None
) -> None:
    assert device_of_certificate(certificate) == device


def test_host_has_its_name_loopback_and_what_was_wanted_once() -> None:
    names = host_names(("gw.farm.example", "localhost"))
    assert names[:2] == ("gw.farm.example", "localhost")
    assert {"127.0.0.1", "::1"} <= set(names)
    assert len(set(names)) == len(names)
    assert socket.gethostname() in names


def test_host_has_the_address_that_it_sends_from() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plug:
        try:
            plug.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no route")
        address = plug.getsockname()[0]
    assert address in host_names()
    assert address in addresses_for_devices()


def test_no_device_is_given_an_address_that_only_this_machine_reaches() -> None:
    assert addresses_for_devices("lo") == ()
    assert "127.0.0.1" not in addresses_for_devices()


def test_temporary_and_link_local_addresses_are_left_out() -> None:
    told = (
        "00000000000000000000000000000001 01 80 10 80       lo\n"
        "fe800000000000000000000000000001 02 40 20 80     eth0\n"
        "20010db8000000000000000000000005 02 40 00 00     eth0\n"
        "20010db80000000000000000000000aa 02 40 00 01     eth0\n"
    )
    assert list(addresses_of(told)) == ["::1", "2001:db8::5"]


def test_certificate_is_made_anew_for_another_authority_and_not_for_ever_on_a_host_with_many_names(
    tmp_path: Path,
) -> None:
    many = tuple(f"host-{n}.farm.example" for n in range(LocalCertificate.NAMES_MAX + 10))
    local = LocalCertificate(tmp_path, lambda: many)
    due = [local.is_due]
    local.ensure()
    due.append(local.is_due)
    (tmp_path / "tls" / "authority.key").unlink()
    LocalAuthority(tmp_path / "tls")  # as a command would: without its key it is another
    due.append(local.is_due)
    local.ensure()
    due.append(local.is_due)
    assert due == [True, False, True, False]


def test_no_certificate_is_told_with_the_folder_and_the_reason(tmp_path: Path) -> None:
    (tmp_path / "tls").write_text("a file, not a folder")
    with pytest.raises(AdapterUnavailable, match=r"/tls: .*(File exists|Not a directory)"):
        LocalCertificate(tmp_path, lambda: ("localhost",)).ensure()


def test_file_without_a_certificate_has_no_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "a.pem").write_text("-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n")
    assert fingerprint(tmp_path / "a.pem") == "unreadable"
    assert fingerprint(tmp_path / "none.pem") == "unreadable"
