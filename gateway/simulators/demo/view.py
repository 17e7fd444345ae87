"""What a screen shows of the demo's site, at one moment."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.simulators.demo.verdict import Ledger


@dataclass(slots=True, kw_only=True)
class View:
    """``story``: what happened, a line each. ``left_out``: what this machine does not have."""

    elapsed_s: float = 0.0
    duration_s: float = 0.0
    phase: str = "starting hub, broker, radio"
    is_running: bool = False
    uplink_up: bool = True
    gateway_up: bool = False
    kills: int = 0
    restarts: int = 0
    ledger: Ledger | None = None
    arrived: int = 0
    doubles: int = 0
    at_hub: Mapping[str, int] = field(default_factory=dict)
    last_result: Mapping[str, str] = field(default_factory=dict)
    depths: list[int] = field(default_factory=list)
    story: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
