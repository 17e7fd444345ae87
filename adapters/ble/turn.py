"""When a camera's turn on the radio is over. Pure: time is passed in."""

from collections.abc import Callable
from enum import StrEnum

# A camera that sends damage only: leave it alone for its back-off, then connect anew.
FAULTS_MAX = 5
# Once it has said what it had to say, this much for what comes right after (a status, the next picture's head).
AFTERWARDS_S = 0.5


class TurnEnd(StrEnum):
    """Why a session ended; the label of gateway_ble_sessions_total."""

    LOST = "lost"
    GAVE_WAY = "gave_way"
    ONLY_DAMAGE = "only_damage"
    DONE = "done"


class Turn:
    """One turn, of at most ``turn_max_s`` while others wait."""

    def __init__(self, *, began_s: float, turn_max_s: float, others_wait: Callable[[], bool]) -> None:
        self._began_s = began_s
        self._turn_max_s = turn_max_s
        self._others_wait = others_wait
        self._settled_since_s: float | None = None

    def ended(self, now_s: float, *, settled: bool, faults_in_a_row: int) -> TurnEnd | None:
        """Return why it is over, or None. ``settled``: something ended and nothing has begun since."""
        if not settled:
            self._settled_since_s = None
        elif self._settled_since_s is None:
            self._settled_since_s = now_s
        if faults_in_a_row >= FAULTS_MAX:
            return TurnEnd.ONLY_DAMAGE
        quiet = self._settled_since_s is not None and now_s - self._settled_since_s >= AFTERWARDS_S
        spent = now_s - self._began_s >= self._turn_max_s
        return TurnEnd.GAVE_WAY if (quiet or spent) and self._others_wait() else None
