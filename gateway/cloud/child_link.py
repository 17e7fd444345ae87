"""The CloudLink that runs azure-iot-device in a process of its own.

Owns that process: it is started for the first session, kept across sessions, and killed and replaced when it stalls:
no answer to a connect, a message not acknowledged in time, a close that does not finish, a missed heartbeat. Whatever
the SDK does (it freezes, leaks and lies; docs/decisions), this side's waits are bounded.

Cloud-to-device messages: the SDK's MQTT library acknowledges them to the hub before anyone sees them. They are handed
to ``on_command`` one by one, which persists them. A crash between that acknowledgement and the commit loses the
message: milliseconds wide, and not ours to close.
"""

import asyncio
import hashlib
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

import structlog

from gateway.cloud.child_process import ChildFigures, SdkProcess
from gateway.cloud.child_protocol import (
    Acknowledged,
    Close,
    Closed,
    CommandArrived,
    FromChild,
    Lost,
    NotSent,
    Open,
    Opened,
    OpenFailed,
    Provisioned,
    ProvisioningFailed,
)
from gateway.cloud.identity import Identity, identity_of
from gateway.cloud.orders import proof, provision_order, to_send, way
from gateway.cloud.provisioning import Assignment, AssignmentFile, Provisioner, identity_at
from gateway.errors import CloudError, LinkDown, MessageRefused, Unavailable
from gateway.messages import CloudMessage, Command
from gateway.ports import Clock, CloudSession, CommandHandler, Meter
from gateway.settings import CloudSettings

log = structlog.get_logger(__name__)

_T = TypeVar("_T")

# IoT Hub takes 256 KB; the SDK measures with sys.getsizeof, which is wrong, so we keep well below.
MESSAGE_BYTES_MAX = 240 * 1024
# They travel percent-encoded (up to threefold) in an MQTT topic of at most 65,535 bytes.
PROPERTIES_BYTES_MAX = 16 * 1024
# paho has 20 in flight; what is beyond that hangs after a drop.
WINDOW_MAX = 16
CLOSE_TIMEOUT_S = 5.0
# The provisioning service decides within seconds; a custom allocation function may take some tens of them.
PROVISION_TIMEOUT_S = 90.0
# A day: a board without a battery clock may be hours slow, and a token that has expired for the hub is refused.
TOKEN_TTL_S = 24 * 3600
# The SDK renews a token by reconnecting the same client object, which must never happen (azure_iot_hub.py).
SESSION_AGE_MAX_S = TOKEN_TTL_S - 3600.0
# IoT Hub holds 50 for a device that is away; this many more may wait for our disk.
COMMANDS_WAITING_MAX = 256
_COMMAND_RETRY_S = 5.0

# Ends of the process that are not failures.
_EXPECTED_ENDS = ("closed", "cancelled", "provisioning_failed")


class ChildSession:
    """One session; see CloudSession."""

    def __init__(self, *, number: int, child: SdkProcess, send_timeout_s: float) -> None:
        self.number = number
        self.child = child
        self._send_timeout_s = send_timeout_s
        self._numbers = itertools.count(1)
        # Results are values, not exceptions: an exception that nobody fetched is an error of asyncio's own.
        self._waiting: dict[int, asyncio.Future[LinkDown | MessageRefused | None]] = {}
        self._down: asyncio.Future[LinkDown] = asyncio.get_running_loop().create_future()
        self.opened: asyncio.Future[LinkDown | None] = asyncio.get_running_loop().create_future()
        self.closed: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def send(self, message: CloudMessage) -> None:
        _check_size(message)
        if self._down.done():
            raise _copy(self._down.result())
        assert len(self._waiting) < WINDOW_MAX, "the forwarder keeps the window"
        number = next(self._numbers)
        answer: asyncio.Future[LinkDown | MessageRefused | None] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        self.child.send(to_send(self.number, number, message))
        try:
            async with asyncio.timeout(self._send_timeout_s):
                error = await answer
        except TimeoutError:
            self.fail(LinkDown("ack_timeout", f"no acknowledgement within {self._send_timeout_s:g} s"))
            # A link that swallows messages also hangs the SDK's disconnect: no use asking.
            self.child.kill("ack_timeout")
            error = self._down.result()
        finally:
            self._waiting.pop(number, None)
        if error is not None:
            raise _copy(error)

    async def lost(self) -> None:
        raise _copy(await asyncio.shield(self._down))

    def fail(self, error: LinkDown) -> None:
        """End the session for everyone who waits on it. Only the first reason counts."""
        if not self._down.done():
            self._down.set_result(error)
        _settle(self.opened, value=self._down.result())
        for answer in self._waiting.values():
            _settle(answer, value=self._down.result())

    def handle(self, message: FromChild) -> None:
        """Take what the child says about this session."""
        match message:
            case Opened():
                _settle(self.opened, value=None)
            case OpenFailed(reason=reason, detail=detail, clean=clean):
                self.fail(LinkDown(reason, detail))
                _settle(self.closed, value=clean)
            case Acknowledged(number=number):
                _settle(self._waiting.get(number), value=None)
            case NotSent(number=number, reason=reason, detail=detail, refused=True):
                _settle(self._waiting.get(number), value=MessageRefused(reason, detail))
            case NotSent(reason=reason, detail=detail) | Lost(reason=reason, detail=detail):
                self.fail(LinkDown(reason, detail))
            case Closed(clean=clean):
                _settle(self.closed, value=clean)
            case _:
                pass


