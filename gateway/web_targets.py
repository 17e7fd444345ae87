"""Where a URL of the gateway's own requests leads, and which addresses may be gone to. Pure.

Two askers share these rules: the ``/url`` routes, whose URLs come from clients, and pulled cameras, whose URLs are the
operator's own. For both a redirect stays on its host, and the connection goes to the very address that was checked,
so that a second DNS answer changes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import urljoin, urlsplit

from gateway.identifiers import shortened

URL_CHARS_MAX = 2048
DEFAULT_PORTS = {"http": 80, "https": 443}

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# Addresses that lead to an IPv4 address inside: NAT64 (RFC 6052), 6to4 and Teredo reach private ranges unseen.
_TUNNELS = (IPv6Network("64:ff9b::/96"), IPv6Network("2002::/16"), IPv6Network("2001::/32"))
# RFC 6598: neither private nor global; what links sites (and VPNs between them) uses it.
_SHARED = IPv4Network("100.64.0.0/10")
# Where clouds hand out a machine's credentials outside the link-local range: EC2's IPv6, Azure's host, Alibaba, Oracle.
_METADATA = frozenset(map(ip_address, ("fd00:ec2::254", "168.63.129.16", "100.100.100.200", "192.0.0.192")))


class UrlInvalid(ValueError):
    """A URL that the gateway does not follow; the text says why, and quotes at most a bounded part of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A URL taken apart: ``path`` is the request target, query included."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """The Host header: the port only where it is not the scheme's."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"


def parse_url(url: str) -> Target:
    """Take ``url`` apart; UrlInvalid for what is not plain http(s) with a host."""
    if len(url) > URL_CHARS_MAX or not url.isascii() or any(character <= " " for character in url) or "\x7f" in url:
        raise UrlInvalid(f"the URL {shortened(url)} is too long or has characters that must be escaped")
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError as error:
        raise UrlInvalid(f"the URL {shortened(url)} can't be read") from error
    scheme = parts.scheme.lower()
    if scheme not in DEFAULT_PORTS or not host or "@" in parts.netloc or set(host) & {"%", "\\"}:
        raise UrlInvalid(f"the URL {shortened(url)} is not http or https with a host and without a password")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(scheme=scheme, host=host, port=port or DEFAULT_PORTS[scheme], path=path)


def redirected(target: Target, location: str) -> str:
    """Return the URL that a redirect names. UrlInvalid for what can't be joined."""
    try:
        return urljoin(target.url, location)
    except ValueError as error:
        raise UrlInvalid(f"{target.host} redirects to {shortened(location)}") from error


def address_of(text: str) -> Address:
    """Return the address that is really gone to: without a zone, and IPv4 where IPv6 only wraps it."""
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address):
        return address.ipv4_mapped or address
    return address


def is_public(address: Address) -> bool:
    """Tell whether an address is outside every private range, also when followed through a tunnel."""
    return address.is_global and not address.is_multicast and not _is_tunnelled(address)


def _is_tunnelled(address: Address) -> bool:
    return any(address in tunnel for tunnel in _TUNNELS)


def may_have_camera(address: Address, *, host: str, networks: Sequence[Network]) -> bool:
    """Tell whether a camera whose URL names ``host`` may be at ``address``.

    With ``networks``, in those only. Else at any address of this site or outside, but never where the credentials of
    a cloud's machine are given out, nor in a link-local range; and on this machine itself only if the URL says so,
    since a name that suddenly resolves to 127.0.0.1 would lead to what listens behind the gateway's back.
    """
    if networks:
        return any(address in network for network in networks)
    if address.is_loopback:
        return _names_loopback(host)
    if address in _METADATA or address.is_link_local or address.is_multicast or address.is_unspecified:
        return False
    is_inside = (address.is_private and not address.is_reserved) or address in _SHARED
    return is_public(address) or (is_inside and not _is_tunnelled(address))


def _names_loopback(host: str) -> bool:
    try:
        return address_of(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
