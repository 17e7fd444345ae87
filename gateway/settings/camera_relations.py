"""What must hold between the settings of pulled cameras, and of the files that they name."""

import ssl
from collections.abc import Iterator

from gateway.settings.camera_sections import PulledCameraSettings
from gateway.settings.keys import Key
from gateway.settings.problems import Fault, unreadable
from gateway.settings.sections import Settings

CAMERA: Key = ("camera_pull", "camera")
AT_ONCE: Key = ("camera_pull", "at_once_max")


def cameras(settings: Settings) -> Iterator[Fault]:
    """Refuse two cameras under one id, files that can't be used, and more at once than the intake takes."""
    pull, in_flight = settings.camera_pull, settings.limits.in_flight_max
    if pull.camera and pull.at_once_max > in_flight:
        yield AT_ONCE, f"is above limits.in_flight_max = {in_flight}", f"Set at_once_max to {max(2, in_flight // 2)}."
    seen: set[str] = set()
    for one in settings.camera_pull.camera:
        device_id = one.effective_device_id
        if device_id in seen:
            yield CAMERA, f"has two cameras with the device_id {device_id}", "Give each a device_id of its own."
        seen.add(device_id)
        yield from _files(device_id, one)


def _files(device_id: str, camera: PulledCameraSettings) -> Iterator[Fault]:
    if camera.password_file is not None:
        try:
            lines = camera.password_file.read_text().strip().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = unreadable(error) if isinstance(error, OSError) else "is not text"
            yield CAMERA, f"{device_id}: password_file {reason}", "Name a file that holds the password, one line."
        else:
            if len(lines) != 1:
                yield CAMERA, f"{device_id}: password_file is not one line", "Put the password into it, nothing else."
    if camera.ca_file is not None:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=camera.ca_file)
        except ssl.SSLError:
            yield CAMERA, f"{device_id}: ca_file holds no PEM certificate", "It must hold -----BEGIN CERTIFICATE-----."
        except OSError as error:
            yield CAMERA, f"{device_id}: ca_file {unreadable(error)}", "Name a PEM file that the gateway may read."