class AzureIotHubLink:
    """See CloudLink. One session at a time. ``on_command`` returns when the command is on disk; it is idempotent.
    Without one, cloud-to-device messages are not asked for.

    ``assignments`` keeps what the provisioning service says, where one is asked.
    """

    def __init__(
        self,
        *,
        settings: CloudSettings,
        gateway_id: str,
        clock: Clock,
        meter: Meter,
        on_command: CommandHandler | None,
        assignments: AssignmentFile | None = None,
    ) -> None:
        self._settings = settings
        self._log = log.bind(gateway_id=gateway_id)
        self._clock = clock
        self._meter = meter
        self._on_command = on_command
        self._numbers = itertools.count(1)
        self._child: SdkProcess | None = None
        self._session: ChildSession | None = None
        self._commands: asyncio.Queue[Command] = asyncio.Queue(COMMANDS_WAITING_MAX)
        self._command_task: asyncio.Task[None] | None = None
        self._provisioner: Provisioner | None = None
        if settings.identity_source == "provisioning":
            assert assignments is not None, "whoever asks must remember the answer"
            self._provisioner = Provisioner(settings.provisioning, assignments)
        self._answer: asyncio.Future[Provisioned | ProvisioningFailed] | None = None

    @asynccontextmanager
    async def session(self) -> AsyncIterator[CloudSession]:
        """See CloudLink. The process start may add up to a minute to the connect timeout."""
        assert self._session is None, "one session at a time: the hub drops the older one"
        order = await self._order()
        child = await self._living_child()
        session = self._session = ChildSession(
            number=order.session, child=child, send_timeout_s=self._settings.send_timeout_s
        )
        try:
            await self._open(session, order)
            yield session
        finally:
            await self._leave(session)

    async def close(self) -> None:
        """See CloudLink. Commands that are not yet on disk are given up."""
        if self._child is not None:
            self._child.kill("closed")
            await self._child.wait_ended()
            self._child = None
        if self._command_task is not None:
            self._command_task.cancel()
            await asyncio.gather(self._command_task, return_exceptions=True)
            self._command_task = None

    def child_figures(self) -> ChildFigures | None:
        """Return what the SDK process costs, or None while there is none."""
        return self._child.figures() if self._child is not None and not self._child.ended else None

    async def _order(self) -> Open:
        try:
            identity = await self._identity()
            takes_commands = self._on_command is not None
            return open_order(self._settings, identity, session=next(self._numbers), takes_commands=takes_commands)
        except ValueError as error:
            raise LinkDown("not_configured", str(error)) from error
        except OSError as error:
            raise LinkDown("file_unreadable", f"{error.filename}: {error.strerror}") from error

    async def _identity(self) -> Identity:
        if self._provisioner is None:
            return identity_of(self._settings)
        asked = self._settings.provisioning
        return identity_at(await self._provisioner.assignment(self.ask_for_hub), asked)

    async def ask_for_hub(self) -> Assignment:
        """Return what the provisioning service says. Raises LinkDown; the child is then gone with what it leaked."""
        child = await self._living_child()
        self._answer = asyncio.get_running_loop().create_future()
        child.send(provision_order(self._settings))
        try:
            async with asyncio.timeout(PROVISION_TIMEOUT_S):
                answer = await self._answer
        except TimeoutError:
            answer = ProvisioningFailed(
                reason="provisioning_timeout", detail=f"no hub was assigned within {PROVISION_TIMEOUT_S:g} s"
            )
        except asyncio.CancelledError:
            child.kill("cancelled")
            raise
        finally:
            self._answer = None
        if isinstance(answer, ProvisioningFailed):
            child.kill("provisioning_failed")
            await child.wait_ended()
            raise LinkDown(answer.reason, answer.detail)
        asked = self._settings.provisioning
        return Assignment(
            host=asked.host,
            id_scope=asked.id_scope,
            registration_id=asked.registration_id,
            hub=answer.hub,
            device_id=answer.device_id,
            assigned_at=self._clock.now().isoformat(timespec="seconds"),
        )

    async def _living_child(self) -> SdkProcess:
        if self._child is not None and self._child.ended:
            await self._child.wait_ended()
            self._child = None
        if self._child is None:
            self._child = await SdkProcess.start(
                on_message=self._dispatch, on_end=self._child_ended, monotonic=self._clock.monotonic
            )
        self._ensure_commands_are_kept()
        return self._child

    def _ensure_commands_are_kept(self) -> None:
        task, self._command_task = self._command_task, None
        if task is not None and task.done():
            task.result()  # raises what went wrong: an error of ours, not of the link
        self._command_task = task or asyncio.create_task(self._keep_commands(), name="cloud-commands")
        if task is None:
            self._command_task.add_done_callback(self._commands_stopped)

    async def _open(self, session: ChildSession, order: Open) -> None:
        session.child.send(order)
        try:
            async with asyncio.timeout(self._settings.connect_timeout_s):
                error = await session.opened
        except TimeoutError:
            session.child.kill("connect_timeout")
            raise LinkDown(
                "connect_timeout", f"no session within {self._settings.connect_timeout_s:g} s: the hub is silent"
            ) from None
        except asyncio.CancelledError:
            # Half connected, perhaps in a blocking handshake: nothing to say goodbye to.
            session.child.kill("cancelled")
            raise
        if error is not None:
            if self._provisioner is not None:
                self._provisioner.doubt(error.reason)
            raise _copy(error)

    async def _leave(self, session: ChildSession) -> None:
        session.fail(LinkDown("closed", "the session was closed"))
        try:
            await self._close_session(session)
        except asyncio.CancelledError:
            session.child.kill("cancelled")
            raise
        finally:
            self._session = None
        if session.child.ended:
            await session.child.wait_ended()

    async def _close_session(self, session: ChildSession) -> None:
        if session.child.ended:
            return
        if not session.closed.done():
            session.child.send(Close(session=session.number))
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                clean = await session.closed
        except TimeoutError:
            session.child.kill("close_timeout")
            return
        if not clean:
            # The client object left a thread and two descriptors behind; a new process has neither.
            session.child.kill("close_unclean")

    def _dispatch(self, message: FromChild) -> None:
        if isinstance(message, CommandArrived):
            self._take_command(message)
        elif isinstance(message, Provisioned | ProvisioningFailed):
            _settle(self._answer, value=message)
        elif self._session is not None and getattr(message, "session", None) == self._session.number:
            self._session.handle(message)

    def _child_ended(self, reason: str) -> None:
        if reason not in _EXPECTED_ENDS:
            self._meter.count("gateway_cloud_child_restarts_total", reason=reason)
        _settle(self._answer, value=ProvisioningFailed(reason=reason, detail=f"the SDK process ended: {reason}"))
        if self._session is not None:
            self._session.fail(LinkDown(reason, f"the SDK process was replaced: {reason}"))
            _settle(self._session.closed, value=True)

    def _take_command(self, arrived: CommandArrived) -> None:
        command = Command(
            command_id=arrived.message_id or _digest(arrived),
            received_at=self._clock.now(),
            body=arrived.body,
            properties=dict(arrived.properties),
        )
        try:
            self._commands.put_nowait(command)
        except asyncio.QueueFull:
            self._log.error("command_dropped", command_id=command.command_id, waiting=COMMANDS_WAITING_MAX)

    async def _keep_commands(self) -> None:
        """Hand commands over in order."""
        while True:
            await self._keep_command(await self._commands.get())

    async def _keep_command(self, command: Command) -> None:
        """Return when the command is on disk; while the disk refuses, wait."""
        assert self._on_command is not None, "not asked for"
        while True:
            try:
                return await self._on_command(command)
            except Unavailable as error:
                self._log.warning("command_not_kept_yet", command_id=command.command_id, reason=error.reason)
            await asyncio.sleep(_COMMAND_RETRY_S)

    def _commands_stopped(self, task: asyncio.Task[None]) -> None:
        """End the session: commands that nobody keeps must not go on being acknowledged. The error comes up next."""
        if not task.cancelled() and self._session is not None:
            self._session.fail(LinkDown("command_failed", "a cloud-to-device message could not be kept"))


