"""The SDK process: the only importer of azure, run as ``python -m gateway.cloud.azure_iot_hub``.

Standard input is one end of a socket pair; the gateway holds the other end and speaks child_protocol. Invariants:

- Nothing is kept here: no queue, no retry. What was not acknowledged is the outbox's to send again.
- A client object lives for one session. Reused after a drop, azure-iot-device 2.14.0 reports success for messages
  that were never sent (stale packet ids), and what it had in flight is sent again behind our back.
- The end of the gateway is the end of this process, at once, whatever the SDK does: a thread waits for it. Two
  processes with one identity would drop each other for ever.
- Anything unexpected ends the process with a traceback; the gateway starts another.

Secrets come in the Open frame; command line and environment hold none.
"""

import asyncio
import gc
import logging
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar, cast

from azure.iot.device import X509, Message, ProxyOptions, exceptions
from azure.iot.device.aio import IoTHubDeviceClient, IoTHubModuleClient, ProvisioningDeviceClient

from gateway.cloud.child_protocol import (
    Acknowledged,
    Close,
    Closed,
    CommandArrived,
    FromChild,
    Hello,
    Lost,
    NotSent,
    Open,
    Opened,
    OpenFailed,
    Ping,
    Pong,
    Provision,
    Provisioned,
    ProvisioningFailed,
    Send,
    ToChild,
    from_frame,
    to_frame,
)
from gateway.cloud.diagnosis import causes, diagnose
from gateway.cloud.framing import FrameDecoder, encode
from gateway.cloud.sockets import send_at_once
from gateway.confidential import keep_memory_private
from gateway.redaction import redact

_T = TypeVar("_T")

# Shorter than the gateway's patience for Closed (5 s), so that the answer says "not clean" before it is not waited for.
_SHUTDOWN_TIMEOUT_S = 4.0
# The SDK's connection event comes through two more threads and an executor per client; asking is cheaper and enough:
# with messages in flight a drop is seen at once by their failure.
_LOST_POLL_S = 0.5
_RECEIVE_BYTES = 256 * 1024
# What a module's messages leave by: routes name it, "FROM /messages/modules/<module>/outputs/events INTO $upstream".
MODULE_OUTPUT = "events"

# OperationCancelled and OperationTimeout are not ClientErrors. OSError: files and TLS set-up, seen unwrapped.
_SDK_ERRORS = (exceptions.ClientError, exceptions.OperationCancelled, exceptions.OperationTimeout, OSError, ValueError)


class Outlet:
    """The way back to the gateway; called by the loop and by the SDK's handler thread."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def put(self, message: FromChild) -> None:
        """Return when the message is in the socket's buffer. The gateway always reads, or is gone."""
        data = encode(to_frame(message))
        with self._lock:
            self._connection.sendall(data)


class HubSession:
    """One client object from connect to shutdown."""

    def __init__(self, order: Open, outlet: Outlet) -> None:
        self._order = order
        self._outlet = outlet
        self._client: IoTHubDeviceClient | IoTHubModuleClient | None = None
        self._is_lost = False

    async def open(self) -> bool:
        """Connect, take cloud-to-device messages, and say how it went. Return whether there is a session."""
        try:
            # In a thread of its own: for a module it asks the runtime's socket, which may be slow to answer.
            client: IoTHubDeviceClient | IoTHubModuleClient = await _in_own_thread(_new_client, self._order)
            self._client = client
            await client.connect()
            send_at_once()
            # The setter blocks its thread until the SUBACK.
            if self._order.takes_commands:
                await _in_own_thread(setattr, client, "on_message_received", self._pass_on)
        except _SDK_ERRORS as error:
            found = diagnose(error, now=datetime.now(UTC))
            clean = await self._dispose()
            self._outlet.put(
                OpenFailed(session=self._order.session, reason=found.reason, detail=redact(found.detail), clean=clean)
            )
            return False
        self._outlet.put(Opened(session=self._order.session))
        return True

    async def watch(self) -> None:
        """Return when the session has ended by itself, or is too old, and the gateway has been told."""
        ends_at = asyncio.get_running_loop().time() + self._order.session_age_max_s
        while self._client is not None and self._client.connected:
            if asyncio.get_running_loop().time() >= ends_at:
                self._lose("session_renewal", "the session is old enough: a new token needs a new session")
                return
            await asyncio.sleep(_LOST_POLL_S)
        self._lose("dropped", "the connection was closed by the hub or the network")

    async def send(self, order: Send) -> None:
        """Send one message and tell the gateway how it went."""
        assert self._client is not None
        message = Message(
            order.body,
            message_id=order.message_id,
            content_type=order.content_type,
            content_encoding=order.content_encoding,
        )
        message.custom_properties.update(order.properties)
        try:
            if self._order.module_environment:
                await self._client.send_message_to_output(message, MODULE_OUTPUT)
            else:
                await self._client.send_message(message)
        except _SDK_ERRORS as error:
            self._not_sent(order, error)
        else:
            self._outlet.put(Acknowledged(session=order.session, number=order.number))

    async def close(self) -> None:
        """Disconnect, and tell the gateway whether nothing of the client is left."""
        self._is_lost = True  # asked for: no news
        self._outlet.put(Closed(session=self._order.session, clean=await self._dispose()))

    def _not_sent(self, order: Send, error: Exception) -> None:
        # ValueError is the SDK's no to the message itself, or its MQTT library's: size, topic.
        refused = any(isinstance(cause, ValueError) for cause in causes(error))
        found = diagnose(error, now=datetime.now(UTC))
        self._outlet.put(
            NotSent(
                session=order.session,
                number=order.number,
                reason="invalid_message" if refused else found.reason,
                detail=redact(found.detail),
                refused=refused,
            )
        )

    def _lose(self, reason: str, detail: str) -> None:
        if not self._is_lost:
            self._is_lost = True
            self._outlet.put(Lost(session=self._order.session, reason=reason, detail=detail))

    async def _pass_on(self, message: Message) -> None:
        # A coroutine: those the SDK runs in a loop, one after the other; functions in four threads, in any order.
        properties = {str(name): str(value) for name, value in message.custom_properties.items()}
        system = {
            "correlation_id": message.correlation_id,
            "content_type": message.content_type,
            "input_name": message.input_name,  # of a module
        }
        properties |= {f"$.{name}": str(value) for name, value in system.items() if value is not None}
        self._outlet.put(CommandArrived(message_id=message.message_id or "", properties=properties, body=message.data))

    async def _dispose(self) -> bool:
        """Shut the client down. Return False if threads or sockets of it may be left."""
        if self._client is None:
            return True
        try:
            async with asyncio.timeout(_SHUTDOWN_TIMEOUT_S):
                await self._client.shutdown()
        except (*_SDK_ERRORS, TimeoutError):
            return False
        # The client is full of reference cycles, and its MQTT library's sockets close when it is collected.
        self._client = None
        gc.collect()
        return True


