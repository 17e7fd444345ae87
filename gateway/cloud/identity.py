"""Who the gateway is to the hub, chosen in one place. Pure.

Each way to be somebody is one value here and one case in the SDK process. With the Device Provisioning Service the
hub is not known beforehand: :mod:`gateway.cloud.provisioning` makes one of these of its answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gateway.cloud.connection_string import ConnectionString, parse_connection_string
from gateway.settings import CloudEdgeSettings, CloudSettings


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


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeModule:
    """A module of Azure IoT Edge. It holds no key: the runtime's workload socket signs for it, once a session.

    ``environment`` is what azure-iot-device reads in ``create_from_edge_environment``; with the fallback for
    development it holds a key.
    """

    hostname: str
    device_id: str
    module_id: str
    gateway_hostname: str
    environment: Mapping[str, str] = field(repr=False)


Identity = SymmetricKey | X509 | EdgeModule


def identity_of(settings: CloudSettings) -> Identity:
    """Return the identity that the settings give; not for provisioning. Raises ValueError with the cure."""
    match settings.identity_source:
        case "connection_string":
            return SymmetricKey(connection=parse_connection_string(settings.connection_string))
        case "x509" if settings.certificate_file and settings.key_file:
            return X509(
                hostname=settings.hostname,
                device_id=settings.device_id,
                certificate_file=settings.certificate_file,
                key_file=settings.key_file,
            )
        case "edge":
            return edge_module(settings.edge)
    raise ValueError(
        "set cloud.connection_string, or cloud.hostname, cloud.device_id, cloud.certificate_file and cloud.key_file, "
        "or [cloud.provisioning]"
    )


def in_words(settings: CloudSettings) -> str:
    """Return one line on who the gateway is to the hub, for operators; without a secret."""
    if settings.identity_source == "none":
        return "none: events are kept here"
    if settings.identity_source == "provisioning":
        asked = settings.provisioning
        return f"{asked.registration_id}, by the provisioning service {asked.host} (scope {asked.id_scope})"
    match identity_of(settings):
        case EdgeModule() as module:
            return (
                f"module {module.module_id} of the IoT Edge device {module.device_id}, through edgeHub at "
                f"{module.gateway_hostname}, to {module.hostname}"
            )
        case X509() as device:
            return f"device {device.device_id} of {device.hostname}, by certificate"
        case SymmetricKey() as device:
            return f"device {device.device_id} of {device.hostname}, by key"


def edge_module(edge: CloudEdgeSettings) -> EdgeModule:
    """Return the module that the runtime says we are. Raises ValueError."""
    if not edge.uses_workload_api:
        connection = parse_connection_string(edge.connection_string)
        fallback = {"EdgeHubConnectionString": connection.text, "EdgeModuleCACertificateFile": str(edge.ca_file)}
        return EdgeModule(
            hostname=connection.hostname,
            device_id=connection.device_id,
            module_id=connection.module_id,
            gateway_hostname=connection.gateway_hostname,
            environment=fallback,
        )
    return EdgeModule(
        hostname=edge.hub_hostname,
        device_id=edge.device_id,
        module_id=edge.module_id,
        gateway_hostname=edge.gateway_hostname,
        environment={
            "IOTEDGE_IOTHUBHOSTNAME": edge.hub_hostname,
            "IOTEDGE_GATEWAYHOSTNAME": edge.gateway_hostname,
            "IOTEDGE_DEVICEID": edge.device_id,
            "IOTEDGE_MODULEID": edge.module_id,
            "IOTEDGE_MODULEGENERATIONID": edge.generation_id,
            "IOTEDGE_WORKLOADURI": edge.workload_uri,
            "IOTEDGE_APIVERSION": edge.api_version,
            "IOTEDGE_AUTHSCHEME": edge.auth_scheme,
        },
    )
