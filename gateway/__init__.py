"""The gateway: intake, vision, outbox, forwarder and cloud link. Devices are faced by the ``adapters`` package."""

__version__ = "0.1.0"