async def _in_own_thread(work: Callable[..., _T], *arguments: object) -> _T:
    """Return what ``work`` returns; if it never does, the gateway ends this process."""
    own = ThreadPoolExecutor(1, thread_name_prefix="blocking")
    try:
        return await asyncio.wrap_future(own.submit(work, *arguments))
    finally:
        own.shutdown(wait=False)


def _new_client(order: Open) -> IoTHubDeviceClient | IoTHubModuleClient:
    """Return a client that does only what it is told: no connecting, retrying or queueing of its own."""
    options: dict[str, object] = {"auto_connect": False, "connection_retry": False} | _transport(order)
    if order.module_environment:
        options.pop("server_verification_cert", None)  # a module trusts what its runtime says
        return _new_module_client(order, options)
    if order.connection_string:
        return IoTHubDeviceClient.create_from_connection_string(
            order.connection_string, sastoken_ttl=order.token_ttl_s, **options
        )
    return IoTHubDeviceClient.create_from_x509_certificate(
        x509=X509(order.certificate_file, order.key_file),
        hostname=order.hostname,
        device_id=order.device_id,
        **options,
    )


def _transport(order: Open | Provision) -> dict[str, object]:
    """Return the SDK's options on how to connect."""
    options: dict[str, object] = {"keep_alive": order.keep_alive_s, "websockets": order.websockets}
    if order.ca_file:
        options["server_verification_cert"] = Path(order.ca_file).read_text()
    if order.proxy_host:
        options["proxy_options"] = ProxyOptions(
            "HTTP", order.proxy_host, order.proxy_port, order.proxy_user or None, order.proxy_password or None
        )
    return options


async def _provision(order: Provision) -> Provisioned | ProvisioningFailed:
    """Ask the provisioning service. The SDK polls until it has decided; the gateway limits the time."""
    try:
        client = await _in_own_thread(_new_provisioning_client, order)
        result = await client.register()
    except _SDK_ERRORS as error:
        found = diagnose(error, now=datetime.now(UTC))
        return ProvisioningFailed(reason=found.reason, detail=redact(found.detail))
    state = result.registration_state
    if result.status != "assigned" or state is None or not state.assigned_hub:
        return ProvisioningFailed(
            reason="provisioning_refused", detail=f"the provisioning service says {result.status}"
        )
    return Provisioned(hub=state.assigned_hub, device_id=state.device_id)


def _new_provisioning_client(order: Provision) -> ProvisioningDeviceClient:
    whom = {"provisioning_host": order.host, "registration_id": order.registration_id, "id_scope": order.id_scope}
    if order.symmetric_key:
        return ProvisioningDeviceClient.create_from_symmetric_key(
            **whom, symmetric_key=order.symmetric_key, **_transport(order)
        )
    x509 = X509(order.certificate_file, order.key_file)
    return ProvisioningDeviceClient.create_from_x509_certificate(**whom, x509=x509, **_transport(order))


