"""The ways in: simulated devices of one kind, which go on whatever happens to the gateway.

A device sends a submission again until it is acknowledged, as a real one does, and only then thinks of the next.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.fakes.gateway_process import GatewayProcess
from tests.faults.ledger import Ledger
from tests.faults.payloads import Payloads

# The gateway's log, in the folder of a run, over all its lives.
LOG_NAME = "gateway.log"
# How soon a device tries again: a firmware would wait longer, and a cycle would cost more.
RETRY_S = 0.05
# The gateway may ask for a minute's patience (a full disk); these devices have less.
RETRY_AFTER_MAX_S = 0.5


class Way(Protocol):
    """Devices of one kind, and what stands between them and the gateway. Entered, it is ready; left, it is gone."""

    def environment(self) -> Mapping[str, str]:
        """Return the settings that open this way in at the gateway."""

    def attach(self, gateway: GatewayProcess) -> None:
        """Take note of a gateway that has just started: it may listen elsewhere now."""

    def detach(self) -> None:
        """Take note that no gateway runs any more: it was killed or stopped."""

    def resume(self) -> None:
        """Let the devices send until :meth:`pause`."""

    def pause(self) -> None:
        """Let the devices begin nothing new; what is unanswered is still sent again."""

    def settled(self) -> bool:
        """Return whether everything that was begun is acknowledged."""

    def close(self) -> None:
        """End the devices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What a way is built in."""

    folder: Path
    ledger: Ledger
    payloads: Payloads


WayFactory = Callable[[Place], Way]
