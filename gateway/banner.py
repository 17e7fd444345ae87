"""What ``gateway run`` prints when it serves: where, what, and how to try it. Pure text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class BannerFacts:
    """What a newcomer wants to know at the start."""

    version: str
    gateway_id: str
    faces: Sequence[tuple[str, str]]  # name, where it listens ("" when it does not)
    access: Mapping[str, str]  # face → who may send: open, known, authenticated
    device_url: str
    model: str
    data_file: str
    waiting: int
    uplink: str
    example_picture: str
    lan: bool


LAN_WARNING = (
    "WARNING: devices of private networks (192.168.x.x, 10.x.x.x, ...) may send without a password,\n"
    "           because it was started with LAN=1. Use it on a network that you trust.\n"
)


def render(facts: BannerFacts) -> str:
    """Return the banner as text, one fact a line."""
    rows = [(name, _stands(where, facts.access.get(name))) for name, where in facts.faces]
    rows += [("model", facts.model), ("data", facts.data_file), ("uplink", f"{facts.uplink}{_waiting(facts.waiting)}")]
    lines = [f"gateway-bridge {facts.version}, gateway id {facts.gateway_id}", ""]
    width = max(len(name) for name, _ in rows) + 3
    lines += [f"  {name:<{width}}{text}" for name, text in rows]
    if facts.lan:
        lines += ["", f"  {LAN_WARNING.rstrip()}"]
    lines += [
        "",
        "  Try it from another terminal:",
        f"    curl --data-binary @{facts.example_picture} {facts.device_url}/image",
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


def _stands(where: str, access: str | None) -> str:
    if not where:
        return "not listening; trying again (see the log)"
    return where if access is None else f"{where}  ({_ACCESS[access]})"


def _waiting(count: int) -> str:
    return f"; {count} event{'' if count == 1 else 's'} waiting"
