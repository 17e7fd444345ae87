"""Whether the gateway can accept and commit, and the detail behind it.

Ready means: the intake is open and the store took the last commit. The cloud
never counts: months offline are normal. Nor does one adapter: a busy MQTT
port, a broker that is down or a missing radio must not take the others' devices
away; the health detail and the log name it. Alive is that the event loop answers.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum


class PartState(StrEnum):
    """How a supervised part stands."""

    STARTING = "starting"
    SERVING = "serving"
    FAILED = "failed"


@dataclass(slots=True)
class PartHealth:
    """One adapter's standing, kept by the composition root."""

    name: str
    state: PartState = PartState.STARTING
    reason: str = ""


@dataclass(slots=True, kw_only=True)
class Health:
    """Composes readiness from its parts."""

    intake_obstacles: Callable[[], tuple[str, ...]]
    started_s: float  # by the monotonic clock
    parts: dict[str, PartHealth] = field(default_factory=dict)

    def part(self, name: str) -> PartHealth:
        """Return the standing of a part, made on first use."""
        return self.parts.setdefault(name, PartHealth(name))

    def obstacles(self) -> tuple[str, ...]:
        """Return why not ready, as slugs; empty means ready."""
        return self.intake_obstacles()

    def troubles(self) -> tuple[str, ...]:
        """Return the adapters that do not serve, as slugs."""
        return tuple(f"{p.name}_{p.state}" for p in self.parts.values() if p.state is not PartState.SERVING)
