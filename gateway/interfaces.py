"""Keeping a listener to one network interface.

An address is not enough: Linux takes a packet for any of its addresses at any interface (the weak end system model of
RFC 1122 section 3.3.4.2), so a host on the cloud's side that is routed to the devices' address would be served.
"""

import socket

from gateway.errors import AdapterUnavailable


def keep_to_interface(plug: socket.socket, interface: str, setting: str) -> None:
    """Let ``plug`` hear ``interface`` only; nothing to do if it is empty. Raises AdapterUnavailable with the cure.

    Before ``bind``. Clients on this machine itself come in by "lo", and so are not served.
    """
    if not interface:
        return
    try:
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
    except PermissionError as error:
        raise AdapterUnavailable(
            f"{setting} = {interface!a} needs Linux 5.7 or newer, or CAP_NET_RAW (systemd: AmbientCapabilities=)"
        ) from error
    except OSError as error:
        known = ", ".join(name for _, name in socket.if_nameindex())
        raise AdapterUnavailable(f"{setting} = {interface!a}: {error.strerror}; there are {known}") from error
