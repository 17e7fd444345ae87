"""The composition root: builds the parts, starts them downstream first, stops them upstream first.

The only importer of ``adapters``. Start: lock and open the outbox → load the
model → forwarder → intake → adapters; the cloud never delays readiness. Stop,
inside Docker's 10 s: unready → adapters stop accepting and finish what they
admitted → the rest stays pending → checkpoint, close.
"""

import asyncio
import contextlib
import random
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

import structlog
import uuid6

from adapters import AdapterParts, build_adapters, build_admin_face
from gateway import RELEASED_AT, __version__
from gateway.bundles import ensure_key
from gateway.clock import SystemClock
from gateway.cloud.child_link import AzureIotHubLink
from gateway.cloud.provisioning import AssignmentFile
from gateway.command_desk import CommandDesk
from gateway.control import ControlServer, Handler
from gateway.crash_journal import MappedCrashJournal
from gateway.device_board import DeviceBoard
from gateway.device_commands import command_body, parse_device_command
from gateway.devices.gatekeeper import Gatekeeper
from gateway.errors import OperatorError, Unavailable
from gateway.forwarder import Forwarder
from gateway.forwarding.allowance import Allowance
from gateway.forwarding.spending_file import SpendingFile
from gateway.health import Health, PartHealth, PartState
from gateway.intake import GatewayIntake, IntakeLimits
from gateway.limits import Limits, derive_limits
from gateway.machine import usable_cores
from gateway.messages import Command
from gateway.metrics import Metrics
from gateway.outbox.sqlite_outbox import SqliteOutbox, open_outbox
from gateway.policies import Policies
from gateway.ports import Adapter, CloudLink, CommandTarget
from gateway.respawn import LAST_EXIT_VARIABLE, ended_by_native_crash
from gateway.settings import Settings
from gateway.supervisor import keep_running, serve_adapter
from gateway.timekeeping.kernel import KernelClock
from gateway.timekeeping.trust import Doctrine, TrustMode
from gateway.timekeeping.watch import ClockWatch
from gateway.tls.listeners import listeners_tls
from gateway.vision.classifier import TfliteClassifier, load_classifier

log = structlog.get_logger(__name__)

# Together below Docker's 10 s, with room for the interpreter's own end.
# A broker that does not answer must not hold back the banner of those that serve.
FIRST_TRIES_S = 5.0
ADAPTER_STOP_DEADLINE_S = 4.0
CLASSIFIER_STOP_DEADLINE_S = 1.0
JOURNAL_NAME = "in-work"
STATE_REFRESH_S = 5.0


