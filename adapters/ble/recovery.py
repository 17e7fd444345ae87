"""What to do about a radio that scans in vain: the ladder. Pure: time is passed in.

A new scanner; then the adapter's power off and on over D-Bus; then bluetooth-auto-recovery, where its privileges
exist (it resets the controller through management sockets, or the USB port); then say so and start over. The rung
with management sockets needs a kernel with a controller: only `make test-bluez` runs it.
"""

from enum import StrEnum

# A power cycle ends every link and every other program's, too: at most one in this time.
POWER_CYCLE_SPACING_S = 600.0


class Rung(StrEnum):
    """The steps, mildest first; the label of gateway_ble_recovery_total."""

    NEW_SCANNER = "new_scanner"
    POWER_CYCLE = "power_cycle"
    AUTO_RECOVERY = "auto_recovery"
    UNHEALTHY = "unhealthy"


_ORDER = (Rung.NEW_SCANNER, Rung.NEW_SCANNER, Rung.POWER_CYCLE, Rung.AUTO_RECOVERY, Rung.UNHEALTHY)


class Ladder:
    """Which rung is next. Hearing an advertisement brings it down to the ground."""

    def __init__(self) -> None:
        self._step = 0
        self._power_cycle_from_s = float("-inf")

    def heard(self) -> None:
        """Take note that the radio works."""
        self._step = 0

    def climb(self, now_s: float, *, gently: bool) -> Rung:
        """Return what to do now. ``gently``: silence may be just silence (a link works, or nobody was ever heard)."""
        if gently:
            return Rung.NEW_SCANNER
        rung = _ORDER[self._step]
        self._step = (self._step + 1) % len(_ORDER)
        if rung is Rung.POWER_CYCLE:
            if now_s < self._power_cycle_from_s:
                return Rung.NEW_SCANNER
            self._power_cycle_from_s = now_s + POWER_CYCLE_SPACING_S
        return rung
