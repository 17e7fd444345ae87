"""Builds the cameras of the settings; reads their password and certificate files."""

import math
import random
import secrets
import ssl
from collections.abc import Sequence

import structlog
import uuid6

from adapters.camera_pull.camera import PulledCamera, Schedule
from adapters.camera_pull.health import CameraHealth, HealthBoard
from adapters.camera_pull.login import Login
from adapters.camera_pull.places import Places
from adapters.camera_pull.snapshot import Snapshot
from adapters.camera_pull.trust import TrustStore
from adapters.camera_pull.whereabouts import Lookup, Whereabouts
from gateway.errors import AdapterUnavailable
from gateway.name_lookup import NameLookup
from gateway.ports import Clock, Intake, Meter, StatusSink
from gateway.settings import CameraPullSettings, LimitsSettings, PulledCameraSettings

log = structlog.get_logger(__name__)


def build_cameras(
    *,
    settings: CameraPullSettings,
    limits: LimitsSettings,
    intake: Intake,
    meter: Meter,
    clock: Clock,
    status: StatusSink,
    rng: random.Random,
    lookup: Lookup | None = None,
) -> Sequence[PulledCamera]:
    """Return the cameras. Raises AdapterUnavailable for a file that can't be used. Warns of unverified ones."""
    places = Places(settings.at_once_max)
    board = HealthBoard(status=status, meter=meter)
    shared_lookup = lookup or NameLookup()
    trust = TrustStore()

    def build(camera: PulledCameraSettings) -> PulledCamera:
        device_id = camera.effective_device_id
        snapshot = _snapshot(camera, limits, Whereabouts(lookup=shared_lookup, settings=settings), trust)
        _warn(device_id, snapshot.where, camera)
        return PulledCamera(
            device_id=device_id,
            snapshot=snapshot,
            schedule=Schedule(
                interval_s=camera.interval_s,
                timeout_s=camera.timeout_s,
                jitter=settings.jitter,
                backoff_max_s=settings.backoff_max_s,
                skip_unchanged=settings.skip_unchanged,
            ),
            places=places,
            health=CameraHealth(
                device_id=device_id,
                where=snapshot.where,
                silent_after_s=_silent_after_s(camera, settings),
                board=board,
                clock=clock,
            ),
            intake=intake,
            clock=clock,
            meter=meter,
            mint_id=lambda: str(uuid6.uuid7()),
            rng=rng,
        )

    return [build(camera) for camera in settings.camera]


def _snapshot(
    camera: PulledCameraSettings, limits: LimitsSettings, whereabouts: Whereabouts, trust: TrustStore
) -> Snapshot:
    try:
        password = "" if camera.password_file is None else camera.password_file.read_text().strip()
        if camera.uses_tls or camera.ca_file is not None:
            trust.context(camera)
    except (OSError, UnicodeDecodeError, ssl.SSLError) as error:
        name = camera.effective_device_id
        raise AdapterUnavailable(f"{name}: its password_file or ca_file can't be used: {error}") from error
    return Snapshot(
        settings=camera,
        password=password,
        bytes_max=limits.image_bytes_max,
        whereabouts=whereabouts,
        login=Login(mode=camera.auth, username=camera.username, password=password, cnonce=lambda: secrets.token_hex(8)),
        tls=lambda: trust.context(camera),
    )


def _silent_after_s(camera: PulledCameraSettings, settings: CameraPullSettings) -> float:
    """Return what was set; three intervals for a rare one; never for one that is asked by command only."""
    if camera.interval_s == 0:
        return math.inf
    return camera.silent_after_s or max(settings.silent_after_s, 3 * camera.interval_s)


def _warn(device_id: str, where: str, camera: PulledCameraSettings) -> None:
    if not camera.verify:
        log.warning(
            "camera_not_verified",
            device_id=device_id,
            at=where,
            cure="anybody on the way can pose as it and read its password: set fingerprint or ca_file",
        )
    if camera.legacy_tls:
        log.warning("camera_legacy_tls", device_id=device_id, at=where, cure="new firmware, or a network of its own")
