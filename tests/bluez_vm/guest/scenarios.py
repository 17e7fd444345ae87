"""What is shown on the real bluetoothd, in this order: each scenario leaves a site on which the next one works.

A scenario fails by an AssertionError that says what was seen.
"""

import asyncio
import signal
import socket
import subprocess
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from gateway.simulators.devices.ble_image1_camera import Commanded, GatewayImage1Camera
from tests.bluez_vm.guest.camera import AiredCamera
from tests.bluez_vm.guest.pictures import Picture
from tests.bluez_vm.guest.sensor import BATTERY_PERCENT, TEMPERATURE_C
from tests.bluez_vm.guest.site import SCAN_SILENT_MAX_S, Site, StoredEvent, until

# Notifications of a picture; the smallest has twenty.
MID_TRANSFER = 12
# What a camera sent is with the gateway then, mostly: a link takes with it what bluetoothd has not passed on.
DELIVERY_S = 1.0
# Off and on take about eight seconds of bluetooth-auto-recovery's own waits.
LADDER_PATIENCE_S = 8 * SCAN_SILENT_MAX_S + 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    name: str
    run: Callable[[Site], Awaitable[None]]


async def gateway_before_bluetooth(site: Site) -> None:
    await asyncio.to_thread(site.gateway.start)
    await until(lambda: site.logged("part_failed", "bluetoothd does not run") > 0, "the line that says the cure")
    site.bluetoothd.start()
    await until(lambda: site.logged("part_failed", "there is no Bluetooth adapter") > 0, "the line about the adapter")
    await site.plug_in()
    await until(lambda: site.logged("adapter_serves", '"ble"') > 0, "the BLE adapter serving")


async def image1_picture(site: Site) -> None:
    await _ready(site.image1_camera)
    await _image1_arrives(site, site.image1_camera, site.image1)


async def image1_at_smallest_mtu(site: Site) -> None:
    await _ready(site.small_camera)
    await _image1_arrives(site, site.small_camera, site.small)
    await site.small_camera.switch_off()


async def openglass_picture(site: Site) -> None:
    # The gateway asks for a photo when the link is up.
    await site.openglass_camera.switch_on()
    await until(lambda: len(_events(site, site.openglass_camera)) == 1, "its event")
    _check(_events(site, site.openglass_camera)[-1], site.film.newest)


async def readings(site: Site) -> None:
    await site.sensor.switch_on()
    await site.beacon.switch_on()
    await until(lambda: len(site.events("shed")) == 1, "the sensor's event")
    read = site.events("shed")[0].result
    assert read == {"battery_percent": BATTERY_PERCENT, "temperature_c": TEMPERATURE_C}, f"read {read}"
    await until(lambda: len(site.events("beacon")) == 1, "the beacon's event")
    await site.beacon.sense(TEMPERATURE_C + 1)
    await until(lambda: len(site.events("beacon")) == 2, "its second, as the temperature changed")
    told = [event.result for event in site.events("beacon")]
    assert told == [{"temperature_c": TEMPERATURE_C}, {"temperature_c": TEMPERATURE_C + 1}], told


async def commands(site: Site) -> None:
    await _glass_ready(site)
    await _ready(site.image1_camera)
    photos = len(_events(site, site.openglass_camera))
    await site.command(site.openglass_camera.device_id, "photo")
    await until(lambda: len(_events(site, site.openglass_camera)) == photos + 1, "the photo that was asked for")
    _check(_events(site, site.openglass_camera)[-1], site.film.newest)
    await site.command(site.image1_camera.device_id, "interval", 3600)
    await until(lambda: bool(site.image1.commands), "the command at the camera")
    outcome = [
        event.result["outcome"] for event in site.events(site.openglass_camera.device_id) if not event.is_picture
    ]
    assert outcome == ["told"], f"events of the command: {outcome}"
    assert site.image1.commands == [Commanded(what=2, value=3600)], f"told {site.image1.commands}"


async def image1_resumes(site: Site) -> None:
    camera, firmware = site.image1_camera, site.image1
    await _ready(camera)
    picture = await _half_a_picture(site, camera)
    await asyncio.sleep(DELIVERY_S)
    links = camera.links
    camera.walk_away()
    camera.go_on()
    await _on_disk(firmware)
    assert camera.links > links, "the picture was there before the link was lost"
    asked_from = _asked_from(camera)
    assert asked_from > 0, "it began again instead of resuming"
    _check(_events(site, camera)[-1], picture)
    _each_once(site, camera)


