"""Clients' addresses: whether one is in a network that the settings list, and who counts as one. Pure."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

# What one IPv6 subnet has (RFC 4291 section 2.5.4): whoever is on it may take any of its 2**64 addresses.
SUBNET_PREFIX_BITS = 64


def is_in(host: str, networks: Iterable[IPv4Network | IPv6Network]) -> bool:
    """Tell whether ``host``, an address as sockets tell it, is in one of ``networks``; no address is in none."""
    address = _address(host)
    return address is not None and any(address in network for network in networks)


def subnet_of(host: str) -> str:
    """Return what counts as one where an address is too cheap to: an IPv6 address' /64, every other address itself.

    A client of IPv4 is the same whether its socket speaks IPv4 or both families.
    """
    address = _address(host)
    if not isinstance(address, IPv6Address):
        return host if address is None else str(address)
    return str(IPv6Network((address, SUBNET_PREFIX_BITS), strict=False))


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