class App:
    """One gateway. ``await run(stop)`` serves until ``stop`` is set; what ends it otherwise is a crash."""

    outbox: SqliteOutbox
    classifier: TfliteClassifier
    intake: GatewayIntake
    health: Health
    board: DeviceBoard
    commands: CommandDesk
    clock_watch: ClockWatch
    link: CloudLink | None = None
    forwarder: Forwarder | None = None
    allowance: Allowance | None = None

    def __init__(self, settings: Settings, *, environment: Mapping[str, str]) -> None:
        self.settings = settings
        self.clock = SystemClock()
        self.metrics = Metrics()
        self.limits: Limits = derive_limits(settings, cpu_count=usable_cores())
        self.adapters: list[tuple[Adapter, PartHealth]] = []
        self.tls = listeners_tls(settings, self.clock)
        self._environment = environment
        self._rng = random.Random()  # noqa: S311  jitter, not secrets

    async def run(self, stop: asyncio.Event, *, on_ready: Callable[["App"], Awaitable[None]]) -> None:
        """Serve until ``stop`` is set. ``on_ready`` is called once, when every adapter had its first try."""
        async with contextlib.AsyncExitStack() as downstream:
            await self._open_downstream(downstream)
            async with asyncio.TaskGroup() as tasks:
                inner = [tasks.create_task(self._refresh_metrics(), name="metrics")]
                inner.append(tasks.create_task(self._watch_clock(), name="clock"))
                inner += self._start_forwarder(tasks)
                control = ControlServer(self.settings.gateway.data_dir, self._control_handlers())
                await control.start()
                self.intake.open()
                inner += self._start_desks(tasks)
                outer = await self._start_adapters(tasks)
                await on_ready(self)
                inner += self._start_care(tasks)
                await self._until_stopped(stop)
                self.intake.close()
                await _cancelled(outer)
                await control.stop()
                await _cancelled(inner)
            await self._close_link()
        log.info("gateway_stopped")

    async def _until_stopped(self, stop: asyncio.Event) -> None:
        """Return when asked to stop; an outbox whose writer died is fatal: crash-only."""
        stopping = asyncio.create_task(stop.wait(), name="stop_requested")
        broken = asyncio.create_task(self.outbox.failed(), name="outbox_watch")
        try:
            done, _ = await asyncio.wait({stopping, broken}, return_when=asyncio.FIRST_COMPLETED)
            if broken in done:
                broken.result()
            log.info("gateway_stopping")
        finally:
            await _cancelled([stopping, broken])

    # --- parts ---

    async def _open_downstream(self, stack: contextlib.AsyncExitStack) -> None:
        settings = self.settings
        data_dir = settings.gateway.data_dir
        self.outbox: SqliteOutbox = await asyncio.to_thread(
            open_outbox, data_dir, settings=settings.outbox, clock=self.clock, meter=self.metrics
        )
        await asyncio.to_thread(self._make_bundle_key)
        self.outbox.start()
        stack.push_async_callback(asyncio.to_thread, self.outbox.close)
        self.clock_watch = self._build_clock_watch()
        await self.clock_watch.look()  # so that the first event has its stamp
        journal = MappedCrashJournal(data_dir / JOURNAL_NAME, slots=self.limits.in_flight_max)
        stack.callback(journal.close)
        await self._accuse(journal)
        self.classifier: TfliteClassifier = await asyncio.to_thread(
            load_classifier,
            settings.model,
            workers=self.limits.workers,
            pixels_max=self.limits.pixels_max,
            meter=self.metrics,
            queue_max=self.limits.classify_queue_max,
        )
        stack.push_async_callback(asyncio.to_thread, self.classifier.close, CLASSIFIER_STOP_DEADLINE_S)
        self.outbox.gather_while(lambda: self.classifier.is_backed_up)
        self.intake = self._build_intake(journal)
        self._build_desks()
        self.health = Health(intake_obstacles=self.intake.obstacles, started_s=self.clock.monotonic())

    def _make_bundle_key(self) -> None:
        try:
            ensure_key(self.settings.gateway.data_dir)
        except (OSError, OperatorError) as error:  # a full disk, say: it is made at the first export then
            log.warning("bundle_key_missing", error=str(error))

    def _build_clock_watch(self) -> ClockWatch:
        mode = TrustMode(self.settings.clock.trust)
        known = self.outbox.book.current.offsets
        return ClockWatch(
            clock=self.clock,
            evidence=KernelClock().evidence,
            doctrine=Doctrine(mode=mode, not_before=RELEASED_AT),
            believed=known[-1] if known else None,
            keeper=self.outbox,
            meter=self.metrics,
            on_corrected=self._tell_times_anew,
        )

    def _tell_times_anew(self) -> None:
        if self.forwarder is not None:
            self.forwarder.reread()

    async def _watch_clock(self) -> None:
        await keep_running("clock", self.clock_watch.run, clock=self.clock, rng=self._rng)

    async def _accuse(self, journal: MappedCrashJournal) -> None:
        last_exit = self._environment.get(LAST_EXIT_VARIABLE)
        if journal.leftovers and ended_by_native_crash(last_exit):
            log.error("crash_suspects", last_exit=last_exit, payload_sha256=journal.leftovers)
            await self.outbox.record_crash(journal.leftovers)

    def _build_intake(self, journal: MappedCrashJournal) -> GatewayIntake:
        limits = self.settings.limits
        return GatewayIntake(
            store=self.outbox,
            classifier=self.classifier,
            limits=IntakeLimits(
                in_flight_max=self.limits.in_flight_max,
                in_flight_bytes_max=self.limits.in_flight_bytes_max,
                image_bytes_max=limits.image_bytes_max,
                reading_bytes_max=limits.reading_bytes_max,
                submit_timeout_s=limits.submit_timeout_s,
            ),
            journal=journal,
            is_poison=self.outbox.is_poison,
            mint_id=lambda: str(uuid6.uuid7()),
            clock=self.clock,
            timekeeper=self.clock_watch,
            meter=self.metrics,
            policies=Policies(self.settings.policy.rule),
        )

    def _start_forwarder(self, tasks: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        settings = self.settings
        if not settings.cloud.configured:
            return []
        self.link = AzureIotHubLink(
            settings=settings.cloud,
            gateway_id=settings.gateway.id,
            clock=self.clock_watch,
            meter=self.metrics,
            on_command=self.commands.take,
            assignments=AssignmentFile(settings.gateway.data_dir),
        )
        self.allowance = self._allowance()
        forwarder = self.forwarder = Forwarder(
            queue=self.outbox,
            signal=self.outbox,
            link=self.link,
            settings=settings.cloud,
            gateway_id=settings.gateway.id,
            clock=self.clock_watch,
            meter=self.metrics,
            rng=self._rng,
            allowance=self.allowance,
        )
        supervised = keep_running("forwarder", forwarder.run, clock=self.clock, rng=self._rng)
        return [tasks.create_task(supervised, name="forwarder")]

    def _allowance(self) -> Allowance:
        return Allowance(
            settings=self.settings.cloud,
            file=SpendingFile(self.settings.gateway.data_dir),
            clock=self.clock_watch,
            timekeeper=self.clock_watch,
            age_s=self.outbox.age.age_s,
            meter=self.metrics,
        )

    def _build_desks(self) -> None:
        settings = self.settings
        self.board = DeviceBoard(
            intake=self.intake, events=settings.devices.status_events, clock=self.clock, meter=self.metrics
        )
        self.commands = CommandDesk(
            store=self.outbox,
            intake=self.intake,
            targets=self._command_targets,
            gateway_id=settings.gateway.id,
            keep_s=settings.devices.command_keep_s,
            clock=self.clock,
            meter=self.metrics,
        )

    def _start_care(self, tasks: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        """Take out what is left of a file that was damaged, and then look at the present one again and again."""

        async def care() -> None:
            await self.outbox.salvage()
            await self.outbox.checker.run()
            await asyncio.Event().wait()  # never checked, or damaged: then the gateway ends

        return [tasks.create_task(keep_running("outbox_care", care, clock=self.clock, rng=self._rng), name="care")]

    def _start_desks(self, tasks: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        desks = {"commands": self.commands.run, "devices": self.board.run}
        return [
            tasks.create_task(keep_running(name, run, clock=self.clock, rng=self._rng), name=name)
            for name, run in desks.items()
        ]

    def _command_targets(self) -> Sequence[CommandTarget]:
        """Return the serving faces that can tell devices something, in the order of adapters.FACTORIES."""
        serving = (adapter for adapter, part in self.adapters if part.state is PartState.SERVING)
        return tuple(adapter for adapter in serving if isinstance(adapter, CommandTarget))

    async def _close_link(self) -> None:
        if self.link is not None:
            await self.link.close()

    async def _start_adapters(self, tasks: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        """Start every enabled face under supervision; return when each had its first try, or after FIRST_TRIES_S."""
        devices = build_adapters(self.settings, self._adapter_parts())
        admin = build_admin_face(self.settings, devices, metrics=self._metrics_text, health=self.health_detail)
        faces = (*devices, *(() if admin is None else (admin,)))
        self.adapters = [(adapter, self.health.part(adapter.name)) for adapter in faces]
        supervised, tried = [], []
        for adapter, part in self.adapters:
            first_try = asyncio.Event()
            tried.append(first_try.wait())
            supervised.append(tasks.create_task(self._keep_adapter(adapter, part, first_try), name=adapter.name))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_TRIES_S):
                await asyncio.gather(*tried)
        return supervised

    def _adapter_parts(self) -> AdapterParts:
        return AdapterParts(
            intake=self.intake,
            reader=self.outbox,
            readiness=self.health,
            meter=self.metrics,
            clock=self.clock_watch,
            version=__version__,
            model_name=self.classifier.model.name,
            labels=self.classifier.description.labels,
            status=self.board,
            gatekeeper=Gatekeeper(self.settings.gateway.data_dir, clock=self.clock, meter=self.metrics),
            http_tls=self.tls.http,
            mqtt_tls=self.tls.mqtt,
        )

    async def _keep_adapter(self, adapter: Adapter, part: PartHealth, tried: asyncio.Event) -> None:
        def started() -> None:
            part.state = PartState.SERVING
            log.info("adapter_serves", adapter=adapter.name, at=adapter.describe())
            tried.set()

        async def serve() -> None:
            try:
                await serve_adapter(adapter, on_started=started, stop_deadline_s=ADAPTER_STOP_DEADLINE_S)
            finally:
                part.state = PartState.FAILED
                tried.set()

        await keep_running(adapter.name, serve, clock=self.clock, rng=self._rng)

    def _metrics_text(self) -> bytes:
        self.metrics.level("gateway_tasks", len(asyncio.all_tasks()))
        self.metrics.level("gateway_heap_blocks", sys.getallocatedblocks())
        return self.metrics.exposition()

    async def _refresh_metrics(self) -> None:
        while True:
            # A disk that can't be read now: the gauges stay as they were; who writes to it says what is wrong.
            with contextlib.suppress(Unavailable):
                await self.outbox.state()
            await asyncio.sleep(STATE_REFRESH_S)

    # --- what commands and the admin face ask ---

    def _control_handlers(self) -> dict[str, Handler]:
        async def status(_: Mapping[str, Any]) -> Mapping[str, Any]:
            return self.health_detail()

        async def requeue(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
            sequences = arguments.get("sequences")
            count = await self.outbox.requeue(None if sequences is None else tuple(int(s) for s in sequences))
            return {"requeued": count}

        async def devices(_: Mapping[str, Any]) -> Mapping[str, Any]:
            return {"devices": [known.document() for known in self.board.devices()]}

        async def command(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
            command_id = str(uuid6.uuid7())
            body = command_body(arguments["device_id"], arguments["command"], arguments.get("value"))
            given = Command(command_id=command_id, received_at=self.clock.now(), body=body, properties={})
            parse_device_command(given)
            await self.commands.take(given)
            return {"command_id": command_id}

        async def record_bundle(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
            keys = [(int(first), int(last)) for first, last in arguments["keys"]]
            await self.outbox.record_bundle(arguments["sha256"], keys, arguments["tombstone_ids"])
            return {}

        async def acknowledge_bundle(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
            marked = await self.outbox.acknowledge_bundle(arguments["sha256"])
            if marked and self.forwarder is not None:
                self.forwarder.reread()  # what it has read ahead need not be sent
            return {"marked": marked}

        handlers = (status, requeue, devices, command, record_bundle, acknowledge_bundle)
        return {handler.__name__: handler for handler in handlers}

    def health_detail(self) -> Mapping[str, Any]:
        """Return the standing of every part, as a JSON object for people and machines."""
        model = self.classifier.model
        return {
            "version": __version__,
            "gateway_id": self.settings.gateway.id,
            "started_at": self._started_at().isoformat(),
            "ready": not self.health.obstacles(),
            "obstacles": list(self.health.obstacles()),
            "troubles": list(self.health.troubles()),
            "model": {"name": model.name, "sha256": model.model_sha256, "runtime": model.runtime},
            "adapters": {name: where or "not serving" for name, where in self.faces()},
            "uplink": self.uplink(),
            "clock": self.clock_status(),
            "flash": asdict(self.outbox.flash_wear),
            "outbox": self._outbox_status(),
        }

    def _outbox_status(self) -> Mapping[str, Any]:
        """Return whether the file is sound, as far as it was read, and what became of those that were not."""
        check = asdict(self.outbox.checker.state) | {"sound_at": _iso(self.outbox.checker.state.sound_at)}
        return {
            "check": check,
            "set_aside": [asdict(salvage) for salvage in self.outbox.set_aside],
            "ballast_is_out": self.outbox.ballast_is_out,
        }

    def faces(self) -> list[tuple[str, str]]:
        """Return the name of each adapter and where it serves; an empty text while it does not."""
        return [
            (adapter.name, adapter.describe() if part.state is PartState.SERVING else "")
            for adapter, part in self.adapters
        ]

    def _started_at(self) -> datetime:
        """Return when this process started, by the clock as it is known now."""
        return self.clock_watch.now() - timedelta(seconds=self.clock.monotonic() - self.health.started_s)

    def clock_status(self) -> Mapping[str, Any]:
        """Return whether the wall clock is believed, and who vouches for it."""
        status = self.clock_watch.status
        return {"trusted": status.is_trusted, "source": status.source, "jumps": status.jumps, "now": _iso(status.now)}

    def uplink(self) -> Mapping[str, Any]:
        """Return the state of the cloud link."""
        if self.forwarder is None or self.allowance is None:
            return {"state": "not configured", "reason": "buffering", "since": None, "last_acknowledged_at": None}
        status = self.forwarder.status
        return {
            "state": status.state,
            "reason": status.reason,
            "since": _iso(status.since),
            "last_acknowledged_at": _iso(status.last_acknowledged_at),
            "next_attempt_in_s": None if status.next_attempt_in_s is None else round(status.next_attempt_in_s, 1),
            "allowance": self.allowance.state().document(),
        }


async def _cancelled(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancel ``tasks`` and return when all have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
