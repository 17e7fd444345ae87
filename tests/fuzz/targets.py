"""What is fuzzed, by name: a function over bytes that raises only where something is wrong with ours.

Each may end with the refusals that its part states; any other exception is a finding. So is a broken promise that is
checked here: pieces that give another result than the whole, a packet that does not survive its encoding.
"""

import functools
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import h11

from adapters.ble.contract import Complete
from adapters.ble.framings import create_framing
from adapters.ble.image1 import parse_from_device, parse_from_gateway
from adapters.ble.profiles import Profile, load_profiles
from adapters.http.connection import TolerantConnection
from adapters.http.multipart import ClaimedForm, FormPicture, Sink, boundary_of
from adapters.http.url_fetch import url_of_document
from adapters.mqtt.codec import MalformedPacket, PacketDecoder, encode
from adapters.mqtt.codec_packets import V3_1_1, V5, Packet
from gateway.errors import Rejected, RequestInvalid
from gateway.readings import parse_readings
from gateway.settings import SettingsInvalid, load_settings
from gateway.vision.image import check_pixels, decode, preprocess, read_header
from gateway.vision.preprocessing import custom_vision
from gateway.web_targets import UrlInvalid, parse_url

CORPUS = Path(__file__).parent / "corpus"
PICTURES = CORPUS.parents[1] / "data" / "vision" / "pictures"
PIXELS_MAX = 300_000
PACKET_BYTES_MAX = 4096
BLE_BYTES_MAX = 4096
EVENTS_MAX = 10_000
NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """``seeds`` are where to begin, ``bytes_max`` is as large as an input gets."""

    run: Callable[[bytes], None]
    seeds: tuple[Path, ...]
    bytes_max: int = 4096

    def examples(self) -> list[bytes]:
        """Return the inputs of the corpus, in a stable order."""
        return [path.read_bytes() for folder in self.seeds for path in sorted(folder.iterdir()) if path.is_file()]


def image(data: bytes) -> None:
    """Recognise, check, decode and prepare."""
    try:
        header = read_header(data)
        check_pixels(header, pixels_max=PIXELS_MAX)
        preprocess(decode(header), custom_vision(32))
    except Rejected as error:
        assert error.detail
        assert "object at 0x" not in error.detail


def image_header(data: bytes) -> None:
    """Recognise only: fast, and without Pillow's own C in the way of the coverage."""
    try:
        header = read_header(data)
    except Rejected:
        return
    assert header.width > 0
    assert header.height > 0
    assert 1 <= header.orientation <= 8


def multipart(data: bytes) -> None:
    """Read a form whole and in pieces; the first byte is the size of a piece."""
    size = max(1, data[0]) if data else 1
    for reader in (lambda: FormPicture(b"xyz"), lambda: ClaimedForm(b"xyz"), lambda: ClaimedForm(None)):
        whole = _picture(reader(), data[1:], len(data) + 1)
        assert _picture(reader(), data[1:], size) == whole
    boundary_of(data[:200].decode("latin-1"))


def _picture(form: Sink, body: bytes, size: int) -> bytes | None:
    try:
        for at in range(0, len(body), size):
            form.feed(body[at : at + size])
        return form.finish()
    except Rejected as error:
        assert error.detail
        return None


def mqtt(data: bytes) -> None:
    """Decode a stream in either version, whole and in pieces; what was understood survives encoding."""
    if not data:
        return
    for version in (None, V3_1_1, V5):
        received, detail = _packets(data[1:], len(data), version)
        assert _packets(data[1:], data[0] % 16 + 1, version) == (received, detail)


def _packets(data: bytes, size: int, version: int | None) -> tuple[list[Packet], str]:
    decoder = PacketDecoder(packet_bytes_max=PACKET_BYTES_MAX, version=version)
    received: list[Packet] = []
    try:
        for at in range(0, len(data), size):
            decoder.feed(data[at : at + size])
            while (packet := decoder.next_packet()) is not None:
                received.append(packet)
                _survives(packet, decoder)
    except MalformedPacket as error:
        return received, error.detail
    return received, ""


def _survives(packet: Packet, decoder: PacketDecoder) -> None:
    version = decoder.version
    if version is None:
        return
    again = PacketDecoder(packet_bytes_max=2 * PACKET_BYTES_MAX, version=version)
    again.feed(encode(packet, version))
    assert again.next_packet() == packet


@functools.cache
def _profiles() -> tuple[Profile, ...]:
    return load_profiles()


def ble(data: bytes) -> None:
    """Feed notifications to the framing of each profile: length, role, bytes, again and again."""
    parse_from_device(data)
    parse_from_gateway(data)
    for profile in _profiles():
        framing = create_framing(
            profile, image_bytes_max=BLE_BYTES_MAX, reading_bytes_max=1000, attempts_max=3, resume_keep_s=60
        )
        actions = list(framing.connected(0.0, att_payload_max=244))
        now_s, at = 0.0, 0
        while at + 1 < len(data):
            size, role = data[at] % 64, ("data", "info", "control", "other")[data[at] >> 6]
            now_s += 0.1
            actions += framing.notified(role, data[at + 1 : at + 1 + size], now_s)
            at += 1 + size
        actions += [*framing.ticked(60.0), *framing.disconnected(61.0)]
        assert all(len(one.payload) <= BLE_BYTES_MAX for one in actions if isinstance(one, Complete))


def settings(data: bytes) -> None:
    """Load a settings file: right, or with mistakes that are told."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "gateway.toml"
        file.write_bytes(data)
        try:
            load_settings(file, {}, {}, Path(folder))
        except SettingsInvalid as error:
            assert error.problems


def http(data: bytes) -> None:
    """Read requests as the server does."""
    connection = TolerantConnection()
    try:
        connection.receive_data(data)
        for _ in range(EVENTS_MAX):
            event = connection.next_event()
            if event is h11.NEED_DATA or event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                return
    except h11.RemoteProtocolError as error:
        assert 400 <= connection.error_status < 600
        assert str(error)
        return
    raise AssertionError("no end of events")


def readings(data: bytes) -> None:
    """Read JSON and SenML strictly."""
    for content_type in ("application/json", "application/senml+json"):
        try:
            parse_readings(data, content_type=content_type, now=NOW)
        except Rejected as error:
            assert error.detail


def url(data: bytes) -> None:
    """Take a URL apart: what is accepted is plain http(s) to one host."""
    try:
        target = parse_url(url_of_document(data))
    except (RequestInvalid, UrlInvalid):
        return
    assert target.scheme in {"http", "https"}
    assert target.host
    assert not set(target.host) & set("@/\\?# \r\n")
    assert not set(target.path) & set(" \r\n")
    assert 0 < target.port < 65536


TARGETS: Mapping[str, Target] = {
    "image": Target(run=image, seeds=(PICTURES, CORPUS / "image"), bytes_max=16_384),
    "image-header": Target(run=image_header, seeds=(PICTURES, CORPUS / "image"), bytes_max=16_384),
    "multipart": Target(run=multipart, seeds=(CORPUS / "multipart",)),
    "mqtt": Target(run=mqtt, seeds=(CORPUS / "mqtt",)),
    "ble": Target(run=ble, seeds=(CORPUS / "ble",)),
    "settings": Target(run=settings, seeds=(CORPUS / "settings",)),
    "http": Target(run=http, seeds=(CORPUS / "http",)),
    "readings": Target(run=readings, seeds=(CORPUS / "readings",)),
    "url": Target(run=url, seeds=(CORPUS / "url",)),
}
