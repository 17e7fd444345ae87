"""One camera through all its links: its framing, what it has sent and how that ended.

Synchronous towards the link (a notification is put together in its callback), asynchronous towards the intake. Writes
go to whichever link is up: a picture may be committed after the link that brought it was lost, and a framing that can
resume tells the device at the next one. Invariant: at most PENDING_MAX payloads of a device wait for the intake.
"""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import structlog

from adapters.ble.contract import Action, Complete, Framing, Incomplete, Verdict, Write
from adapters.ble.desk import Desk
from adapters.ble.profiles import Profile
from gateway.errors import CommandUnknown
from gateway.ports import Clock, Meter

log = structlog.get_logger(__name__)

# A camera sends its next picture while the last one is classified; one that is further ahead is too fast for us.
PENDING_MAX = 2
TOO_FAST_RETRY_S = 5.0

# Queues a write. What it returns is done with True when written, with False when the link was lost before.
Send = Callable[[Write], Awaitable[bool]]


class Camera:
    """A device with a profile. ``attach`` and ``detach`` frame each link."""

    def __init__(
        self,
        *,
        device_id: str,
        profile: Profile,
        framing: Framing,
        desk: Desk,
        clock: Clock,
        meter: Meter,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self.device_id = device_id
        self.profile = profile
        self._framing = framing
        self._desk = desk
        self._clock = clock
        self._meter = meter
        self._spawn = spawn
        self._send: Send | None = None
        self._pending = 0
        self._outcomes = 0
        self._faults_in_a_row = 0
        self._heard_since_outcome = False
        # When the last link was lost; meaningless while one is up.
        self.left_s = 0.0

    # --- what the session asks ------------------------------------------------------------------------

    @property
    def settled(self) -> bool:
        """Whether something came to an end on this link and nothing has begun since."""
        return self._outcomes > 0 and self._pending == 0 and not self._heard_since_outcome

    @property
    def is_linked(self) -> bool:
        return self._send is not None

    @property
    def held_bytes(self) -> int:
        """How much memory an unfinished transfer takes."""
        return self._framing.held_bytes

    def forget(self, reason: str, why: str) -> None:
        """Drop an unfinished transfer, and count it."""
        self._act(self._framing.forget(reason, why))

    @property
    def faults_in_a_row(self) -> int:
        """How many transfers were given up since the last whole one, on this link."""
        return self._faults_in_a_row

    # --- the link -------------------------------------------------------------------------------------

    def attach(self, send: Send, *, att_payload_max: int) -> None:
        """Take note of a link whose notifications are about to be on; ``send`` keeps writes until they are."""
        self._send = send
        self._outcomes = self._faults_in_a_row = 0
        self._heard_since_outcome = False
        self._act(self._framing.connected(self._clock.monotonic(), att_payload_max=att_payload_max))

    def detach(self) -> None:
        """Take note that the link is gone."""
        self._send = None
        self.left_s = self._clock.monotonic()
        self._act(self._framing.disconnected(self._clock.monotonic()))

    def notified(self, role: str, data: bytes) -> None:
        """Take a notification."""
        self._heard_since_outcome = True
        actions = self._framing.notified(role, data, self._clock.monotonic())
        if actions:
            self._act(actions)

    def ticked(self) -> None:
        """Let the framing see the time."""
        self._act(self._framing.ticked(self._clock.monotonic()))

    def command(self, name: str, value: int | None = None) -> bool:
        """Give a command of the profile; False if it knows none such, or no link is up."""
        if self._send is None:
            return False
        actions = self._framing.command(name, value, self._clock.monotonic())
        self._act(actions)
        return bool(actions)

    async def tell(self, name: str, value: int | None) -> bool:
        """Give a command; return whether all of it was written: with a response, the device has confirmed it.

        Raises CommandUnknown when the profile has no such command.
        """
        send = self._send
        if send is None:
            return False
        actions = self._framing.command(name, value, self._clock.monotonic())
        if not actions:
            raise CommandUnknown(f"the profile {self.profile.name} of {self.device_id} has no command {name!a}")
        written = [send(action) for action in actions if isinstance(action, Write)]
        results = [await one for one in written]
        return bool(results) and all(results)

    # --- actions --------------------------------------------------------------------------------------

    def _act(self, actions: Sequence[Action]) -> None:
        for action in actions:
            if isinstance(action, Write):
                if self._send is not None:
                    self._send(action)
            elif isinstance(action, Complete):
                self._completed(action)
            else:
                self._given_up(action)

    def _completed(self, complete: Complete) -> None:
        self._faults_in_a_row = 0
        if self._pending >= PENDING_MAX:
            self._settle(complete, Verdict.LATER, TOO_FAST_RETRY_S)
            return
        self._pending += 1
        self._spawn(self._judge(complete))

    async def _judge(self, complete: Complete) -> None:
        judgement = None
        try:
            judgement = await self._desk.judge(self.device_id, complete)
        finally:
            self._pending -= 1
            if judgement is None:
                # We are stopping, or have a bug: the framing must not wait for this outcome for ever.
                self._count("undecided")
                self._framing.judged(complete.transfer, Verdict.LATER, self._clock.monotonic())
        self._settle(complete, judgement.verdict, judgement.retry_after_s)

    def _settle(self, complete: Complete, verdict: Verdict, retry_after_s: float) -> None:
        self._count(verdict)
        self._outcomes += 1
        self._heard_since_outcome = False
        if verdict is Verdict.LATER and complete.submission_id is None:
            log.warning("ble_picture_lost", device_id=self.device_id, bytes=len(complete.payload), reason="later")
        now_s = self._clock.monotonic()
        self._act(self._framing.judged(complete.transfer, verdict, now_s, retry_after_s=retry_after_s))

    def _given_up(self, incomplete: Incomplete) -> None:
        self._outcomes += 1
        self._faults_in_a_row += 1
        self._heard_since_outcome = False
        self._count(incomplete.reason)
        log.info("ble_transfer_given_up", device_id=self.device_id, reason=incomplete.reason, detail=incomplete.detail)

    def _count(self, outcome: str) -> None:
        self._meter.count("gateway_ble_transfers_total", profile=self.profile.name, outcome=outcome)
