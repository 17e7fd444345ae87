"""What runs while the radio works: the scanner with its watchdog, the dispatcher of turns, the sessions.

One dispatcher connects, so links are made one at a time, from a fresh advertisement, while the scan goes on. Memory
is bounded by ``connections_max`` links, the roster's cap and the framings' caps.
"""

import asyncio
import random
from collections.abc import Coroutine, Sequence
from typing import Any

import structlog

from adapters.ble.advertisements import AdvertisementDecoder
from adapters.ble.bluez import BlueZ
from adapters.ble.camera import Camera
from adapters.ble.cameras import Cameras
from adapters.ble.desk import Desk
from adapters.ble.diagnosis import ABSENT, RadioError, told
from adapters.ble.directory import Directory, KnownDevice
from adapters.ble.framings import create_framing
from adapters.ble.profiles import Profile
from adapters.ble.radio import SCAN_CALL_TIMEOUT_S, Advert, Link, Scan, connect, links_left
from adapters.ble.recovery import Ladder, Rung
from adapters.ble.rescue import auto_recover
from adapters.ble.roster import Roster
from adapters.ble.sensors import GattReader, Sensors
from adapters.ble.session import SensorSession, Session
from adapters.ble.turn import Turn, TurnEnd
from gateway.errors import AdapterUnavailable
from gateway.ports import Clock, Meter, StatusSink
from gateway.settings import BleSettings, LimitsSettings

log = structlog.get_logger(__name__)

# How often the dispatcher and the watchdog look, when nothing wakes them.
LOOK_EVERY_S = 0.5
# Devices take up to two seconds to disconnect (bleak's client.py); a bluetoothd that takes five is stuck.
CLOSE_TIMEOUT_S = 5.0
# Links that are nobody's are rare; looking for them reads only what bleak knows already.
ADOPT_EVERY_S = 10.0


