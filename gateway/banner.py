"""What ``gateway run`` prints when it serves: where, what, and how to try it. Pure text."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class BannerFacts:
    """What a newcomer wants to know at the start."""

    version: str
    gateway_id: str
    faces: Sequence[tuple[str, str]]  # name, where it listens ("" when it does not)
    standing: Mapping[str, "Standing"]  # of the listeners for devices
    device_url: str
    curl_options: str
    model: str
    data_file: str
    waiting: int
    uplink: str
    example_picture: str
    lan: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Who comes in at a listener: ``tls`` tells of the certificate (empty: none), ``networks`` of the allowed ones."""

    access: str  # open, known, authenticated
    tls: str
    networks: Sequence[str]
    interface: str
    is_loopback: bool
    plain_networks: Sequence[str]  # that may do without TLS where it is on
    addresses: Sequence[str]  # that devices can be given, where it listens at every one


LAN_WARNING = (
    "WARNING: devices of private networks (192.168.x.x, 10.x.x.x, ...) may send without a password,\n"
    "           because it was started with LAN=1. Use it on a network that you trust.\n"
)


def render(facts: BannerFacts) -> str:
    """Return the banner as text, one fact a line."""
    rows = [row for name, where in facts.faces for row in _face(name, where, facts.standing.get(name))]
    rows += [("model", facts.model), ("data", facts.data_file), ("uplink", f"{facts.uplink}{_waiting(facts.waiting)}")]
    lines = [f"gateway-bridge {facts.version}, gateway id {facts.gateway_id}", ""]
    width = max(len(name) for name, _ in rows) + 3
    lines += [f"  {name:<{width}}{text}" for name, text in rows]
    if facts.lan:
        lines += ["", f"  {LAN_WARNING.rstrip()}"]
    lines += [
        "",
        "  Try it from another terminal:",
        f"    curl {facts.curl_options}--data-binary @{facts.example_picture} {facts.device_url}/image",
        "",
        "  Ctrl-C stops it; whatever was acknowledged is on disk.",
        "",
    ]
    return "\n".join(lines)


_ACCESS = {
    "open": "open: anybody who reaches it may send",
    "known": "known devices only",
    "authenticated": "devices with a token or password only: gateway devices add",
}


def _face(name: str, where: str, standing: Standing | None) -> Iterator[tuple[str, str]]:
    """Yield a line for where it listens, and one each for what guards it."""
    if not where:
        yield name, "not listening; trying again (see the log)"
        return
    if standing is None:
        yield name, where
        return
    yield name, f"{where}  ({_ACCESS[standing.access]})"
    if standing.addresses:
        scheme, _, rest = where.partition("://")
        port = rest.rpartition(":")[2]
        yield "", f"devices call {', '.join(f'{scheme}://{address}:{port}' for address in standing.addresses)}"
    if standing.tls:
        yield "", f"certificate: {standing.tls}"
        if standing.plain_networks:
            yield "", f"without TLS: {', '.join(standing.plain_networks)}"
    elif not standing.is_loopback:
        yield "", "no TLS: whoever shares the network can read what is sent, secrets too"
    if standing.interface or not standing.is_loopback:
        networks = ", ".join(standing.networks) or "any that reaches it"
        yield "", f"networks: {networks}{f'; by {standing.interface} only' if standing.interface else ''}"


def _waiting(count: int) -> str:
    return f"; {count} event{'' if count == 1 else 's'} waiting"