async def openglass_half_photo(site: Site) -> None:
    camera = site.openglass_camera
    await _glass_ready(site)
    before = len(_events(site, camera))
    camera.in_mid_transfer(MID_TRANSFER, camera.walk_away)
    camera.take_photo()
    lost = site.film.newest
    await until(lambda: len(_events(site, camera)) > before, "a whole photo from the next link")
    assert camera.happened, "the photo was there before the link was lost"
    events = _events(site, camera)[before:]
    assert len(events) == 1, f"{len(events)} events"
    assert events[0].sha256 != lost.sha256, "the photo that was cut"
    _check(events[0], site.film.newest)
    # On a busy machine the silence is seen before the lost link.
    reasons = ("gap", "idle_timeout")
    told = [await site.metric("gateway_ble_transfers_total", profile="openglass", outcome=one) for one in reasons]
    assert sum(told) == 1, f"{told} transfers counted as {reasons}"


async def bluetoothd_restarted(site: Site) -> None:
    await _goes_on_without_bluetoothd(site, signal.SIGTERM)


async def bluetoothd_killed(site: Site) -> None:
    await _goes_on_without_bluetoothd(site, signal.SIGKILL)


async def gateway_killed(site: Site) -> None:
    camera, firmware = site.image1_camera, site.image1
    await _ready(camera)
    links = camera.links
    picture = await _half_a_picture(site, camera)
    await asyncio.to_thread(site.gateway.kill)
    camera.go_on()
    await asyncio.sleep(2)
    assert camera.connection is not None, "BlueZ ended the link of a killed gateway: nothing to adopt"
    adopted = site.logged("ble_link_adopted", camera.address)
    await asyncio.to_thread(site.gateway.start)
    await _on_disk(firmware)
    assert site.logged("ble_link_adopted", camera.address) == adopted + 1, "the link was not adopted"
    assert camera.links == links, f"{camera.links - links} new links: the old one was not used"
    _check(_events(site, camera)[-1], picture)
    _each_once(site, camera)


async def deaf_radio(site: Site) -> None:
    assert site.radio is not None
    # A radio that never heard anybody is not thought deaf.
    await _ready(site.image1_camera)
    worker, failed = site.gateway.worker_pid, site.logged("part_failed")
    for one in (site.image1_camera, site.openglass_camera, site.sensor):
        await one.switch_off()
    site.radio.deaf_for_resets = 1000
    resets = site.radio.resets
    await until(lambda: site.logged("ble_recovery", "auto_recovery") > 0, "the last rung", LADDER_PATIENCE_S)
    assert site.logged("ble_recovery", "power_cycle") == 1, "no power cycle before it"
    assert site.radio.resets > resets, "the power cycle did not reach the controller"
    # Whatever auto-recovery does first heals it, and nothing else.
    site.radio.deaf_for_resets = 1
    await until(lambda: site.radio is not None and site.radio.deaf_for_resets == 0, "a reset over management sockets")
    await until(lambda: site.logged("ble_controller_reset") > 0, "bluetooth-auto-recovery done")
    # Without Bluetooth sockets in Python (built without bluetooth.h) it can't do its second half, and says so.
    told = "true" if hasattr(socket, "BTPROTO_HCI") else "false"
    assert site.logged("ble_controller_reset", f'"recovered": {told}') == 1, "bluetooth-auto-recovery did not succeed"
    await _ready(site.image1_camera)
    await _image1_arrives(site, site.image1_camera, site.image1)
    assert site.logged("part_failed") == failed, "the adapter failed on the way"
    assert site.gateway.worker_pid == worker, "the gateway was restarted"


async def stop(site: Site) -> None:
    await _ready(site.openglass_camera)
    code = await asyncio.to_thread(site.gateway.stop)
    assert code == 0, f"exit code {code}"
    left = [one.address for one in (site.image1_camera, site.openglass_camera) if one.connection is not None]
    assert not left, f"links left: {left}"
    shown = await asyncio.to_thread(
        subprocess.run, ["bluetoothctl", "show"], capture_output=True, text=True, timeout=60
    )
    assert "Discovering: no" in shown.stdout, f"bluetoothd still scans: {shown.stdout}"