class BleService:
    """Opened and run by the adapter, again after each failure; the cameras and the ladder stay."""

    def __init__(
        self,
        *,
        settings: BleSettings,
        limits: LimitsSettings,
        directory: Directory,
        decoders: Sequence[AdvertisementDecoder],
        desk: Desk,
        clock: Clock,
        meter: Meter,
        status: StatusSink,
        rng: random.Random,
    ) -> None:
        self._settings = settings
        self._limits = limits
        self._directory = directory
        self._desk = desk
        self._clock = clock
        self._meter = meter
        self._rng = rng
        self._sensors = Sensors(
            settings=settings,
            directory=directory,
            decoders=decoders,
            desk=desk,
            clock=clock,
            meter=meter,
            status=status,
            spawn=self._spawn,
        )
        self._readers = {
            one.effective_device_id: GattReader(device=one, sensors=self._sensors, clock=clock)
            for one in settings.device
            if one.readings
        }
        self._held: dict[Link, KnownDevice] = {}
        self._ladder = Ladder()
        self._roster: Roster[tuple[KnownDevice, Advert]] = Roster()
        self._cameras = Cameras(
            create=self._new_camera,
            resume_bytes_max=settings.resume_bytes_max,
            resume_keep_s=settings.resume_keep_s,
            clock=clock,
        )
        self._judging: set[asyncio.Task[None]] = set()
        self._bluez: BlueZ | None = None
        self._scan: Scan | None = None
        self._wake = asyncio.Event()
        self._heard_s = 0.0
        self._ever_heard = False
        self._adopt_from_s = 0.0
        self._settling = False
        self._close_limit_s = CLOSE_TIMEOUT_S

    # --- life -----------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Return when scanning. Raises AdapterUnavailable, told with the cure."""
        self._settling = False
        self._close_limit_s = CLOSE_TIMEOUT_S
        self._roster = Roster()
        try:
            self._bluez = BlueZ(self._settings.adapter)
            await self._bluez.open()
            await self._start_scan()
            self._sensors.listens()
            await self._adopt()
        except RadioError as error:
            await self.close(CLOSE_TIMEOUT_S)
            self._meter.count("gateway_ble_failures_total", reason=error.reason)
            raise AdapterUnavailable(told(error)) from error

    async def run(self) -> None:
        """Serve the devices until the radio is gone: then raises AdapterUnavailable (perhaps in a group)."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_scanning(), name="ble-scan")
            tasks.create_task(self._dispatch(tasks), name="ble-dispatch")

    async def settle(self, deadline_s: float) -> None:
        """Begin no turn any more; wait for the intake's verdicts on what is whole, at most so long."""
        self._settling = True
        if self._judging:
            await asyncio.wait(self._judging, timeout=deadline_s)

    def hurry(self, limit_s: float) -> None:
        """Give each link at most so long to close from now on; what hangs is left to bluetoothd, and adopted later."""
        self._close_limit_s = min(limit_s, CLOSE_TIMEOUT_S)

    async def close(self, limit_s: float) -> None:
        """End undecided submissions; the links, the scan and the watch have ``limit_s`` each."""
        for task in self._judging:
            task.cancel()
        if self._judging:
            await asyncio.wait(self._judging)
        # Sessions close their links. These are the links of those that were cancelled before they began.
        held, self._held = tuple(self._held), {}
        await asyncio.gather(*(link.close(limit_s) for link in held))
        self._tell_links()
        scan, self._scan = self._scan, None
        if scan is not None:
            await scan.stop(limit_s)
        bluez, self._bluez = self._bluez, None
        if bluez is not None:
            await bluez.close(limit_s)

    async def command(self, device_id: str, name: str, value: int | None) -> bool:
        """Return True when the device was told. False: unknown, or not linked now. Raises CommandUnknown."""
        camera = self._cameras.linked(device_id)
        return camera is not None and await camera.tell(name, value)

    def describe(self) -> str:
        """Return which radio scans, and for how much."""
        return "" if self._bluez is None else f"Bluetooth {self._bluez.adapter_path.rsplit('/', 1)[-1]}"

    # --- scanning -------------------------------------------------------------------------------------

    async def _start_scan(self) -> None:
        assert self._bluez is not None, "not open"
        scan = Scan(self._bluez.adapter_path.rsplit("/", 1)[-1], self._advertised)
        await scan.start()
        self._scan = scan
        self._heard_s = self._clock.monotonic()

    async def _adopt(self) -> None:
        """Take over links that BlueZ holds and we do not: their devices do not advertise.

        A killed gateway leaves them, a Disconnect without an answer, and a bus connection that was closed with a scan
        of unknown fate. They are no sign of a scan that works. Raises RadioError.
        """
        self._adopt_from_s = self._clock.monotonic() + ADOPT_EVERY_S
        for advert in await links_left(self._settings.adapter, self._directory.services):
            if all(link.address != advert.address for link in self._held):
                log.info("ble_link_adopted", address=advert.address, name=advert.name)
                self._sighted(advert)

    async def _adopt_when_due(self) -> None:
        if self._clock.monotonic() < self._adopt_from_s:
            return
        try:
            await self._adopt()
        except RadioError as error:
            # The watch over BlueZ, or the scan, tells what is wrong.
            log.debug("ble_adoption_failed", reason=error.reason, detail=error.detail)

    def _advertised(self, advert: Advert) -> None:
        self._heard_s = self._clock.monotonic()
        self._ever_heard = True
        self._ladder.heard()
        self._sensors.advertised(advert)
        self._sighted(advert)

    def _sighted(self, advert: Advert) -> None:
        known = self._directory.connectable(advert.address, advert.name, advert.service_uuids)
        if known is not None:
            self._roster.saw(known.address, (known, advert), self._clock.monotonic(), linked=advert.linked)
            self._wake.set()

    async def _keep_scanning(self) -> None:
        assert self._bluez is not None, "not open"
        while True:
            await asyncio.wait({self._bluez.lost}, timeout=LOOK_EVERY_S)
            if self._bluez.lost.done():
                raise self._unavailable(self._bluez.lost.result())
            self._cameras.trim()
            await self._adopt_when_due()
            self._sensors.tell_silent({known.device_id for known in self._held.values()})
            if self._scan is None or self._clock.monotonic() - self._heard_s > self._settings.scan_silent_max_s:
                await self._climb()

    async def _climb(self) -> None:
        gently = self._scan is not None and (bool(self._held) or not self._ever_heard)
        rung = self._ladder.climb(self._clock.monotonic(), gently=gently)
        self._meter.count("gateway_ble_recovery_total", rung=rung)
        log.warning("ble_recovery", rung=rung, silent_s=round(self._clock.monotonic() - self._heard_s, 1))
        scan, self._scan = self._scan, None
        if scan is not None:
            await scan.stop(SCAN_CALL_TIMEOUT_S)
        try:
            await self._step_on(rung)
            await self._start_scan()
        except RadioError as error:
            self._meter.count("gateway_ble_failures_total", reason=error.reason)
            if error.reason in ABSENT:
                raise self._unavailable(error) from error
            log.warning("ble_recovery_failed", rung=rung, reason=error.reason, detail=error.detail)
            await asyncio.sleep(LOOK_EVERY_S)

    async def _step_on(self, rung: Rung) -> None:
        assert self._bluez is not None, "not open"
        if rung is Rung.POWER_CYCLE:
            await self._bluez.power_cycle()
        elif rung is Rung.AUTO_RECOVERY:
            with self._bluez.switching():
                await auto_recover(self._bluez.adapter_path, self._bluez.adapter_address)
        elif rung is Rung.UNHEALTHY:
            raise AdapterUnavailable(
                "Bluetooth: nothing is heard, and neither a new scan nor switching the adapter off and on helped. "
                "Restart bluetoothd (systemctl restart bluetooth), replug the adapter, or restart the machine."
            )

    def _unavailable(self, error: RadioError) -> AdapterUnavailable:
        self._meter.count("gateway_ble_failures_total", reason=error.reason)
        return AdapterUnavailable(told(error))

    # --- turns ----------------------------------------------------------------------------------------

    async def _dispatch(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            await self._look()
            turn = None if self._is_full() else self._roster.next(self._clock.monotonic())
            if turn is None:
                continue
            address, (known, advert) = turn
            self._roster.began(address)
            link = await self._connect(known, advert)
            if link is not None:
                self._held[link] = known
                self._tell_links()
                tasks.create_task(self._hold(known, advert, link), name=f"ble-{known.device_id}")

    async def _look(self) -> None:
        if not self._is_full() and self._roster.anybody_waits(self._clock.monotonic()):
            return
        self._wake.clear()
        try:
            async with asyncio.timeout(LOOK_EVERY_S):
                await self._wake.wait()
        except TimeoutError:
            return

    def _is_full(self) -> bool:
        return self._settling or len(self._held) >= self._settings.connections_max

    async def _connect(self, known: KnownDevice, advert: Advert) -> Link | None:
        try:
            return await connect(
                advert.device,
                name=known.device_id,
                timeout_s=self._settings.connect_timeout_s,
                gatt_timeout_s=self._settings.gatt_timeout_s,
            )
        except RadioError as error:
            self._over(known, error.reason, failed=True, detail=error.detail)
            return None

    async def _hold(self, known: KnownDevice, advert: Advert, link: Link) -> None:
        failed, reason, detail = True, "stopped", ""
        session: Session | SensorSession | None = None
        try:
            session = self._session(known, link)
            end = await session.run()
            failed, reason = end is TurnEnd.ONLY_DAMAGE, end.value
        except RadioError as error:
            reason, detail = error.reason, error.detail
        finally:
            closed = False
            try:
                closed = await link.close(self._close_limit_s)
            finally:
                if session is not None:
                    session.left()
                self._let_go(link, advert, reason, failed=failed, detail=detail, closed=closed)

    def _let_go(self, link: Link, advert: Advert, reason: str, *, failed: bool, detail: str, closed: bool) -> None:
        known = self._held.pop(link)
        self._cameras.trim()
        self._tell_links()
        self._over(known, reason, failed=failed or not closed, detail=detail)
        if not closed:
            # BlueZ may still hold the link: then it does not advertise, and its next turn begins without that.
            self._roster.saw(known.address, (known, advert), self._clock.monotonic(), linked=True)

    def _session(self, known: KnownDevice, link: Link) -> Session | SensorSession:
        now_s = self._clock.monotonic()
        turn = Turn(began_s=now_s, turn_max_s=self._settings.turn_max_s, others_wait=self._others_wait)
        profile = known.profile or self._directory.matching(link.services())
        reader = self._readers.get(known.device_id)
        if profile is None and reader is not None:
            return SensorSession(link=link, reader=reader, turn=turn, clock=self._clock)
        if profile is None:
            raise RadioError("profile_mismatch", "its services match no profile: write one (docs/PROTOCOLS-ble.md)")
        return Session(
            link=link,
            camera=self._cameras.of(known, profile),
            turn=turn,
            reader=reader,
            photo_interval_s=known.photo_interval_s,
            clock=self._clock,
        )

    def _others_wait(self) -> bool:
        return self._is_full() and self._roster.anybody_waits(self._clock.monotonic())

    def _over(self, known: KnownDevice, reason: str, *, failed: bool, detail: str) -> None:
        reader = self._readers.get(known.device_id)
        rest_s = reader.interval_s if reader is not None and reason == TurnEnd.DONE else 0.0
        now_s = self._clock.monotonic()
        self._roster.ended(known.address, now_s, failed=failed, jitter=self._rng.random(), rest_s=rest_s)
        self._meter.count("gateway_ble_sessions_total", reason=reason)
        log.info("ble_session_ended", device_id=known.device_id, reason=reason, detail=detail)
        self._wake.set()

    def _tell_links(self) -> None:
        self._meter.level("gateway_ble_links", len(self._held))

    # --- cameras --------------------------------------------------------------------------------------

    def _new_camera(self, known: KnownDevice, profile: Profile) -> Camera:
        framing = create_framing(
            profile,
            image_bytes_max=min(self._settings.image_bytes_max, self._limits.image_bytes_max),
            reading_bytes_max=self._limits.reading_bytes_max,
            attempts_max=self._settings.attempts_max,
            resume_keep_s=self._settings.resume_keep_s,
        )
        return Camera(
            device_id=known.device_id,
            profile=profile,
            framing=framing,
            desk=self._desk,
            clock=self._clock,
            meter=self._meter,
            spawn=self._spawn,
        )

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name="ble-judge")
        self._judging.add(task)
        task.add_done_callback(self._judged)

    def _judged(self, task: asyncio.Task[None]) -> None:
        self._judging.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # Our own bug: nothing was acknowledged. Told with its traceback; the device sends again.
            log.error("ble_judging_broke", exc_info=error)
