"""Who the gateway is to the hub, chosen in one place. Pure.

The seam for device provisioning (DPS) and for running as an IoT Edge module: each becomes one more value here and one
more case in the SDK process.
"""

from dataclasses import dataclass
from pathlib import Path

from gateway.cloud.connection_string import ConnectionString, parse_connection_string
from gateway.settings import CloudSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class SymmetricKey:
    """A connection string."""

    connection: ConnectionString

    @property
    def hostname(self) -> str:
        return self.connection.hostname

    @property
    def device_id(self) -> str:
        return self.connection.device_id


@dataclass(frozen=True, slots=True, kw_only=True)
class X509:
    """A client certificate; the files are read by the SDK process at each session, so that they can be renewed."""

    hostname: str
    device_id: str
    certificate_file: Path
    key_file: Path


Identity = SymmetricKey | X509


def identity_of(settings: CloudSettings) -> Identity:
    """Return the identity that the settings give. Raises ValueError with the cure."""
    if settings.connection_string:
        return SymmetricKey(connection=parse_connection_string(settings.connection_string))
    if settings.hostname and settings.device_id and settings.certificate_file and settings.key_file:
        return X509(
            hostname=settings.hostname,
            device_id=settings.device_id,
            certificate_file=settings.certificate_file,
            key_file=settings.key_file,
        )
    raise ValueError(
        "set cloud.connection_string, or cloud.hostname, cloud.device_id, cloud.certificate_file and cloud.key_file"
    )