SCENARIOS = (
    Scenario(
        name="a gateway started before bluetoothd and adapter says the cure, then serves", run=gateway_before_bluetooth
    ),
    Scenario(name="gateway-image-1: a picture, its status means on disk", run=image1_picture),
    Scenario(name="gateway-image-1 at ATT MTU 23", run=image1_at_smallest_mtu),
    Scenario(name="openglass: a photo when the link is up", run=openglass_picture),
    Scenario(name="readings: Battery Service, Environmental Sensing, BTHome", run=readings),
    Scenario(name="commands: a photo now (openglass), an interval (gateway-image-1)", run=commands),
    Scenario(name="gateway-image-1: the camera walks away in mid-transfer; resumed", run=image1_resumes),
    Scenario(name="openglass: the camera walks away in mid-photo; never half a photo", run=openglass_half_photo),
    Scenario(name="bluetoothd restarted in mid-transfer", run=bluetoothd_restarted),
    Scenario(name="bluetoothd killed in mid-transfer", run=bluetoothd_killed),
    Scenario(name="gateway killed in mid-transfer; the next one adopts the link", run=gateway_killed),
    Scenario(name="a deaf radio: the ladder up to bluetooth-auto-recovery", run=deaf_radio),
    Scenario(name="a stop closes every link", run=stop),
)


async def _ready(camera: AiredCamera) -> None:
    """Return when the camera is on, and the gateway listens to it."""
    if not camera.listened_to:
        await camera.switch_on()
    await until(lambda: camera.listened_to, f"a link with {camera.address}")


async def _glass_ready(site: Site) -> None:
    """The same for the one that is asked for a photo at every link: that one has come, too."""
    camera = site.openglass_camera
    before, linked = len(_events(site, camera)), camera.listened_to
    await _ready(camera)
    await until(lambda: linked or len(_events(site, camera)) > before, "the photo at the link")


async def _goes_on_without_bluetoothd(site: Site, how: signal.Signals) -> None:
    camera, firmware = site.image1_camera, site.image1
    await _ready(camera)
    await _glass_ready(site)
    worker, glass = site.gateway.worker_pid, len(_events(site, site.openglass_camera))
    picture = await _half_a_picture(site, camera)
    await asyncio.to_thread(site.bluetoothd.end, how)
    camera.go_on()
    await asyncio.sleep(1)
    site.bluetoothd.start()
    await _on_disk(firmware)
    _check(_events(site, camera)[-1], picture)
    _each_once(site, camera)
    # The other camera, too: found by the new scanner, asked for a photo on the new link.
    await until(lambda: len(_events(site, site.openglass_camera)) > glass, "a photo from the other camera")
    assert site.gateway.worker_pid == worker, "the gateway was restarted"


async def _half_a_picture(site: Site, camera: AiredCamera) -> Picture:
    """Return the picture that the camera is in the middle of; it waits for ``go_on``."""
    camera.in_mid_transfer(MID_TRANSFER, camera.hold)
    camera.take_photo()
    picture = site.film.newest
    await until(lambda: camera.happened, "a picture on its way")
    return picture


def _asked_from(camera: AiredCamera) -> int:
    """Return the first chunk that was asked for on the last link (REQUEST of docs/PROTOCOLS-ble.md)."""
    request = next(data for data in camera.written if data[0] == 0x11)
    return int.from_bytes(request[2:4], "little")


async def _image1_arrives(site: Site, camera: AiredCamera, firmware: GatewayImage1Camera) -> None:
    camera.take_photo()
    picture = site.film.newest
    await _on_disk(firmware)
    # At once: the status means that it is there already.
    _check(_events(site, camera)[-1], picture)
    _each_once(site, camera)


async def _on_disk(firmware: GatewayImage1Camera) -> None:
    await until(lambda: not firmware.kept, "the status of its picture")
    assert firmware.statuses[-1].code == 0, f"status {firmware.statuses[-1]}"


def _events(site: Site, camera: AiredCamera) -> list[StoredEvent]:
    """Return its pictures; what became of a command is an event of the device, too."""
    return [event for event in site.events(camera.device_id) if event.is_picture]


def _each_once(site: Site, camera: AiredCamera) -> None:
    assert isinstance(camera.firmware, GatewayImage1Camera)
    stored = [int(event.submission_id) for event in _events(site, camera)]
    assert sorted(stored) == sorted(set(camera.firmware.on_disk)), f"on disk {stored}, told {camera.firmware.on_disk}"


def _check(event: StoredEvent, picture: Picture) -> None:
    assert event.sha256 == picture.sha256, f"event {event.sequence} is of another picture: {event}"
    assert event.label == picture.label, f"a picture of {picture.label} fruit was called {event.label}: {event.result}"