def open_order(settings: CloudSettings, identity: Identity, *, session: int, takes_commands: bool = True) -> Open:
    """Return what the child is told: all it needs for one session."""
    return Open(
        session=session,
        hostname=identity.hostname,
        device_id=identity.device_id,
        **proof(identity),
        **way(settings),
        takes_commands=takes_commands,
        token_ttl_s=TOKEN_TTL_S,
        session_age_max_s=SESSION_AGE_MAX_S,
    )


def _check_size(message: CloudMessage) -> None:
    properties = sum(len(name.encode()) + len(value.encode()) for name, value in message.properties.items())
    if properties > PROPERTIES_BYTES_MAX:
        raise MessageRefused("too_large", f"{properties} bytes of properties; the cap is {PROPERTIES_BYTES_MAX}")
    if len(message.body) + properties > MESSAGE_BYTES_MAX:
        raise MessageRefused("too_large", f"{len(message.body) + properties} bytes; the cap is {MESSAGE_BYTES_MAX}")


def _settle(future: asyncio.Future[_T] | None, *, value: _T) -> None:
    if future is not None and not future.done():
        future.set_result(value)


def _copy(error: CloudError) -> CloudError:
    """Return a fresh exception: one object raised in many tasks would gather all their tracebacks."""
    return type(error)(error.reason, error.detail)


def _digest(arrived: CommandArrived) -> str:
    """Return an id for a command without one: the same message redelivered gets the same id."""
    digest = hashlib.sha256(arrived.body)
    for name, value in sorted(arrived.properties.items()):
        digest.update(f"\0{name}\0{value}".encode())
    return f"sha256-{digest.hexdigest()}"
