"""Which devices are there, as the faces that hold connections tell it; and, if wanted, that they come and go.

In memory: after a restart it fills as devices come back. Limits: ``DEVICES_MAX`` devices, the ones changed longest
ago go first; ``CHANGES_MAX`` changes wait for the intake, and of a device only its latest.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from gateway.errors import Rejected, Unavailable
from gateway.messages import DeviceStatus, Reading, Readings, Submission
from gateway.ports import Clock, Intake, Meter

log = structlog.get_logger(__name__)

# Ten times mqtt.connections_max; about 300 bytes each.
DEVICES_MAX = 5_000
CHANGES_MAX = 1_000
# An outbox that is full stays so for longer than this; newer changes of the same device replace older ones meanwhile.
RETRY_S = 5.0
DETAIL_CHARS_MAX = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownDevice:
    """A device and how it stands."""

    status: DeviceStatus
    since: datetime

    def document(self) -> Mapping[str, str]:
        """Return it as a JSON object for people and machines."""
        status = self.status
        return {
            "device_id": status.device_id,
            "transport": status.transport,
            "state": status.state,
            "since": self.since.isoformat(),
            "detail": status.detail,
        }


class DeviceBoard:
    """Implements ports.StatusSink. ``run`` sends the changes upstream: all when ``events`` is on, else silence only."""

    def __init__(self, *, intake: Intake, events: bool, clock: Clock, meter: Meter) -> None:
        self._intake = intake
        self._events = events
        self._clock = clock
        self._meter = meter
        self._known: dict[tuple[str, str], KnownDevice] = {}
        self._changes: dict[tuple[str, str], KnownDevice] = {}
        self._wake = asyncio.Event()

    def note(self, status: DeviceStatus) -> None:
        """Take note of a device that came or went. A repetition of what is known changes nothing."""
        key = (status.transport, status.device_id)
        before = self._known.pop(key, None)
        known = KnownDevice(status=status, since=self._clock.now())
        unchanged = before is not None and before.status == status
        self._known[key] = before if before is not None and unchanged else known
        while len(self._known) > DEVICES_MAX:
            del self._known[next(iter(self._known))]
        if unchanged:
            return
        self._meter.count("gateway_device_changes_total", transport=status.transport, state=status.state)
        # Silence is rare and somebody must go and look: it is told whatever the setting says, and so is its end.
        silence = status.state == "silent" or (before is not None and before.status.state == "silent")
        if self._events or silence:
            self._changes.pop(key, None)
            self._changes[key] = known
            while len(self._changes) > CHANGES_MAX:
                del self._changes[next(iter(self._changes))]
            self._wake.set()

    def devices(self) -> Sequence[KnownDevice]:
        """Return the devices, the one that changed last first."""
        return tuple(reversed(self._known.values()))

    async def run(self) -> None:
        """Submit changes, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._changes:
                key = next(iter(self._changes))
                if await self._submitted(self._changes[key]):
                    self._changes.pop(key, None)
                else:
                    await asyncio.sleep(RETRY_S)

    async def _submitted(self, change: KnownDevice) -> bool:
        status = change.status
        values = {"status": status.state, **({"detail": status.detail[:DETAIL_CHARS_MAX]} if status.detail else {})}
        values_json = json.dumps(values, ensure_ascii=True, separators=(",", ":"))
        payload = Readings(data=values_json.encode(), items=(Reading(values_json=values_json),), is_array=False)
        try:
            await self._intake.submit(
                Submission(
                    device_id=status.device_id,
                    transport=status.transport,
                    payload=payload,
                    captured_at=change.since,
                    is_notice=True,
                )
            )
        except Unavailable:
            return False
        except Rejected as error:
            log.warning("device_status_refused", device_id=status.device_id, reason=error.reason, detail=error.detail)
        return True
