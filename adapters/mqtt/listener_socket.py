"""The listener's address: a bound socket. Errors name the key and the cure."""

import errno
import socket

from gateway.errors import AdapterUnavailable
from gateway.interfaces import keep_to_interface
from gateway.settings import parse_listen

SETTING = "mqtt.listen"


def bind(listen: str, interface: str = "") -> socket.socket:
    """Return a bound socket for ``host:port``, IPv4 preferred where a name has both. Raises AdapterUnavailable.

    With ``interface`` only what comes in there is served, whatever address it is sent to.
    """
    try:
        address = parse_listen(listen)
        host = address.host or "0.0.0.0"  # noqa: S104 - ":1883" means every address, as everywhere
        found = socket.getaddrinfo(host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, ValueError) as error:
        raise AdapterUnavailable(f"{SETTING} = {listen!a} is no address of this machine: {error}") from error
    family, kind, protocol, _, where = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(host != "::"))
        keep_to_interface(bound, interface, "mqtt.listen_interface")
        bound.bind(where)
    except OSError as error:
        bound.close()
        raise AdapterUnavailable(_cure(error, host, address.port)) from error
    except AdapterUnavailable:
        bound.close()
        raise
    bound.setblocking(False)  # noqa: FBT003 - the socket's signature
    return bound


def _cure(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} on {host} is taken by another program, often a broker (see: ss -ltnp 'sport = :{port}'); "
            f'stop it, choose another port in {SETTING}, or set {SETTING} = "" and name that broker in mqtt.url'
        )
    if error.errno == errno.EACCES:
        return f"port {port} needs privileges; choose one above 1023 in {SETTING}, or grant CAP_NET_BIND_SERVICE"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is not an address of this machine; choose one in {SETTING} (see: ip address)"
    return f"{SETTING}: {host}:{port} can't be bound: {error.strerror}"
