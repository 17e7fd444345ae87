"""How cameras stand, as it is told: to the device board, which makes events of silence and its end, and as metrics.

``online``: it gave a picture the last time. ``lost``: ``FAILURES_UNTIL_LOST`` times in a row it gave none. ``silent``:
no new picture for its time; one that shows the same picture for ever is silent too.
"""

from collections import Counter
from typing import Literal

import structlog

from adapters.camera_pull.faults import Reason
from gateway.messages import DeviceStatus, Transport
from gateway.ports import Clock, Meter, StatusSink

log = structlog.get_logger(__name__)

State = Literal["online", "lost", "silent"]

# One picture that fails is weather.
FAILURES_UNTIL_LOST = 3


class HealthBoard:
    """Counts the cameras by state; one for all."""

    def __init__(self, *, status: StatusSink, meter: Meter) -> None:
        self._status = status
        self._meter = meter
        self._states: Counter[str] = Counter(online=0, lost=0, silent=0, new=0)

    def enter(self) -> None:
        """Count one more camera, of which nothing is known."""
        self._states["new"] += 1
        self._level()

    def moved(self, before: str, status: DeviceStatus) -> None:
        """Take note of a change of state."""
        self._states[before] -= 1
        self._states[status.state] += 1
        self._level()
        self._status.note(status)

    def _level(self) -> None:
        for state, count in self._states.items():
            self._meter.level("gateway_camera_pull_cameras", count, state=state)


class CameraHealth:
    """One camera's."""

    def __init__(self, *, device_id: str, where: str, silent_after_s: float, board: HealthBoard, clock: Clock) -> None:
        self._device_id = device_id
        self._where = where
        self._silent_after_s = silent_after_s
        self._board = board
        self._clock = clock
        self._state: State | Literal["new"] = "new"
        self._news_s = clock.monotonic()
        self._failing_with: Reason | None = None
        board.enter()

    def answered(self, *, is_news: bool) -> None:
        """Take note of a whole picture. ``is_news``: it is not the last one again."""
        if self._failing_with is not None:
            log.info("camera_answers_again", device_id=self._device_id, after=self._failing_with)
            self._failing_with = None
        if is_news:
            self._news_s = self._clock.monotonic()
            self._move("online", self._where)
        elif self._is_silent:
            self._move("silent", f"it shows the same picture for {self._silent_after_s:g} s")
        elif self._state != "silent":
            self._move("online", self._where)

    def failed(self, reason: Reason, detail: str, *, attempts: int) -> None:
        """Take note of a picture that did not come, the ``attempts``-th in a row."""
        if reason is not self._failing_with:
            self._failing_with = reason
            log.warning("camera_failed", device_id=self._device_id, at=self._where, reason=reason, detail=detail)
        if self._is_silent:
            self._move("silent", f"{reason}: {detail}")
        elif attempts >= FAILURES_UNTIL_LOST and self._state != "silent":
            self._move("lost", f"{reason}: {detail}")

    @property
    def _is_silent(self) -> bool:
        return self._clock.monotonic() - self._news_s >= self._silent_after_s

    def _move(self, state: State, detail: str) -> None:
        if state == self._state:
            return
        before, self._state = self._state, state
        status = DeviceStatus(device_id=self._device_id, transport=Transport.CAMERA_PULL, state=state, detail=detail)
        self._board.moved(before, status)
