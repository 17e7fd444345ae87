"""A hub in memory that loses, delays, refuses and lies as its Weather says; driven by a seed.

It plays both sides of the CloudLink port. The port's promises are kept: enter
raises LinkDown, send returns only after an acknowledgement. What a network does
not promise isn't kept: see Weather. ``received`` is what arrived, parsed: the
judge of every test. ``sent`` is what was offered, in order.
"""

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from gateway.cloud.envelope import message_bytes
from gateway.errors import LinkDown, MessageRefused
from gateway.messages import CloudMessage

FOR_EVER_S = 10_000.0


class Fate(StrEnum):
    """What the hub does with a message that holds a poisoned item."""

    DROP = "drop"  # closes the connection, as IoT Hub does over MQTT
    DROP_AFTER_RECORDING = "drop_after_recording"
    SILENCE = "silence"  # never acknowledges it
    REFUSE = "refuse"  # says no to this message


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """Chances are per connect or per message; times in seconds."""

    refuses_connect: float = 0.0
    hangs_connect: float = 0.0
    starts_for_s: float = 0.0  # before it connects: the SDK's process on a slow board
    drops_before: float = 0.0  # the message is lost, the session too
    drops_after: float = 0.0  # the message arrives, its acknowledgement does not
    never_acknowledges: float = 0.0  # this message only
    goes_half_open: float = 0.0  # from this message on nothing arrives and nothing is said
    acknowledges_late: float = 0.0
    hangs_on_close: float = 0.0
    session_s: float = 0.0  # mean life of a session; 0: for ever
    kicks_after: int = 0  # so many messages a session, then it ends; 0: no such limit
    latency_s: float = 0.05


FAIR = Weather()


@dataclass(frozen=True, slots=True)
class Arrival:
    """One message that arrived."""

    message: CloudMessage
    body: dict[str, Any]
    at_s: float

    @property
    def sequences(self) -> tuple[int, ...]:
        return tuple(item["sequence"] for item in self.body["items"])


class LossyCloud:
    """A CloudLink. ``poison`` maps a sequence to its fate."""

    def __init__(self, *, rng: random.Random, weather: Weather = FAIR) -> None:
        self.rng = rng
        self.weather = weather
        self.poison: dict[int, Fate] = {}
        self.sent: list[Arrival] = []
        self.received: list[Arrival] = []
        self.items: dict[tuple[str, str, int], dict[str, Any]] = {}  # deduped as a consumer does
        self.sequences: set[int] = set()
        self.buried: set[int] = set()  # told by tombstones
        self.tombstones: set[tuple[int, int]] = set()
        self.sessions = 0
        self.connect_attempts = 0
        self.open_sessions = 0
        self.in_flight: list[Arrival] = []
        self.in_flight_peak = 0
        self.current: LossySession | None = None

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator["LossySession"]:
        self.connect_attempts += 1
        await asyncio.sleep(self.weather.latency_s)
        await asyncio.sleep(self.weather.starts_for_s)
        if self.chance(self.weather.hangs_connect):
            await asyncio.sleep(FOR_EVER_S)
        if self.chance(self.weather.refuses_connect):
            raise LinkDown("refused")
        self.sessions += 1
        self.open_sessions += 1
        assert self.open_sessions == 1, "one session at a time: the hub kicks the older of two"
        session = self.current = LossySession(self)
        try:
            yield session
        finally:
            self.open_sessions -= 1
            self.current = None
            session.drop("closed")
            if self.chance(self.weather.hangs_on_close):
                await asyncio.sleep(FOR_EVER_S)

    async def close(self) -> None:
        """Nothing to release."""

    def chance(self, probability: float) -> bool:
        return probability > 0 and self.rng.random() < probability

    def offered(self, arrival: Arrival) -> None:
        """Look at a message at the moment when it is sent; for tests that check."""

    def kick(self) -> None:
        """Drop the session that is open, if any."""
        if self.current is not None:
            self.current.drop("kicked")

    def record(self, arrival: Arrival) -> None:
        self.received.append(arrival)
        body = arrival.body
        for item in body["items"]:
            self.items.setdefault((body["gateway_id"], body["epoch"], item["sequence"]), item)
            self.sequences.add(item["sequence"])
        for tombstone in body["tombstones"]:
            first, last = tombstone["first_sequence"], tombstone["last_sequence"]
            self.tombstones.add((first, last))
            self.buried.update(range(first, last + 1))

    def fate_of(self, arrival: Arrival) -> Fate | None:
        return next((self.poison[s] for s in arrival.sequences if s in self.poison), None)


class LossySession:
    """A CloudSession."""

    def __init__(self, cloud: LossyCloud) -> None:
        self._cloud = cloud
        self._lost = asyncio.Event()
        self._reason = ""
        self._sends = 0
        self._half_open = False
        life_s = cloud.weather.session_s
        self._life_s = cloud.rng.expovariate(1 / life_s) if life_s else None

    def drop(self, reason: str) -> None:
        self._reason = self._reason or reason
        self._lost.set()

    async def lost(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._lost.wait(), self._life_s)
        self.drop("ended")
        raise LinkDown(self._reason)

    async def send(self, message: CloudMessage) -> None:
        arrival = Arrival(message, json.loads(message.body), asyncio.get_running_loop().time())
        assert message_bytes(message) <= 256 * 1024, "the hub takes no larger message"
        cloud = self._cloud
        cloud.sent.append(arrival)
        cloud.in_flight.append(arrival)
        cloud.offered(arrival)
        cloud.in_flight_peak = max(cloud.in_flight_peak, len(cloud.in_flight))
        try:
            await self._carry(arrival)
        finally:
            cloud.in_flight.remove(arrival)

    async def _carry(self, arrival: Arrival) -> None:
        cloud, weather = self._cloud, self._cloud.weather
        self._sends += 1
        await self._pass(weather.latency_s * cloud.rng.random())
        if self._half_open or cloud.chance(weather.goes_half_open):
            self._half_open = True
            await self._pass(FOR_EVER_S)
        if cloud.chance(weather.drops_before) or 0 < weather.kicks_after < self._sends:
            self._break("reset")
        await self._judge(arrival)
        cloud.record(arrival)
        if cloud.chance(weather.drops_after):
            self._break("reset")
        if cloud.chance(weather.never_acknowledges):
            await self._pass(FOR_EVER_S)
        late = cloud.chance(weather.acknowledges_late)
        await self._pass((30.0 if late else weather.latency_s) * cloud.rng.random())

    async def _judge(self, arrival: Arrival) -> None:
        fate = self._cloud.fate_of(arrival)
        if fate is Fate.REFUSE:
            raise MessageRefused("hub_refused")
        if fate is Fate.DROP_AFTER_RECORDING:
            self._cloud.record(arrival)
        if fate is Fate.SILENCE:
            await self._pass(FOR_EVER_S)
        if fate is not None:
            self._break("dropped_by_hub")

    def _break(self, reason: str) -> None:
        self.drop(reason)
        raise LinkDown(reason)

    async def _pass(self, seconds: float) -> None:
        """Let time pass; raise LinkDown if the session is lost meanwhile."""
        try:
            await asyncio.wait_for(self._lost.wait(), seconds)
        except TimeoutError:
            return
        raise LinkDown(self._reason)
