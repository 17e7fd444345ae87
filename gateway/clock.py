"""The machine's clock behind the Clock port."""

import time
from datetime import UTC, datetime


class SystemClock:
    """Wall clock and monotonic clock of this machine."""

    def now(self) -> datetime:
        """Return the wall clock, UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds since some fixed moment; never goes back."""
        return time.monotonic()
