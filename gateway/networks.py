"""Whether a client's address is in a network, as the settings list them. Pure."""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address


def is_in(host: str, networks: Iterable[IPv4Network | IPv6Network]) -> bool:
    """Tell whether ``host``, an address as sockets tell it, is in one of ``networks``; no address is in none."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in network for network in networks)
