"""MQTT through a broker that the site has: a client with a persistent session, QoS 1, MQTT 3.1.1.

A message is acknowledged to the broker when it is on disk here, or refused for good; never before, and never because
it could not be taken. What the broker promised the device before that is the broker's affair: docs/mqtt-broker.md.

``start`` makes the first connection or says why not; afterwards lost connections are made again here, with full-jitter
back-off, for ever. An error of our own in the ingest ends the adapter, and the supervisor starts it again.
"""

import asyncio
import contextlib
import random
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

import structlog

from adapters.mqtt import replies
from adapters.mqtt.broker_budget import Budget
from adapters.mqtt.broker_carrier import Carrier
from adapters.mqtt.broker_diagnosis import Lost
from adapters.mqtt.broker_link import FINISHED, BrokerLink, Delivered, Reply
from adapters.mqtt.broker_options import BrokerOptions, broker_options
from adapters.mqtt.broker_session import SessionFile
from adapters.mqtt.contract import Ingest, Later
from adapters.mqtt.topics import commands_topic
from gateway.errors import AdapterUnavailable
from gateway.messages import DeviceCommand
from gateway.ports import Adapter, Clock, Meter
from gateway.settings import LimitsSettings, MqttSettings

log = structlog.get_logger(__name__)

# Back-off with full jitter: uniform between nothing and a bound that doubles from the first to the second. Source: M.
# Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015. A broker on the LAN restarts within seconds;
# after a long outage devices shall not wait minutes for us.
BACKOFF_INITIAL_S = 1.0
BACKOFF_MAX_S = 30.0
# A connection that lasted this long had recovered: its end starts from the shortest wait again.
STEADY_AFTER_S = 60.0
NOTICES_EVERY_S = 1.0
# Of the time given to stop, what is left for PUBACKs and DISCONNECT to leave.
FAREWELL_S = 1.5


