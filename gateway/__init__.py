"""The gateway: intake, vision, outbox, forwarder and cloud link. Devices are faced by the ``adapters`` package."""

from datetime import UTC, datetime

__version__ = "0.1.0"
# Changed with the version: a machine whose date is earlier has a wrong date (gateway/timekeeping/trust.py).
RELEASED_AT = datetime(2026, 11, 1, tzinfo=UTC)
