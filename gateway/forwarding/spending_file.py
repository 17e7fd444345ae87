"""Remembers what was spent on a metered link, across restarts and kill -9: ``uplink-spending.json``.

Bytes are set aside in the file before they are spent, a chunk at a time: a write for every message would wear the card,
and after a crash the rest of a chunk counts as spent. A file that can't be read or written costs precision, not
service: it is logged, and the count goes on in memory.
"""

import json
import os
from datetime import date
from pathlib import Path

import structlog

from gateway.forwarding.daily_budget import Spending

log = structlog.get_logger(__name__)

FILE_NAME = "uplink-spending.json"


class SpendingFile:
    """Owns the file. Blocks on the disk."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / FILE_NAME

    def load(self) -> Spending | None:
        """Return what was set aside when it was last written, or None."""
        try:
            found = json.loads(self._path.read_bytes())
            day = None if found["day"] is None else date.fromisoformat(found["day"])
            return Spending(began_age_s=float(found["began_age_s"]), day=day, byte_count=int(found["byte_count"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("uplink_spending_unreadable", file=str(self._path), error=str(error))
            return None

    def keep(self, spending: Spending) -> None:
        """Return when ``spending`` is on disk, or the failure is logged."""
        document = {
            "day": None if spending.day is None else spending.day.isoformat(),
            "began_age_s": round(spending.began_age_s, 1),
            "byte_count": spending.byte_count,
        }
        fresh = self._path.with_suffix(".new")
        try:
            with fresh.open("wb") as file:
                file.write(json.dumps(document).encode())
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path)
        except OSError as error:
            log.warning("uplink_spending_not_kept", file=str(self._path), error=str(error))