class _Connection:
    """A link and the carrier of its messages. Implements broker_link.LinkEvents."""

    def __init__(self, adapter: "MqttBrokerClient", budget: Budget, tasks: asyncio.TaskGroup, number: int) -> None:
        self.ended: asyncio.Future[Lost] = asyncio.get_running_loop().create_future()
        self.subscribed = asyncio.Event()
        self.link = BrokerLink(
            options=adapter.options,
            budget=budget,
            session=adapter.session,
            events=self,
            name=f"mqtt-broker-{number}",
        )

        def spawn(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
            return tasks.create_task(work, name=name)

        self.carrier = Carrier(
            ingest=adapter.ingest,
            budget=budget,
            answers=self.link,
            hold_max_s=adapter.hold_max_s,
            on_held_too_long=self._give_up,
            spawn=spawn,
            clock=adapter.clock,
            meter=adapter.meter,
        )

    def link_received(self, batch: Sequence[Delivered]) -> None:
        self.carrier.take(batch)

    def link_subscribed(self) -> None:
        self.subscribed.set()

    def link_ended(self, lost: Lost) -> None:
        self.carrier.close()
        if not self.ended.done():
            self.ended.set_result(lost)

    def _give_up(self, later: Later) -> None:
        self.link.drop(
            Lost(
                "held_too_long",
                f"a message could not be taken within mqtt.hold_max_s: {later.detail} ({later.reason})",
                "The broker keeps it and delivers it again.",
            )
        )


class MqttBrokerClient:
    """Implements ports.Adapter. May be started again after a stop or a failure."""

    name = "mqtt_broker"

    def __init__(
        self,
        *,
        options: BrokerOptions,
        in_flight_max: int,
        buffered_bytes_max: int,
        hold_max_s: float,
        session: SessionFile,
        ingest: Ingest,
        meter: Meter,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self.options = options
        self.session = session
        self.ingest = ingest
        self.meter = meter
        self.clock = clock
        self.hold_max_s = hold_max_s
        self._in_flight_max = in_flight_max
        self._bytes_max = buffered_bytes_max
        self._rng = rng
        self._connection: _Connection | None = None
        self._run: asyncio.Task[None] | None = None
        self._connected = False
        self._connections = 0

    async def start(self) -> None:
        """Return when the broker has granted every subscription. Raises AdapterUnavailable with the cure."""
        first: asyncio.Future[Lost | None] = asyncio.get_running_loop().create_future()
        self._run = asyncio.create_task(self._serve(first), name="mqtt-broker")
        either: list[asyncio.Future[Any]] = [self._run, first]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not first.done():
            self._run.result()
        elif (lost := first.result()) is not None:
            raise lost

    async def failed(self) -> None:
        """Raise what broke the adapter; never return otherwise. A lost connection does not: it is made again."""
        assert self._run is not None, "failed() before start()"
        await asyncio.wait({self._run})
        if not self._run.cancelled() and (error := self._run.exception()) is not None:
            raise AdapterUnavailable(f"the MQTT client of {self.options.url} broke: {error!r}") from error
        await asyncio.Event().wait()

    async def stop(self, deadline_s: float) -> None:
        """Read no more, finish what is being committed, acknowledge it, take leave. What is held stays the broker's."""
        run, connection = self._run, self._connection
        if run is None or run.done():
            return
        if connection is not None:
            await _leave(connection, deadline_s)
        run.cancel()
        await asyncio.wait({run})
        self._set_connected(connected=False)

    def describe(self) -> str:
        """Return which broker, and whether it has us."""
        return self.options.url if self._connected else f"{self.options.url} (not connected)"

    async def tell(self, command: DeviceCommand) -> bool:
        """Return whether the broker was handed the command. Whether the device listens there, no broker says."""
        connection = self._connection
        if connection is None or not self._connected:
            return False
        connection.link.send([Reply(commands_topic(command.device_id), replies.command(command))], [])
        return True

    # --- connections, one after the other -------------------------------------------------------------

    async def _serve(self, first: "asyncio.Future[Lost | None]") -> None:
        budget = Budget(count_max=self._in_flight_max, bytes_max=self._bytes_max)
        try:
            async with asyncio.TaskGroup() as tasks:
                lost = await self._connect(budget, tasks)
                first.set_result(lost)
                if lost is None:
                    await self._keep_connected(budget, tasks)
                else:
                    self._count_lost(lost)
        finally:
            if self._connection is not None:
                self._connection.link.drop(Lost("adapter_ended", "the adapter has ended"))
                self._connection = None

    async def _keep_connected(self, budget: Budget, tasks: asyncio.TaskGroup) -> None:
        failures = 0
        since = self.clock.monotonic()
        while True:
            connection = self._connection
            if connection is not None:
                lost = await self._until_lost(connection)
                self._connection = None
                if lost.reason == FINISHED:
                    return
                self._tell_lost(lost)
                # What it brought may be delivered again: a redelivery must not overtake its original.
                await connection.carrier.idle()
                failures = 0 if self.clock.monotonic() - since > STEADY_AFTER_S else failures
            failures += 1
            await asyncio.sleep(backoff_s(failures, self._rng.random()))
            since = self.clock.monotonic()
            failed = await self._connect(budget, tasks)
            if failed is not None:
                self._tell_lost(failed)

    async def _connect(self, budget: Budget, tasks: asyncio.TaskGroup) -> Lost | None:
        """Return when subscribed; or why not."""
        self._connections += 1
        connection = self._connection = _Connection(self, budget, tasks, self._connections)
        connection.link.start()
        subscribed = asyncio.create_task(connection.subscribed.wait(), name="mqtt-subscribed")
        either: list[asyncio.Future[Any]] = [subscribed, connection.ended]
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            subscribed.cancel()
        if not connection.subscribed.is_set():
            self._connection = None
            return connection.ended.result()
        self._set_connected(connected=True)
        log.info("mqtt_broker_connected", url=self.options.url, client_id=self.options.client_id)
        return None

    async def _until_lost(self, connection: _Connection) -> Lost:
        """Return how the connection ended; until then devices hear what they must hear unasked."""
        while not connection.ended.done():
            await asyncio.wait({connection.ended}, timeout=NOTICES_EVERY_S)
            if notices := self.ingest.notices():
                connection.link.send([Reply(*notice) for notice in notices], [])
        return connection.ended.result()

    def _tell_lost(self, lost: Lost) -> None:
        self._set_connected(connected=False)
        self._count_lost(lost)
        log.warning("mqtt_broker_lost", reason=lost.reason, detail=lost.detail, cure=lost.cure)

    def _count_lost(self, lost: Lost) -> None:
        self.meter.count("gateway_mqtt_broker_sessions_total", reason=lost.reason)

    def _set_connected(self, *, connected: bool) -> None:
        self._connected = connected
        self.meter.level("gateway_mqtt_broker_connected", int(connected))


async def _leave(connection: _Connection, deadline_s: float) -> None:
    connection.link.pause()
    connection.carrier.close()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(max(0.0, deadline_s - FAREWELL_S)):
            await connection.carrier.idle()
    connection.link.finish()
    await asyncio.wait({connection.ended}, timeout=FAREWELL_S)


def backoff_s(failures: int, draw: float) -> float:
    """Return how long to wait after the n-th failure in a row, for a ``draw`` uniform in [0, 1)."""
    doublings = min(failures - 1, 16)  # beyond any cap
    return draw * min(BACKOFF_MAX_S, BACKOFF_INITIAL_S * 2.0**doublings)


def create_mqtt_broker_client(
    *,
    settings: MqttSettings,
    limits: LimitsSettings,
    ingest: Ingest,
    meter: Meter,
    clock: Clock,
    gateway_id: str,
    data_dir: Path,
) -> Adapter:
    """Return the client of the broker at ``settings.url``, not started. ``data_dir`` keeps the session's name."""
    return MqttBrokerClient(
        options=broker_options(settings, limits, gateway_id=gateway_id),
        in_flight_max=settings.in_flight_max,
        buffered_bytes_max=limits.mqtt_broker_buffered_bytes_max,
        hold_max_s=settings.hold_max_s,
        session=SessionFile(data_dir),
        ingest=ingest,
        meter=meter,
        clock=clock,
        rng=random.Random(),  # noqa: S311  jitter, not secrets
    )
