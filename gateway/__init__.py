"""The gateway: intake, vision, outbox, forwarder and cloud link. Devices are faced by the ``adapters`` package."""

__version__ = "0.1.0"
# Changed with the version. A machine whose date is before it has a wrong date (gateway/timekeeping/trust.py).
__released__ = "2026-11-01"
