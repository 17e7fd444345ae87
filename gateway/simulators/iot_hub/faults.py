"""The switches that make the stand-in misbehave. Pure.

A change counts from the next packet (``silent_tls``: the next connection) on.
"""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """All off by default. Counts are per connection."""

    silent_tls: bool = False  # accept TCP, never answer the TLS hello
    reject_connect: int = 0  # CONNACK with this code: 5 not authorised, 3 unavailable (throttled)
    clock_ahead_s: float = 0.0  # judge tokens at so much later a time: they have expired
    hang_connack: bool = False
    hang_suback: bool = False
    no_puback: bool = False
    puback_delay_s: float = 0.0
    drop_before_puback: bool = False  # record, then close: the sender can't know that it arrived
    drop_after: int = 0  # close after so many acknowledged messages; 0: never
    reset_after: int = 0  # TCP RST at the n-th message, unread bytes and all; 0: never
    half_open: bool = (
        False  # read and write nothing more, keep the socket (for ever: clearing frees new connections only)
    )
    poison_text: str = ""  # close on a message with this text in its body, do not record it
    poison_bytes_over: int = 0  # the same for bodies above this size; 0: never


def to_json(faults: Faults) -> dict[str, Any]:
    """Return a JSON object with every switch."""
    return asdict(faults)


def from_json(value: object) -> Faults:
    """Return the faults that a JSON object names, all others off. Raises ValueError with what is wrong."""
    if not isinstance(value, dict):
        raise ValueError("faults are a JSON object")  # noqa: TRY004 - a caller's input, not a caller's bug
    off = asdict(Faults())
    if unknown := sorted(set(value) - set(off)):
        raise ValueError(f"unknown faults {unknown}; known: {sorted(off)}")
    for name, given in value.items():
        wanted = type(off[name])
        if type(given) is not wanted and not (wanted is float and type(given) is int):
            raise ValueError(f"{name} takes a {wanted.__name__}")
    return Faults(**value)
