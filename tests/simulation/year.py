"""A site that sees the cloud an hour a month: the real intake and its policies, the real outbox on its file, the real
forwarder, virtual time. Only the model and the cloud are stand-ins.

Fifty devices send readings and pictures, keep what is not acknowledged and send it again;
some answers get lost. The gateway is stopped, killed (a copy of its files, as
the kernel has them, is where it goes on) and the machine started anew; the wall
clock jumps, or begins in 1970. After each day and each hour of connection the
rules are checked: the file is bounded, the ledger adds up, the drain is
complete and in order, and at the end each sequence is at the hub, or told.
"""

import asyncio
import inspect
import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, cast

from gateway.errors import Unavailable
from gateway.forwarder import Forwarder
from gateway.intake import GatewayIntake, IntakeLimits
from gateway.messages import ClockReading, OutboxState, Stamp
from gateway.outbox.sqlite_outbox import SqliteOutbox, open_outbox
from gateway.outbox.transaction import Transaction
from gateway.policies import Policies
from gateway.ports import EventStore, PendingQueue
from gateway.settings import CloudSettings, OutboxSettings, PolicyRuleSettings
from tests.fakes.intake import RecordingMeter
from tests.fakes.lossy_cloud import Arrival, LossyCloud, Weather
from tests.fakes.virtual_time import EPOCH, VirtualTimeLoop
from tests.simulation.year_devices import Device, PictureReader, Sent, counted_in, expected

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S
MONTH_DAYS = 30
NO_LINK = Weather(refuses_connect=1.0, latency_s=0.5)
# A satellite pass, or a van with a modem: it works, not well.
THE_HOUR = Weather(latency_s=0.2, session_s=900.0, drops_after=0.01, drops_before=0.01)
# The journal beside the file: SQLite checkpoints at 1000 pages of 4 KiB; with a margin.
WAL_BYTES_MAX = 8 * 1024 * 1024
# Bounds of the intake have tests of their own.
ROOM_FOR_ALL = IntakeLimits(
    in_flight_max=1000,
    in_flight_bytes_max=1 << 30,
    image_bytes_max=1 << 20,
    reading_bytes_max=1 << 20,
    submit_timeout_s=30.0,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class YearPlan:
    """How large a year is, and what the outbox does when it is full."""

    outbox: OutboxSettings
    days: int = 360
    devices: int = 50
    rounds_per_day: int = 1
    drain_order: str = "oldest_first"
    backoff_max_s: float = 1800.0
    cameras: int = 0  # so many of the devices; the others send readings
    rules: tuple[PolicyRuleSettings, ...] = ()
    restarts_per_month: int = 4
    text_bytes: int = 20  # of a reading
    forwarder_class: type[Forwarder] = Forwarder


class SiteClock:
    """A BootClock and Timekeeper on virtual time whose wall may be wrong."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._boots = 1
        self._booted_at_s = -1000.0
        self._wrong = timedelta()

    @property
    def boot_id(self) -> str:
        return f"boot-{self._boots}"

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self._loop.time()) + self._wrong

    def monotonic(self) -> float:
        return self._loop.time()

    def reading(self) -> ClockReading:
        return ClockReading(wall=self.now(), boottime_s=self._loop.time() - self._booted_at_s)

    def stamp(self) -> Stamp:
        return Stamp(reading=self.reading(), is_synced=self.wall_clock_trusted())

    def wall_clock_trusted(self) -> bool:
        return False  # nobody tells a site without a network

    def jump(self, by: timedelta) -> None:
        self._wrong = by

    def reboot(self) -> None:
        self._boots += 1
        self._booted_at_s = self._loop.time()


class NoJournal:
    """A CrashJournal: no native code runs here."""

    def working_on(self, payload_sha256: str) -> AbstractContextManager[None]:
        return nullcontext()


class Held:
    """An outbox for a virtual loop: the time stands still while its threads work."""

    def __init__(self, outbox: SqliteOutbox, loop: VirtualTimeLoop) -> None:
        self._outbox = outbox
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._outbox, name)
        if not inspect.iscoroutinefunction(found) or name == "wait_for_work":
            return found

        async def held(*args: Any, **parts: Any) -> Any:
            with self._loop.real_work():
                return await found(*args, **parts)

        return held


@dataclass(frozen=True, slots=True)
class CopyFiles:
    """A request to the writer that copies its files as they are: while it does, nobody else writes to them.

    Copied beside it, file by file, they would be of different moments, as no kill leaves them.
    """

    failpoint: ClassVar[str] = "copy_files"
    takes_space: ClassVar[bool] = False
    before: Path
    after: Path

    def apply(self, transaction: Transaction) -> None:
        shutil.copytree(self.before, self.after)


class Hub(LossyCloud):
    """Notes in which order events were sent for the first time."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng=rng, weather=NO_LINK)
        self.firsts: list[int] = []
        self._seen: set[int] = set()

    def offered(self, arrival: Arrival) -> None:
        new = [sequence for sequence in arrival.sequences if sequence not in self._seen]
        self._seen.update(new)
        self.firsts += new


class Year:
    """One run. ``run`` raises AssertionError when a rule is broken."""

    def __init__(self, seed: int, plan: YearPlan, folder: Path) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        self.plan = plan
        self.rng = random.Random(seed)
        self.hub = Hub(self.rng)
        self.accepted: dict[int, Sent] = {}  # by sequence
        self.refusals = 0
        self.repeats = 0
        self.file_bytes_peak = 0
        self._loop = loop
        self._folder = folder
        self._lives = 0
        self._clock = SiteClock(loop)
        self._sequences: dict[tuple[str, int], int] = {}
        self._policies = Policies(plan.rules)
        self._devices = [
            Device(f"device-{number:02}", is_camera=number < plan.cameras, text_bytes=plan.text_bytes)
            for number in range(plan.devices)
        ]
        self._task: asyncio.Task[None] | None = None

    async def run(self) -> OutboxState:
        """Live through it, and return how the outbox stands at its end."""
        self._begin(self._folder / "life-0")
        for month in range(self.plan.days // MONTH_DAYS):
            restarts = {self.rng.randrange(MONTH_DAYS) for _ in range(self.plan.restarts_per_month)}
            for day in range(MONTH_DAYS):
                await self._day(restart=day in restarts)
            await self._hour_of_connection(kill=month % 3 == 1)
        state = await self._settle()
        await self._end()
        self._check_all_accounted(state)
        return state

    # --- days ---

    async def _day(self, *, restart: bool) -> None:
        for _ in range(self.plan.rounds_per_day):
            for device in self._devices:
                device.measure()
            await asyncio.gather(*map(self._send, self._devices))
            await asyncio.sleep(DAY_S / self.plan.rounds_per_day)
        if restart:
            await self.rng.choice((self._restart, self._kill, self._reboot, self._jump))()
        await self._check_bounds()

    async def _send(self, device: Device) -> None:
        while device.unsent:
            number = device.unsent[0]
            try:
                receipt = await self._intake.submit(device.submission(number))
            except Unavailable:
                self.refusals += 1
                return
            self._note(receipt.sequence, Sent(device=device, number=number), is_duplicate=receipt.duplicate)
            if self.rng.random() < 0.02:
                return  # the answer was lost: it comes again
            del device.unsent[0]

    def _note(self, sequence: int, sent: Sent, *, is_duplicate: bool) -> None:
        self.repeats += is_duplicate
        name = (sent.device.name, sent.number)
        known = self._sequences.setdefault(name, sequence)
        assert known == sequence, f"{name} became events {known} and {sequence}"
        assert self.accepted.setdefault(sequence, sent) == sent, f"{sequence} was given twice"

    # --- the hour ---

    async def _hour_of_connection(self, *, kill: bool) -> None:
        high = max(self.accepted)
        self.hub.weather = THE_HOUR
        if kill:
            until_s = self._loop.time() + HOUR_S / 2
            await self._until(lambda: bool(self.hub.in_flight) or self._loop.time() > until_s)
            await self._kill()
        await asyncio.sleep(HOUR_S)
        self._check_drained(high, await self._outbox.state())
        self.hub.weather = NO_LINK
        self.hub.kick()

    async def _settle(self) -> OutboxState:
        """Let the rest go: what came in since the last hour, and the last tombstones."""
        self.hub.weather = Weather()
        windows = [rule.summary_window_s for rule in self.plan.rules if rule.summary != "off"]
        if windows:  # the last summaries go with the rest
            await asyncio.sleep(max(windows))
        await self._let_the_writer_look()
        await asyncio.sleep(4 * HOUR_S)
        return cast("OutboxState", await self._outbox.state())

    async def _let_the_writer_look(self) -> None:
        """Return when it has removed what is too old, and closed the windows that are over: it waits in real time."""
        while await self._outbox.prune_step(self._clock.now()):
            self._check_writer()
        await self._outbox.prune_step(self._clock.now())

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(1)

    # --- the gateway's lives ---

    def _begin(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._real = open_outbox(data_dir, settings=self.plan.outbox, clock=self._clock, meter=RecordingMeter())
        self._real.start()
        self._outbox: Any = Held(self._real, self._loop)
        self._intake = self._opened_intake()
        forwarder = self.plan.forwarder_class(
            queue=cast("PendingQueue", self._outbox),
            signal=self._real,
            link=self.hub,
            settings=self._cloud_settings(),
            gateway_id="site-1",
            clock=self._clock,
            meter=RecordingMeter(),
            rng=self.rng,
        )
        self._task = asyncio.create_task(forwarder.run())
        self._failed = asyncio.create_task(self._real.failed())

    def _opened_intake(self) -> GatewayIntake:
        intake = GatewayIntake(
            store=cast("EventStore", self._outbox),
            classifier=PictureReader(),
            limits=ROOM_FOR_ALL,
            journal=NoJournal(),
            is_poison=self._real.is_poison,
            mint_id=lambda: "every device gives its own",
            clock=self._clock,
            timekeeper=self._clock,
            meter=RecordingMeter(),
            policies=self._policies,
        )
        intake.open()
        return intake

    def _cloud_settings(self) -> CloudSettings:
        return CloudSettings.model_validate(
            {"drain_order": self.plan.drain_order, "backoff_max_s": self.plan.backoff_max_s}
        )

    async def _end(self) -> None:
        assert self._task is not None
        assert not self._task.done() or self._task.result() is None
        self._check_writer()
        self._failed.cancel()
        self._task.cancel()
        await asyncio.wait([self._task, self._failed])
        self._real.close()

    async def _restart(self) -> None:
        await self._end()
        self._begin(self._data_dir)

    async def _kill(self) -> None:
        """Go on with the files as they are at this moment: what was in memory only is gone."""
        self._lives += 1
        after = self._folder / f"life-{self._lives}"
        with self._loop.real_work():
            await self._real._writer.submit(CopyFiles(self._data_dir, after))
        await self._end()
        shutil.rmtree(self._data_dir)
        self._begin(after)

    async def _reboot(self) -> None:
        await self._end()
        self._clock.reboot()
        self._clock.jump(self.rng.choice((timedelta(), EPOCH.replace(year=1970) - EPOCH)))
        self._begin(self._data_dir)

    async def _jump(self) -> None:
        self._clock.jump(timedelta(days=self.rng.uniform(-400, 400)))

    # --- the rules ---

    def _check_writer(self) -> None:
        """Raise what ended the outbox's writer, if anything did."""
        if self._failed.done():
            self._failed.result()

    async def _check_bounds(self) -> None:
        self._check_writer()
        state = await self._outbox.state()
        check_ledger(state)
        caps = self.plan.outbox
        held = state.pending + state.delivered + state.held_back + state.dead
        assert held <= caps.rows_max, f"{held} rows of {caps.rows_max}"
        sizes = [path.stat().st_size for path in self._data_dir.glob("outbox.db*")]
        self.file_bytes_peak = max(self.file_bytes_peak, *sizes)
        assert (self._data_dir / "outbox.db").stat().st_size <= caps.bytes_max
        assert sum(sizes) <= caps.bytes_max + WAL_BYTES_MAX

    def _check_drained(self, high: int, state: OutboxState) -> None:
        missing = [s for s in range(1, high + 1) if s not in self.hub.sequences and s not in self.hub.buried]
        assert not missing, f"after the hour {len(missing)} are neither there nor told, from {missing[0]} on"
        if self.plan.drain_order == "oldest_first" and not self.plan.rules:
            assert self.hub.firsts == sorted(self.hub.firsts), "not drained in order"
        check_ledger(state)

    def _check_all_accounted(self, state: OutboxState) -> None:
        items = {sequence: item for (_, _, sequence), item in self.hub.items.items()}
        summaries = {sequence for sequence, item in items.items() if item["kind"] == "summary"}
        assert set(self.accepted) | summaries == set(range(1, state.sequence_high + 1)), "sequences have gaps"
        assert not summaries & set(self.accepted), "a summary has the sequence of an event"
        for sequence, sent in self.accepted.items():
            item = items.get(sequence)
            assert item is not None or sequence in self.hub.buried, f"{sequence} is neither at the hub nor told"
            assert item is None or item["submission_id"] == f"{sent.device.name}-{sent.number}"
        assert (state.pending, state.dead, state.tombstones_pending) == (0, 0, 0)
        told = self.hub.buried - self.hub.sequences
        gone = state.evicted_total + state.expired_total + state.filtered_total + state.summarised_total
        assert len(told) <= gone <= len(self.hub.buried), f"{gone} went by policy, {len(told)} were told"
        check_ledger(state)
        self._check_policies(state, [items[sequence] for sequence in summaries])

    def _check_policies(self, state: OutboxState, summaries: Sequence[Mapping[str, Any]]) -> None:
        """Compare with the rules, applied a second time; where the oldest make room some of it is gone."""
        right = expected(self.accepted, {device.name: self._rule_of(device) for device in self._devices})
        held_back = (state.filtered_total, state.summarised_total)
        assert held_back == (len(right.filtered), len(right.summarised)), f"held back {held_back}"
        sent = self.hub.sequences & set(self.accepted)
        assert sent <= right.pending, f"{min(sent - right.pending)} was sent, and was to be held back"
        assert right.filtered | right.summarised <= self.hub.buried, "what was held back is not told"
        counted = counted_in(summaries)
        assert counted == right.counted, f"summaries count {counted}, right is {right.counted}"

    def _rule_of(self, device: Device) -> PolicyRuleSettings:
        """Return the rule for a device; a year's rules name each device once, by its id's beginning."""
        found = [rule for rule in self.plan.rules if device.name.startswith(rule.device.rstrip("*"))]
        assert len(found) <= 1, f"{len(found)} rules are for {device.name}"
        return found[0] if found else PolicyRuleSettings(priority=5)


def check_ledger(state: OutboxState) -> None:
    """Accepted is delivered, pending, dead, evicted, expired, filtered and summarised together."""
    gone = state.evicted_total + state.expired_total + state.filtered_total + state.summarised_total
    assert state.sequence_high == state.pending + state.dead + state.delivered_total + gone, f"no sum: {state}"
