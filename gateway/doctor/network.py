"""Can the hub and the broker be reached, and are the ports free? Every question has a deadline."""

import concurrent.futures
import errno
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from gateway.cloud.connection_string import ConnectionString
from gateway.cloud.identity import EdgeModule, SymmetricKey, identity_of
from gateway.doctor.finding import Finding, fail, ok, warn
from gateway.settings import CloudSettings, HostPort, Settings, parse_broker_url, parse_listen

RESOLVE_TIMEOUT_S = 5.0
CONNECT_TIMEOUT_S = 5.0
HUB_PORTS = {"mqtt": 8883, "websockets": 443}
_HUB, _EDGE, _BROKER, _PORT = "hub", "IoT Edge", "MQTT broker", "port"
_UNIX = "unix://"

Resolve = Callable[[str, int], list[str]]
Connect = Callable[[str, int], None]


def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of ``host`` within RESOLVE_TIMEOUT_S. Raises OSError (a timeout is one)."""
    # getaddrinfo has no deadline of its own: a thread that hangs in it is left behind.
    found: concurrent.futures.Future[list[str]] = concurrent.futures.Future()

    def ask() -> None:
        try:
            answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found.set_result(sorted({str(answer[4][0]) for answer in answers}))
        except OSError as error:
            found.set_exception(error)

    threading.Thread(target=ask, name="doctor-dns", daemon=True).start()
    try:
        return found.result(RESOLVE_TIMEOUT_S)
    except concurrent.futures.TimeoutError as error:
        raise TimeoutError(f"no answer from DNS within {RESOLVE_TIMEOUT_S:g} s") from error


def connect(address: str, port: int) -> None:
    """Return when the port answered, within CONNECT_TIMEOUT_S. Raises OSError."""
    socket.create_connection((address, port), timeout=CONNECT_TIMEOUT_S).close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """Somewhere to connect to: ``through`` says why, where it is not the goal itself."""

    host: str
    port: int
    through: str = ""


def hub_way(cloud: CloudSettings, *, assigned_hub: str = "") -> Way | None:
    """Return where the gateway connects to for the hub; None where none is configured.

    ``assigned_hub`` is what the provisioning service said, if it was asked: then it is not needed any more.
    """
    if not cloud.configured:
        return None
    if cloud.proxy:
        proxy = urlsplit(cloud.proxy)
        return Way(host=proxy.hostname or "", port=proxy.port or 80, through=" (the proxy)")
    host, through = (assigned_hub, "") if assigned_hub else _goal(cloud)
    return Way(host=host, port=HUB_PORTS[cloud.transport], through=through)


def _goal(cloud: CloudSettings) -> tuple[str, str]:
    """Return the first host to connect to, and why it where it is not the hub."""
    if cloud.identity_source == "provisioning":
        return cloud.provisioning.host, " (the provisioning service)"
    match identity_of(cloud):
        case EdgeModule(gateway_hostname=host):
            return host, " (edgeHub)"
        case SymmetricKey(connection=ConnectionString(gateway_hostname=host)) if host:
            return host, " (the edge gateway)"
        case identity:
            return identity.hostname, ""


def examine_hub(
    cloud: CloudSettings, *, assigned_hub: str = "", resolve: Resolve = resolve, connect: Connect = connect
) -> Finding:
    """Ask whether the way to the hub is open. A closed one is a warning: events wait."""
    way = hub_way(cloud, assigned_hub=assigned_hub)
    if way is None:
        return ok(_HUB, "none configured: events are kept (cloud.connection_string)")
    return _examine_way(_HUB, way, resolve=resolve, connect=connect)


def examine_edge_runtime(cloud: CloudSettings) -> Finding | None:
    """Ask whether IoT Edge's workload socket is there; None where it is not ours to ask."""
    uri = cloud.edge.workload_uri
    if cloud.identity_source != "edge" or not uri.startswith(_UNIX):
        return None
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(CONNECT_TIMEOUT_S)
        try:
            connection.connect(uri.removeprefix(_UNIX))
        except OSError as error:
            cure = "mount it into the container (edgeAgent does); sudo iotedge check; events are kept meanwhile"
            return warn(_EDGE, f"{uri}: no connection ({_words(error)})", cure)
    return ok(_EDGE, f"{uri} answers")


def examine_broker(url: str, *, resolve: Resolve = resolve, connect: Connect = connect) -> Finding:
    """Ask whether the site's broker is there."""
    broker = parse_broker_url(url)
    return _examine_way(_BROKER, Way(host=broker.host, port=broker.port), resolve=resolve, connect=connect)


def _examine_way(check: str, way: Way, *, resolve: Resolve, connect: Connect) -> Finding:
    where = f"{way.host}:{way.port}{way.through}"
    try:
        addresses = resolve(way.host, way.port)
    except OSError as error:
        cure = "check the name, the network and its DNS server; events are kept meanwhile"
        return warn(check, f"{where}: the name can't be resolved ({_words(error)})", cure)
    try:
        connect(addresses[0], way.port)
    except OSError as error:
        cure = f"check the network, and that the firewall lets TCP port {way.port} out; events are kept meanwhile"
        return warn(check, f"{where}: no connection ({_words(error)})", cure)
    return ok(check, f"{where}: {addresses[0]} answers")


# --- ports --------------------------------------------------------------------------------------------


def listeners(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield the setting and the address of each listener that is on."""
    if settings.http.enabled:
        yield "http.listen", settings.http.listen
    if settings.mqtt.listen:
        yield "mqtt.listen", settings.mqtt.listen
    if settings.admin.enabled:
        yield "admin.listen", settings.admin.listen


def examine_ports(settings: Settings, *, serving: Mapping[str, str] | None) -> Iterator[Finding]:
    """Tell for each listener whether its port is free. ``serving``: where a running gateway says that it listens."""
    for setting, text in listeners(settings):
        address = parse_listen(text)
        check = f"{_PORT} {setting}"
        error = None if address.port == 0 else bind_error(address)
        if error is None:
            yield ok(check, f"{text} is free")
        elif error.errno == errno.EADDRINUSE and _is_served(address, serving):
            yield ok(check, f"{text} is served by the gateway that runs")
        else:
            yield fail(check, f"{text}: {_words(error)}", _port_cure(setting, address, error))


def bind_error(address: HostPort) -> OSError | None:
    """Return why nothing could listen there, or None."""
    host = address.host or "0.0.0.0"  # noqa: S104  what "every interface" means; bound for a moment
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, address.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except OSError as error:
        return error
    return None


def _is_served(address: HostPort, serving: Mapping[str, str] | None) -> bool:
    return serving is not None and any(where.endswith(f":{address.port}") for where in serving.values())


def _port_cure(setting: str, address: HostPort, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"see who has it: ss -ltnp 'sport = :{address.port}'; stop that, or set another {setting}"
    if error.errno == errno.EACCES:
        return f"ports below 1024 need a privilege: set {setting} to a higher one, or grant CAP_NET_BIND_SERVICE"
    return f"set {setting} to an address of this machine: ip addr"


def _words(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
