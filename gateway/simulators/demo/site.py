"""The demo's site: builds it, plays the timeline, drains, and gives the verdict.

Real: the gateway's process, its SQLite file, the azure SDK, every protocol. Simulated: the devices and the hub. What
this machine does not have (a broker, dbus) is left out and said.
"""

import asyncio
import contextlib
import json
import shutil
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from gateway.errors import GatewayError, OperatorError
from gateway.messages import EventState, OutboxState
from gateway.outbox.inspection import list_events, read_policy_counts, read_state
from gateway.simulators.demo.broker import DemoBroker
from gateway.simulators.demo.devices import DemoDevices
from gateway.simulators.demo.gallery import Gallery
from gateway.simulators.demo.gateway_process import DemoGateway
from gateway.simulators.demo.logbook import Logbook
from gateway.simulators.demo.options import DemoOptions
from gateway.simulators.demo.pulled import DemoPulledCamera
from gateway.simulators.demo.radio import DemoRadio
from gateway.simulators.demo.timeline import Happening
from gateway.simulators.demo.verdict import Ledger, Received, StillHere, Verdict, judge
from gateway.simulators.demo.view import View
from gateway.simulators.devices.mqtt_messages import Form
from gateway.simulators.iot_hub.hub import HubOptions, IotHub

GATEWAY_ID = "demo-site"
HUB_DEVICE = "gw1"
LOOK_EVERY_S = 0.5
# The hub is well again, the gateway's back-off is short here, and everything is on the same machine.
DRAIN_TIMEOUT_S = 90.0
# Deadlines short enough that an outage of ten seconds shows everything; a real site keeps the defaults.
_IMPATIENT = {
    "GATEWAY_CLOUD__KEEP_ALIVE_S": "5",
    "GATEWAY_CLOUD__SEND_TIMEOUT_S": "4",
    "GATEWAY_CLOUD__CONNECT_TIMEOUT_S": "8",
    "GATEWAY_CLOUD__BACKOFF_INITIAL_S": "0.2",
    "GATEWAY_CLOUD__BACKOFF_MAX_S": "2",
    "GATEWAY_CLOUD__BATCH_WAIT_S": "0.3",
    "GATEWAY_CLOUD__TOMBSTONE_WAIT_S": "2",
}
SENSOR = "cold-store"
# A sensor that sends each second is told as counts; a window is short enough to be seen closing.
_RULES = [{"device": SENSOR, "kind": "reading", "summary": "instead", "summary_window_s": 5}]


