"""The workload API of IoT Edge's security daemon on a Unix socket: it signs for modules and says whom to trust.

Source: Azure/iotedge, edgelet/api/workload.yaml, and what azure-iot-device 2.14 asks (iothub/edge_hsm.py). Two of its
places are here: ``GET /trust-bundle`` and ``POST /modules/{name}/genid/{genid}/sign``. A module never sees its key:
it hands over what is to be signed. As the daemon does, this one refuses other modules, other lives of a module
(generation ids) and other algorithms, and lets every user of the machine connect: the socket is mounted into one
module's container only.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
import socket
import struct
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import unquote

from gateway.simulators.iot_hub.http_message import Request, Response, encode, json_response, read_request

API_VERSIONS = ("2018-06-28", "2019-01-30", "2019-11-05", "2020-07-07", "2020-10-10", "2021-12-07", "2022-08-03")
_TIMEOUT_S = 30.0


class WorkloadApi:
    """Entered, it serves; left, the socket is gone. ``keys``: base64 keys by (module id, generation id)."""

    def __init__(self, socket_file: Path, *, keys: Mapping[tuple[str, str], str], trust_bundle: Path) -> None:
        self._socket_file = socket_file
        self._keys = keys
        self._trust_bundle = trust_bundle
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.signed = 0
        self.refusals: list[str] = []
        self.user_ids: set[int] = set()  # of the processes that asked
        self.is_silent = False

    @property
    def uri(self) -> str:
        """Return what IOTEDGE_WORKLOADURI says."""
        return f"unix://{self._socket_file}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_unix_server(self._serve, self._socket_file)
        self._socket_file.chmod(0o666)  # as aziot-edged does, for modules that run as somebody
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # a transport lets go of its socket in the loop's next turn
        self._socket_file.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            self.user_ids.add(_peer_user_id(writer))
            async with asyncio.timeout(_TIMEOUT_S):
                request = await read_request(reader)
                while self.is_silent:  # noqa: ASYNC110 - switched from other threads
                    await asyncio.sleep(0.05)
            writer.write(encode(self._answer(request)))
            await writer.drain()
        except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # closing is answer enough
        except asyncio.CancelledError:
            pass  # raised on, the stream server of Python 3.11 would log it as an unhandled error
        finally:
            self._tasks.discard(task)
            writer.close()

    def _answer(self, request: Request) -> Response:
        response = self._route(request)
        if response.status != 200:
            self.refusals.append(json.loads(response.body)["message"])
        return response

    def _route(self, request: Request) -> Response:
        if request.query.get("api-version") not in API_VERSIONS:
            return _refusal(400, f"no api-version {request.query.get('api-version')!r}")
        match (request.method, *request.path.strip("/").split("/")):
            case ("GET", "trust-bundle"):
                return json_response({"certificate": self._trust_bundle.read_text()})
            case ("POST", "modules", name, "genid", generation_id, "sign"):
                return self._sign(unquote(name), unquote(generation_id), request.body)
        return _refusal(404, f"no place {request.method} {request.path}")

    def _sign(self, module_id: str, generation_id: str, body: bytes) -> Response:
        key = self._keys.get((module_id, generation_id))
        if key is None:
            return _refusal(404, f"no module {module_id!r} with generation id {generation_id!r}")
        try:
            asked = json.loads(body)
            data = base64.b64decode(asked["data"], validate=True)
        except (ValueError, KeyError, TypeError, binascii.Error):
            return _refusal(400, "a sign request is JSON with keyId, algo and data in base64")
        if asked.get("algo") != "HMACSHA256" or not asked.get("keyId"):
            return _refusal(400, "the algorithm is HMACSHA256, with a keyId")
        self.signed += 1
        digest = hmac.digest(base64.b64decode(key), data, hashlib.sha256)
        return json_response({"digest": base64.b64encode(digest).decode()})


def _refusal(status: int, message: str) -> Response:
    return json_response({"message": message}, status=status)


def _peer_user_id(writer: asyncio.StreamWriter) -> int:
    """Return the user of the process at the other end (unix(7), SO_PEERCRED: pid, uid, gid)."""
    connection: socket.socket = writer.get_extra_info("socket")
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    user_id: int = struct.unpack("3i", credentials)[1]
    return user_id
