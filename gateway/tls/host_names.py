"""Under which names and addresses devices may reach this machine now."""

import contextlib
import fcntl
import ipaddress
import re
import socket
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

_IF_INET6 = Path("/proc/net/if_inet6")
_IFA_F_TEMPORARY = 0x01  # linux/if_addr.h
_SIOCGIFADDR = 0x8915  # linux/sockios.h
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


def host_names(wanted: Sequence[str] = ()) -> tuple[str, ...]:
    """Return ``wanted``, this host's names (also .local, as mDNS tells it) and every address of its interfaces."""
    name = socket.gethostname()
    names = [*wanted, "localhost"]
    if _HOST.fullmatch(name):
        names += [name, *([] if "." in name else [f"{name}.local"])]
    addresses = {"127.0.0.1", "::1", *_addresses_4(), *_addresses_6()}
    return tuple(dict.fromkeys([*names, *sorted(addresses)]))


def addresses_for_devices(interface: str = "") -> tuple[str, ...]:
    """Return the IPv4 addresses that a device on a network can be given: of ``interface``, or of every one."""
    found = _addresses_4(only=interface)
    return tuple(address for address in found if not ipaddress.ip_address(address).is_loopback)


def _addresses_4(only: str = "") -> Iterator[str]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plug:
        for interface in [only] if only else [name for _, name in socket.if_nameindex()]:
            with contextlib.suppress(OSError):  # an interface without an IPv4 address
                answer = fcntl.ioctl(plug.fileno(), _SIOCGIFADDR, struct.pack("256s", interface.encode()[:15]))
                yield socket.inet_ntoa(answer[20:24])


def _addresses_6() -> Iterator[str]:
    with contextlib.suppress(OSError):  # a kernel without IPv6
        yield from addresses_of(_IF_INET6.read_text(encoding="ascii"))


def addresses_of(if_inet6: str) -> Iterator[str]:
    """Yield the lasting addresses of what Linux tells in ``/proc/net/if_inet6``."""
    for line in if_inet6.splitlines():
        digits, _, _, _, flags, *_ = line.split()
        address = ipaddress.IPv6Address(int(digits, 16))
        # Link-local ones are only reached with an interface's name behind them, which no certificate has. Temporary
        # ones (RFC 8981) are another every day, and nobody is told of them.
        if not address.is_link_local and not int(flags, 16) & _IFA_F_TEMPORARY:
            yield str(address)