class DemoSite:
    """One run. ``look`` is called twice a second with what is to be seen."""

    def __init__(self, options: DemoOptions, *, look: Callable[[View, Logbook], None]) -> None:
        self._options = options
        self._look = look
        self._view = View(duration_s=options.duration_s)
        self._received = Received()
        self._taken = 0
        self._started_s = time.monotonic()
        self._cut_short = asyncio.Event()
        self.logbook = Logbook()
        self._gallery = Gallery(options.pictures, seed=options.seed)
        self._pulled = DemoPulledCamera(self.logbook, options, self._gallery)

    async def run(self) -> Verdict:
        """Play it all and return the verdict. Raises OperatorError when the site can't be built."""
        options = self._options
        options.folder.mkdir(parents=True, exist_ok=True)
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, self._cut)
        self._look(self._view, self.logbook)
        hub_options = HubOptions(directory=options.folder / "hub", device_ids=(HUB_DEVICE,))
        radio = DemoRadio(self.logbook, options, self._gallery)
        async with self._gallery, IotHub(hub_options) as hub, self._broker() as broker, radio, self._pulled:
            environment = {
                **hub.describe().environment(HUB_DEVICE),
                **_IMPATIENT,
                "GATEWAY_POLICY__RULE": json.dumps(_RULES),
                **radio.environment,
                **self._pulled.environment,
            }
            if radio.missing:
                self._view.left_out.append(radio.missing)
            if broker is not None:
                environment["GATEWAY_MQTT__URL"] = broker.url
            gateway = DemoGateway(options.folder, gateway_id=GATEWAY_ID, environment=environment)
            devices = DemoDevices(
                self.logbook,
                seed=options.seed,
                interval_s=options.interval_s,
                gallery=self._gallery,
            )
            try:
                return await self._play(hub, broker, radio, gateway, devices)
            finally:
                await gateway.stop()

    @contextlib.asynccontextmanager
    async def _broker(self) -> AsyncIterator[DemoBroker | None]:
        if shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin") is None:
            self._view.left_out.append("a broker: mosquitto is not installed (apt-get install mosquitto)")
            yield None
            return
        broker = DemoBroker(self._options.folder / "broker")
        await broker.start()
        try:
            yield broker
        finally:
            await broker.stop()

    async def _play(
        self, hub: IotHub, broker: DemoBroker | None, radio: DemoRadio, gateway: DemoGateway, devices: DemoDevices
    ) -> Verdict:
        self._view.phase = "starting the gateway"
        looking = asyncio.create_task(self._keep_looking(hub, radio, gateway), name="demo-look")
        try:
            await gateway.start()
            self._begin(devices, gateway, broker)
            self._view.phase, self._view.is_running = "running", True
            await self._happenings(hub, gateway)
            self._view.phase, self._view.is_running = "devices stop; the backlog drains", False
            self._tell("devices stop")
            await devices.stop(asyncio.to_thread)
            await radio.stop()
            await self._pulled.stop()
            await self._drained(gateway)
        finally:
            looking.cancel()
            await asyncio.wait({looking})
        if not looking.cancelled():
            looking.result()  # what it raised: a screen that stood still would have told nothing
        await gateway.stop()
        return self._verdict(hub, gateway)

    def _begin(self, devices: DemoDevices, gateway: DemoGateway, broker: DemoBroker | None) -> None:
        devices.http_camera("barn-camera", gateway.http)
        devices.http_camera("gate-camera", gateway.http)
        devices.http_sensor(SENSOR, gateway.http)
        devices.mqtt_camera("belt-camera", gateway.mqtt, Form.RAW, "MQTT")
        devices.mqtt_camera("modem-camera", gateway.mqtt, Form.CHUNKS, "MQTT, in chunks")
        if broker is not None:
            devices.mqtt_camera("dock-camera", broker.url, Form.BASE64, "MQTT, broker")

    # --- the story ---

    async def _happenings(self, hub: IotHub, gateway: DemoGateway) -> None:
        self._started_s = time.monotonic()
        for moment in self._options.timeline:
            if await self._is_cut_short_before(moment.at_s):
                break
            self._tell(moment.what)
            await self._happen(moment.what, hub, gateway)
        await self._is_cut_short_before(self._options.duration_s)
        if not self._view.uplink_up:
            self._tell(Happening.UPLINK_UP)
            await self._happen(Happening.UPLINK_UP, hub, gateway)

    async def _is_cut_short_before(self, at_s: float) -> bool:
        """Return at that second of the story, or when somebody wants its end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, at_s - self._elapsed_s())):
                await self._cut_short.wait()
        return self._cut_short.is_set()

    def _cut(self) -> None:
        """Go on to the end: devices stop, the backlog drains, the ledger. Another Ctrl-C ends it all at once."""
        asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)
        self._tell("Ctrl-C: on to the ledger; once more: the end, without one")
        self._cut_short.set()

    async def _happen(self, what: Happening, hub: IotHub, gateway: DemoGateway) -> None:
        if what is Happening.UPLINK_DOWN:
            self._view.uplink_up = False
            await hub.proxy.stop()
            hub.kick()
        elif what is Happening.UPLINK_UP:
            await hub.proxy.start("127.0.0.1", hub.proxy.port)
            self._view.uplink_up = True
        else:
            await (gateway.kill() if what is Happening.KILL else gateway.stop())
            await gateway.start()

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._started_s

    def _tell(self, what: str) -> None:
        self._view.story.append(f"{self._elapsed_s():5.0f} s  {what}")

    # --- looking ---

    async def _keep_looking(self, hub: IotHub, radio: DemoRadio, gateway: DemoGateway) -> None:
        while True:
            radio.write_down()
            await self._see(hub, gateway)
            self._look(self._view, self.logbook)
            await asyncio.sleep(LOOK_EVERY_S)

    async def _see(self, hub: IotHub, gateway: DemoGateway) -> None:
        view = self._view
        self._take(hub)
        view.elapsed_s = self._elapsed_s()
        view.gateway_up, view.kills, view.restarts = gateway.is_up, gateway.kills, max(0, gateway.starts - 1)
        view.arrived, view.doubles = len(self._received.items), self._received.doubles
        view.at_hub, view.last_result = self._received.by_device, self._received.last_result
        # Not there yet, or locked for a moment: the figures of the last look stay.
        with contextlib.suppress(GatewayError):
            view.ledger = _ledger(await asyncio.to_thread(read_state, gateway.data_dir))
        if view.ledger is not None:
            view.depths.append(view.ledger.parts["pending"])

    def _take(self, hub: IotHub) -> None:
        messages = hub.record.messages
        for message in messages[self._taken :]:
            self._received.take(message.body)
        self._taken = len(messages)

    async def _drained(self, gateway: DemoGateway) -> None:
        try:
            async with asyncio.timeout(DRAIN_TIMEOUT_S):
                while True:
                    if await asyncio.to_thread(_is_drained, gateway.data_dir):
                        return
                    await asyncio.sleep(LOOK_EVERY_S)
        except TimeoutError:
            self._tell(f"not drained within {DRAIN_TIMEOUT_S:g} s")

    def _verdict(self, hub: IotHub, gateway: DemoGateway) -> Verdict:
        self._take(hub)
        state = read_state(gateway.data_dir)
        here = {
            (GATEWAY_ID, event.epoch, event.sequence): (event.device_id, event.submission_id)
            for event in list_events(gateway.data_dir, limit=max(1, state.sequence_high))
            if event.state in {EventState.PENDING, EventState.DEAD}
        }
        still_here = StillHere(events=here, open_windows=read_policy_counts(gateway.data_dir)["windows"])
        return judge(self.logbook.promises(), self._received, _ledger(state), still_here=still_here)


def _ledger(state: OutboxState) -> Ledger:
    return Ledger(
        accepted=state.sequence_high,
        parts={
            "delivered": state.delivered_total,
            "pending": state.pending,
            "dead": state.dead,
            "evicted": state.evicted_total,
            "expired": state.expired_total,
            "filtered": state.filtered_total,
            "summarised": state.summarised_total,
        },
    )


def _is_drained(data_dir: Path) -> bool:
    """Return whether the cloud has everything: the last windows are closed, too, and what was held back is told."""
    state = read_state(data_dir)
    return not (state.pending or state.tombstones_pending or read_policy_counts(data_dir)["windows"])


def demo_folder(asked: Path | None) -> Path:
    """Return the folder of a run. Raises OperatorError for one that holds something else."""
    import tempfile

    if asked is None:
        return Path(tempfile.mkdtemp(prefix="gateway-demo-"))
    if asked.exists() and any(asked.iterdir()):
        raise OperatorError(f"{asked} is not empty: name a new folder, the demo's ledger begins with nothing")
    return asked
