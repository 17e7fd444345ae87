"""One link with a camera: notifications on, what the framing says written, time told; until lost or its turn is over.

Ends by itself for: the link lost, a call that failed or was not answered, a camera that sends only damage, and, when
others wait, a camera that has said what it had to say or has used up its turn.
"""

import asyncio
from functools import partial

import structlog
from bleak.backends.characteristic import BleakGATTCharacteristic

from adapters.ble.camera import Camera
from adapters.ble.contract import Write
from adapters.ble.diagnosis import RadioError
from adapters.ble.profiles import NotifyMode
from adapters.ble.radio import Link
from adapters.ble.sensors import GattReader
from adapters.ble.turn import Turn, TurnEnd
from gateway.ports import Clock

log = structlog.get_logger(__name__)

# The contract of Framing.ticked: at least twice a second.
TICK_S = 0.25
# ATT's own smallest, where the link does not tell (Bluetooth Core, Vol 3 Part F 5.2.1: 23 less three of head).
ATT_PAYLOAD_MIN = 20
WRITES_MAX = 256


class Session:
    """Use once. ``run`` returns why it ended; the caller closes the link, then says so by ``left``."""

    def __init__(
        self,
        *,
        link: Link,
        camera: Camera,
        turn: Turn,
        reader: GattReader | None,
        photo_interval_s: float,
        clock: Clock,
    ) -> None:
        self._link = link
        self._reader = reader
        self._camera = camera
        self._turn = turn
        self._photo_interval_s = photo_interval_s
        self._photo_due_s = clock.monotonic() + photo_interval_s
        self._clock = clock
        self._writes: asyncio.Queue[tuple[Write, asyncio.Future[bool]]] = asyncio.Queue(WRITES_MAX)
        self._rows: dict[str, BleakGATTCharacteristic] = {}
        self._attached = False

    async def run(self) -> TurnEnd:
        """Speak with the camera. Raises RadioError when the link fails."""
        self._find_rows()
        # Before notifications are on: a camera may send the moment they are. What it says to write waits until then.
        self._camera.attach(self._send, att_payload_max=self._att_payload_max())
        self._attached = True
        await self._subscribe()
        return await self._speak()

    def left(self) -> None:
        """Take note that the link is closed. Not before: a picture may come while it closes, and is to be counted."""
        if self._attached:
            self._camera.detach()
        while not self._writes.empty():
            _tell(self._writes.get_nowait()[1], written=False)

    async def _speak(self) -> TurnEnd:
        while True:
            end = self._ended()
            if end is not None:
                return end
            await self._write_next()
            self._camera.ticked()
            if self._reader is not None:
                await self._reader.read_when_due(self._link)
            self._take_photo_when_due()

    def _ended(self) -> TurnEnd | None:
        if self._link.lost.is_set():
            return TurnEnd.LOST
        return self._turn.ended(
            self._clock.monotonic(),
            settled=self._camera.settled and self._writes.empty(),
            faults_in_a_row=self._camera.faults_in_a_row,
        )

    async def _write_next(self) -> None:
        """Write what waits, or return when it is time to tick."""
        try:
            async with asyncio.timeout(TICK_S):
                write, done = await self._writes.get()
        except TimeoutError:
            return
        try:
            await self._link.write(self._rows[write.role], write.data, with_response=write.with_response)
            _tell(done, written=True)
        finally:
            # Failed or cancelled: nobody knows whether the device heard it.
            _tell(done, written=False)

    def _take_photo_when_due(self) -> None:
        now_s = self._clock.monotonic()
        if self._photo_interval_s and now_s >= self._photo_due_s:
            self._photo_due_s = now_s + self._photo_interval_s
            self._camera.command("photo")

    def _send(self, write: Write) -> asyncio.Future[bool]:
        done = asyncio.get_running_loop().create_future()
        try:
            self._writes.put_nowait((write, done))
        except asyncio.QueueFull:
            log.warning("ble_writes_dropped", device_id=self._camera.device_id, waiting=WRITES_MAX)
            done.set_result(False)
        return done

    # --- characteristics ------------------------------------------------------------------------------

    def _find_rows(self) -> None:
        profile = self._camera.profile
        for one in profile.characteristic:
            row = self._link.characteristic(profile.service, one.uuid)
            if row is None:
                raise RadioError("profile_mismatch", f"the device has no {one.role} characteristic {one.uuid}")
            self._rows[one.role] = row

    async def _subscribe(self) -> None:
        acquire = self._camera.profile.notify_mode is NotifyMode.ACQUIRE_NOTIFY
        for one in self._camera.profile.subscribed:
            await self._link.subscribe(self._rows[one.role], partial(self._camera.notified, one.role), acquire=acquire)

    def _att_payload_max(self) -> int:
        sizes = [row.max_write_without_response_size for row in self._rows.values()]
        return max(min(sizes, default=ATT_PAYLOAD_MIN), ATT_PAYLOAD_MIN)


def _tell(done: asyncio.Future[bool], *, written: bool) -> None:
    if not done.done():
        done.set_result(written)


class SensorSession:
    """One link with a sensor that is no camera: read once, or listen until it is lost or the turn is over."""

    def __init__(self, *, link: Link, reader: GattReader, turn: Turn, clock: Clock) -> None:
        self._link = link
        self._reader = reader
        self._turn = turn
        self._clock = clock

    async def run(self) -> TurnEnd:
        """Have its values. Raises RadioError when the link fails."""
        if not self._reader.notify:
            await self._reader.read_when_due(self._link)
            return TurnEnd.DONE
        await self._reader.subscribe(self._link)
        while not self._link.lost.is_set():
            end = self._turn.ended(self._clock.monotonic(), settled=False, faults_in_a_row=0)
            if end is not None:
                return end
            await asyncio.sleep(TICK_S)
        return TurnEnd.LOST

    def left(self) -> None:
        """Take note that the link is closed: nothing of a sensor is under way."""