def _new_module_client(order: Open, options: dict[str, object]) -> IoTHubModuleClient:
    """Return a client whose token the IoT Edge runtime has signed, and which trusts the runtime's authority.

    The SDK reads its environment; ours is in the order, so that a key in it shows in no process listing.
    """
    for name, value in order.module_environment.items():
        os.environ[name] = value
    try:
        return IoTHubModuleClient.create_from_edge_environment(sastoken_ttl=order.token_ttl_s, **options)
    finally:
        for name in order.module_environment:
            del os.environ[name]


class Child:
    """Obeys the gateway, one session at a time."""

    def __init__(self, outlet: Outlet, secrets: "SecretFilter") -> None:
        self._outlet = outlet
        self._secrets = secrets
        self._session: HubSession | None = None
        self._session_number = 0
        self._work: set[asyncio.Task[None]] = set()

    async def serve(self, inbox: "asyncio.Queue[ToChild]") -> None:
        """Never return; what goes wrong in any task ends the process."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                match await inbox.get():
                    case Ping():
                        self._outlet.put(Pong())
                    case Provision() as order:
                        self._secrets.hide("", order.symmetric_key, order.proxy_password)
                        self._start(tasks, self._ask(order))
                    case Open() as order:
                        key_holder = order.connection_string or order.module_environment.get(
                            "EdgeHubConnectionString", ""
                        )
                        self._secrets.hide(key_holder, order.proxy_password)
                        self._session, self._session_number = HubSession(order, self._outlet), order.session
                        self._start(tasks, self._run(self._session))
                    case Send() as order if self._session and order.session == self._session_number:
                        self._start(tasks, self._session.send(order))
                    case Close() as order if self._session and order.session == self._session_number:
                        session, self._session = self._session, None
                        tasks.create_task(self._close(session), name="close")
                    case _:
                        pass  # of a session that is no more

    def _start(self, tasks: asyncio.TaskGroup, work: "asyncio._CoroutineLike[None]") -> None:
        task = tasks.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def _ask(self, order: Provision) -> None:
        self._outlet.put(await _provision(order))

    async def _run(self, session: HubSession) -> None:
        if await session.open():
            await session.watch()

    async def _close(self, session: HubSession) -> None:
        work = set(self._work)
        await session.close()
        for task in work:
            task.cancel()


class SecretFilter(logging.Filter):
    """Takes secrets out of what the SDK logs: those it was given, and whatever looks like one."""

    def __init__(self) -> None:
        super().__init__()
        self._hidden: set[str] = set()

    def hide(self, connection_string: str, *secrets: str) -> None:
        """Never let these pass; of a connection string, its key."""
        key = connection_string.partition("SharedAccessKey=")[2].partition(";")[0]
        self._hidden.update(secret for secret in (key, *secrets) if secret)

    def filter(self, record: logging.LogRecord) -> bool:
        text = redact(record.getMessage())
        for secret in self._hidden:
            text = text.replace(secret, "***")
        record.msg, record.args = text, ()
        return True


def end_with(connection: socket.socket) -> None:
    """Wait in a thread of its own for the gateway to be gone, and end the process at once."""
    gone = select.poll()
    gone.register(connection, 0)  # nothing but the other end's closing, which poll(2) reports unasked
    gone.poll()
    os._exit(0)  # whatever the SDK and its threads are doing


class Orders:
    """Reads what the gateway says, in the loop: a thread between would be woken for every message."""

    def __init__(self, connection: socket.socket, inbox: "asyncio.Queue[ToChild]") -> None:
        self._connection = connection
        self._inbox = inbox
        self._decoder = FrameDecoder()

    def read(self) -> None:
        """Take what is there now. At the end of the stream, or of its sense, end the process."""
        makes_sense = False
        try:
            data = self._connection.recv(_RECEIVE_BYTES)
            for frame in self._decoder.feed(data):
                self._inbox.put_nowait(cast("ToChild", from_frame(frame)))
            makes_sense = bool(data)
        finally:
            if not makes_sense:
                os._exit(0)


async def _main(connection: socket.socket, environment: Mapping[str, str]) -> None:
    secrets = SecretFilter()
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(secrets)
    logging.basicConfig(handlers=[handler], level=environment.get("GATEWAY_SDK_LOG_LEVEL", "WARNING"))
    # The SDK publishes from the default executor: with one thread, in the order in which the gateway sent.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1, thread_name_prefix="sdk"))
    outlet = Outlet(connection)
    inbox: asyncio.Queue[ToChild] = asyncio.Queue()
    threading.Thread(target=end_with, args=(connection,), name="gateway-gone", daemon=True).start()
    asyncio.get_running_loop().add_reader(connection, Orders(connection, inbox).read)
    outlet.put(Hello())
    await Child(outlet, secrets).serve(inbox)


if __name__ == "__main__":
    keep_memory_private()
    # Ctrl-C and systemd's SIGTERM reach the whole group; the gateway first sends what is in flight, then closes us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    asyncio.run(_main(socket.socket(fileno=os.dup(0)), os.environ))
