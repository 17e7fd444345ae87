"""A device with IoT Edge, as a module sees it: the environment, the workload socket, and edgeHub.

edgeHub is the hub stand-in under another name: it listens as ``gateway_hostname`` with a certificate of the trust
bundle, and knows IoT Hub's topics and tokens (those name the hub, not edgeHub). azure-iot-device goes to port 8883
of it and nowhere else, so ``gateway_hostname`` is an address of loopback that nobody else uses.
What edgeHub does behind its acknowledgement (store, routes, time to live) is not here.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from gateway.simulators.iot_hub.hub import HubOptions, IotHub
from gateway.simulators.iot_hub.workload_api import API_VERSIONS, WorkloadApi

EDGE_HUB_PORT = 8883


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeOptions:
    """``directory`` keeps the authority and the keys, so that edgeHub can be restarted."""

    directory: Path
    hub_hostname: str = "iot-hub.localhost"
    gateway_hostname: str = "127.0.0.1"
    device_id: str = "edge-1"
    module_id: str = "gateway"


class EdgeDevice:
    """An async context manager: entered, the runtime is up; :meth:`stop_hub` and :meth:`start_hub` restart edgeHub."""

    def __init__(self, options: EdgeOptions) -> None:
        self._options = options
        self.generation_id = secrets.token_hex(8)
        self.hub = self._new_hub()
        self.workload = WorkloadApi(
            options.directory / "workload.sock",
            keys={(options.module_id, self.generation_id): self.hub.devices[self.client_id].primary_key},
            trust_bundle=options.directory / "ca.pem",
        )

    @property
    def client_id(self) -> str:
        """Return the module's name at the hub."""
        return f"{self._options.device_id}/{self._options.module_id}"

    def environment(self) -> Mapping[str, str]:
        """Return what edgeAgent sets for the module."""
        options = self._options
        return {
            "IOTEDGE_WORKLOADURI": self.workload.uri,
            "IOTEDGE_GATEWAYHOSTNAME": options.gateway_hostname,
            "IOTEDGE_IOTHUBHOSTNAME": options.hub_hostname,
            "IOTEDGE_DEVICEID": options.device_id,
            "IOTEDGE_MODULEID": options.module_id,
            "IOTEDGE_MODULEGENERATIONID": self.generation_id,
            "IOTEDGE_APIVERSION": API_VERSIONS[0],
            "IOTEDGE_AUTHSCHEME": "sasToken",
        }

    def fallback_environment(self) -> Mapping[str, str]:
        """Return what development tools set instead."""
        return {
            "EdgeHubConnectionString": self.hub.connection_string(self.client_id)
            + f";GatewayHostName={self._options.gateway_hostname}",
            "EdgeModuleCACertificateFile": str(self._options.directory / "ca.pem"),
        }

    async def __aenter__(self) -> Self:
        await self.hub.__aenter__()
        await self.workload.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.workload.__aexit__(kind, error, traceback)
        await self.stop_hub()

    async def stop_hub(self) -> None:
        """Return when edgeHub has gone; what it received stays in ``hub.record``."""
        await self.hub.__aexit__(None, None, None)

    async def start_hub(self) -> None:
        """Return when a new edgeHub listens: new certificate of the same authority, same keys, empty record."""
        self.hub = self._new_hub()
        await self.hub.__aenter__()

    def _new_hub(self) -> IotHub:
        options = self._options
        return IotHub(
            HubOptions(
                directory=options.directory,
                device_ids=(self.client_id,),
                hostname=options.hub_hostname,
                certificate_name=options.gateway_hostname,
                listen_host=options.gateway_hostname,
                port=EDGE_HUB_PORT,
            )
        )
