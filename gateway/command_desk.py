"""Carries commands to devices: kept first, then told to whichever face has the device, then settled and reported.

A command waits until its device is there, at most ``devices.command_keep_s`` of running time: an order to take a photo
now is wrong tomorrow. Its outcome (told, expired, invalid) goes upstream as a reading of the device, so that whoever
gave it need not look at the site. Told at least once: a crash between telling and settling tells again, under the
same ``command_id``.

Limits: ``WAITING_MAX`` commands are looked at in a round; each face has ``TELL_TIMEOUT_S`` for one.
"""

import asyncio
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from gateway.device_commands import parse_device_command
from gateway.errors import CommandInvalid, CommandUnknown, Rejected, Unavailable
from gateway.identifiers import SUBMISSION_ID
from gateway.messages import (
    Command,
    CommandState,
    DeviceCommand,
    Reading,
    Readings,
    Submission,
    Transport,
)
from gateway.ports import Clock, CommandStore, CommandTarget, Intake, Meter

log = structlog.get_logger(__name__)

# IoT Hub keeps at most 50 undelivered messages for a device; ours has many behind it.
WAITING_MAX = 256
# A BLE write with response takes a second or two on a weak link.
TELL_TIMEOUT_S = 10.0
# How soon a device that has just connected hears what waited for it.
LOOK_EVERY_S = 2.0
DETAIL_CHARS_MAX = 400


@dataclass(frozen=True, slots=True)
class _Outcome:
    """How a command ended."""

    command_id: str
    wanted: DeviceCommand | None
    state: CommandState
    detail: str = ""


class CommandDesk:
    """One for the gateway. ``targets`` are the faces that can tell devices something, the likeliest first."""

    def __init__(
        self,
        *,
        store: CommandStore,
        intake: Intake,
        targets: Callable[[], Sequence[CommandTarget]],
        gateway_id: str,
        keep_s: float,
        clock: Clock,
        meter: Meter,
    ) -> None:
        self._store = store
        self._intake = intake
        self._targets = targets
        self._gateway_id = gateway_id
        self._keep_s = keep_s
        self._clock = clock
        self._meter = meter
        self._wake = asyncio.Event()
        self._seen_s: dict[str, float] = {}
        self._decided: dict[str, _Outcome] = {}

    async def take(self, command: Command) -> None:
        """Return when the command is on disk. Raises Unavailable while the disk refuses."""
        new = await self._store.store_command(command)
        log.info("command_received", command_id=command.command_id, new=new)
        self._wake.set()

    async def run(self) -> None:
        """Carry commands out, for ever."""
        while True:
            try:
                waiting = await self._store.waiting_commands(limit=WAITING_MAX)
                for command in waiting:
                    await self._try(command)
                self._seen_s = {one.command_id: self._seen_s[one.command_id] for one in waiting}
            except Unavailable as error:
                log.warning("commands_wait", reason=error.reason, detail=error.detail)
            await self._pause()

    async def _pause(self) -> None:
        self._wake.clear()
        try:
            async with asyncio.timeout(LOOK_EVERY_S):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _try(self, command: Command) -> None:
        """Settle the command if it has an outcome now. A device is told once, however long the outbox refuses then."""
        outcome = self._decided.get(command.command_id) or await self._decide(command)
        if outcome is not None:
            self._decided[command.command_id] = outcome
            await self._settle(outcome)
            del self._decided[command.command_id]

    async def _decide(self, command: Command) -> _Outcome | None:
        first_seen_s = self._seen_s.setdefault(command.command_id, self._clock.monotonic())
        try:
            wanted = parse_device_command(command)
        except CommandInvalid as error:
            return _Outcome(command.command_id, None, CommandState.INVALID, str(error)[:DETAIL_CHARS_MAX])
        try:
            if await self._told(wanted):
                return _Outcome(command.command_id, wanted, CommandState.TOLD)
        except CommandUnknown as error:
            return _Outcome(command.command_id, wanted, CommandState.INVALID, str(error)[:DETAIL_CHARS_MAX])
        if self._clock.monotonic() - first_seen_s < self._keep_s:
            return None
        detail = f"the device was not there for {self._keep_s:g} s (devices.command_keep_s)"
        return _Outcome(command.command_id, wanted, CommandState.EXPIRED, detail)

    async def _told(self, wanted: DeviceCommand) -> bool:
        """Ask each face in turn. A face that does not know the command is believed only if no other has the device."""
        unknown: CommandUnknown | None = None
        for target in self._targets():
            try:
                async with asyncio.timeout(TELL_TIMEOUT_S):
                    if await target.tell(wanted):
                        return True
            except TimeoutError:
                log.info("command_tell_timed_out", command_id=wanted.command_id, device_id=wanted.device_id)
            except CommandUnknown as error:
                unknown = error
        if unknown is not None:
            raise unknown
        return False

    async def _settle(self, outcome: _Outcome) -> None:
        """Report first, then settle: a crash in between reports again under the same id, which is recognised."""
        try:
            await self._intake.submit(self._report(outcome))
        except Rejected as error:
            log.error("command_report_refused", command_id=outcome.command_id, reason=error.reason, detail=error.detail)
        await self._store.settle_command(outcome.command_id, outcome.state, outcome.detail)
        self._meter.count("gateway_commands_total", outcome=outcome.state)
        log.info(
            "command_settled",
            command_id=outcome.command_id,
            device_id="" if outcome.wanted is None else outcome.wanted.device_id,
            outcome=outcome.state,
            detail=outcome.detail,
        )

    def _report(self, outcome: _Outcome) -> Submission:
        wanted = outcome.wanted
        values = {
            "command_id": outcome.command_id,
            **({} if wanted is None else {"command": wanted.name}),
            "outcome": outcome.state,
            **({"detail": outcome.detail} if outcome.detail else {}),
        }
        values_json = json.dumps(values, ensure_ascii=True, separators=(",", ":"))
        return Submission(
            device_id=self._gateway_id if wanted is None else wanted.device_id,
            transport=Transport.GATEWAY,
            payload=Readings(data=values_json.encode(), items=(Reading(values_json=values_json),), is_array=False),
            submission_id=_report_id(outcome.command_id),
            is_notice=True,
        )


def _report_id(command_id: str) -> str:
    """Return the same id for the same command; a hub's message id may hold what ours may not."""
    plain = f"command-{command_id}"
    if SUBMISSION_ID.fullmatch(plain) is not None:
        return plain
    return f"command-{hashlib.sha256(command_id.encode('utf-8', 'surrogatepass')).hexdigest()}"
