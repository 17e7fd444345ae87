"""What each face may hold in memory at most, as its settings say. Pure.

A share is a bound that some part keeps, not a forecast: most of the time a face holds next to nothing. What costs are
counted for a connection is resident memory, measured on x86_64 with CPython 3.11; the kernel's socket buffers are not
the process's and not in it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from gateway.holders import HANDSHAKES_MAX
from gateway.settings.sections import Settings

KIB = 1024

# Measured: 6 KiB for an idle one. A head that has not wholly come may hold 16 more (adapters/http/connection.py).
HTTP_CONNECTION_BYTES = 22 * KIB
# tests/integration/test_mqtt_idle_connections.py: 5.3 KiB for an idle one, below 8.
MQTT_CONNECTION_BYTES = 8 * KIB
# Measured: 69 KiB for a handshake under way while a crowd pushes in (tests/attack/test_tls_crowds.py); 50 afterwards,
# below 75: tests/integration/test_mqtt_listener_tls.py.
MQTT_TLS_CONNECTION_BYTES = 80 * KIB
# The same without MQTT's part.
TLS_CONNECTION_BYTES = MQTT_TLS_CONNECTION_BYTES - MQTT_CONNECTION_BYTES
# Measured: 1.9 KiB for a session that is away, with two subscriptions. Its messages are counted apart.
MQTT_SESSION_BYTES = 2 * KIB
# Results and commands on their way to the broker: adapters/mqtt/broker_link.py takes nothing more from it beyond 1024
# packets that it does not read; a result has 2 kB at most.
MQTT_BROKER_REPLIES_BYTES = 3 * 1024 * KIB
# A camera that is asked: 128 KiB of a connection's buffers, 32 of a head, and what is known of it. Measured with an
# answer of 50 kB on its way: 62 KiB beside the picture.
CAMERA_BYTES = 192 * KIB
# asyncio's TLS has 256 KiB of buffers of its own for each connection, and twice what is read. Measured: 455 KiB.
CAMERA_TLS_BYTES = 640 * KIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A part of the budget. ``key`` is the setting that says most about its size."""

    name: str
    byte_count: int
    key: str


def face_shares(settings: Settings) -> tuple[Share, ...]:
    """Return what the faces that are on may hold, beside the bodies in the intake."""
    faces = (_http, _mqtt_listener, _mqtt_broker, _ble, _camera_pull, _cloud)
    return tuple(share for face in faces for share in face(settings))


def _http(settings: Settings) -> Iterator[Share]:
    if settings.http.enabled:
        yield Share(
            name="HTTP connections",
            byte_count=settings.http.connections_max * HTTP_CONNECTION_BYTES
            + _tls_bytes(settings.http.connections_max, uses_tls=settings.http.tls),
            key="http.connections_max",
        )


def _mqtt_listener(settings: Settings) -> Iterator[Share]:
    mqtt, limits = settings.mqtt, settings.limits
    if not mqtt.listen:
        return
    yield Share(
        name="MQTT messages coming to the listener",
        byte_count=limits.mqtt_buffered_bytes_max,
        key="limits.image_bytes_max",
    )
    yield Share(
        name="MQTT connections",
        byte_count=mqtt.connections_max * MQTT_CONNECTION_BYTES
        + _tls_bytes(mqtt.connections_max, uses_tls=mqtt.uses_tls)
        + limits.mqtt_held_bytes_max,
        key="mqtt.connections_max",
    )
    yield Share(
        name="MQTT sessions with their messages",
        byte_count=mqtt.sessions_max * MQTT_SESSION_BYTES + limits.mqtt_waiting_bytes_max,
        key="mqtt.sessions_max",
    )
    yield _chunks(settings, "at the listener")


def _tls_bytes(connections_max: int, *, uses_tls: bool) -> int:
    """Return what TLS adds: to each connection, and to the handshakes that are let in beyond them."""
    return (connections_max + HANDSHAKES_MAX) * TLS_CONNECTION_BYTES if uses_tls else 0


def _mqtt_broker(settings: Settings) -> Iterator[Share]:
    if settings.mqtt.url:
        yield Share(
            name="MQTT messages from the broker",
            byte_count=settings.limits.mqtt_broker_buffered_bytes_max,
            key="limits.image_bytes_max",
        )
        yield Share(name="MQTT results for the broker", byte_count=MQTT_BROKER_REPLIES_BYTES, key="mqtt.url")
        yield _chunks(settings, "from the broker")


def _chunks(settings: Settings, way: str) -> Share:
    return Share(
        name=f"unfinished MQTT pictures {way}",
        byte_count=settings.mqtt.chunks.partial_bytes_max,
        key="mqtt.chunks.partial_bytes_max",
    )


def _ble(settings: Settings) -> Iterator[Share]:
    ble = settings.ble
    if ble.enabled:
        yield Share(
            name="half pictures over Bluetooth",
            byte_count=ble.connections_max * ble.image_bytes_max,
            key="ble.image_bytes_max",
        )
        yield Share(
            name="half pictures of Bluetooth devices that are away",
            byte_count=ble.resume_bytes_max,
            key="ble.resume_bytes_max",
        )


def _camera_pull(settings: Settings) -> Iterator[Share]:
    pull = settings.camera_pull
    if pull.camera:
        yield Share(
            name="connections to cameras",
            byte_count=sum(CAMERA_TLS_BYTES if one.uses_tls else CAMERA_BYTES for one in pull.camera),
            key="camera_pull.camera",
        )
        # What has come of each is counted by the intake; while one is made a whole, there are two of it.
        yield Share(
            name="copy of one picture of a camera",
            byte_count=settings.limits.image_bytes_max,
            key="limits.image_bytes_max",
        )


def _cloud(settings: Settings) -> Iterator[Share]:
    cloud = settings.cloud
    if cloud.configured:
        # Once as a message, once more on its way to the SDK's process.
        yield Share(
            name="messages to the hub",
            byte_count=2 * cloud.window * cloud.drain_batch_bytes_max,
            key="cloud.drain_batch_bytes_max",
        )
