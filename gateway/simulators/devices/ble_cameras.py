"""The camera's side of each BLE protocol that the gateway knows: what a device would send. Pure, no radio."""

import binascii
import struct
from collections.abc import Iterator, Sequence

from gateway.simulators.devices.ble_firmware import BleCamera, GattCharacteristic, Notification
from gateway.simulators.devices.ble_image1_camera import GatewayImage1Camera

# omiGlass/firmware/src/app.cpp takes a photo this often by itself.
OMIGLASS_INTERVAL_S = 30.0


class OpenGlassCamera(BleCamera):
    """BasedHardware/OpenGlass, firmware.ino: index u16le and up to 200 bytes; FF FF at the end."""

    name = "OpenGlass"
    service_uuid = "19b10000-e8f2-537e-4f6c-d104768a1214"
    characteristics = (
        GattCharacteristic(role="data", uuid="19b10005-e8f2-537e-4f6c-d104768a1214", flags=("read", "notify")),
        GattCharacteristic(role="control", uuid="19b10006-e8f2-537e-4f6c-d104768a1214", flags=("write",)),
    )
    chunk_bytes_max = 200

    def written(self, role: str, data: bytes) -> Sequence[Notification]:
        if role != "control" or len(data) != 1:
            return ()
        # A signed byte: -1 takes one photo, 0 stops, 5 to 127 are seconds between photos.
        if data == b"\xff":
            return self.photo()
        if data[0] == 0 or 5 <= data[0] <= 127:
            self.interval_s = float(data[0]) or None
        return ()

    def _notifications(self, picture: bytes) -> Iterator[Notification]:
        size = min(self.chunk_bytes_max, self._att_payload_max - 2)
        for index, start in enumerate(range(0, len(picture), size)):
            yield Notification(role="data", data=struct.pack("<H", index) + picture[start : start + size])
        yield Notification(role="data", data=b"\xff\xff")


class OmiGlassCamera(OpenGlassCamera):
    """BasedHardware/omi, omiGlass: the first chunk has an orientation byte (quarter turns) after its index."""

    name = "OMI Glass"

    def __init__(self, pictures: Iterator[bytes], *, att_payload_max: int = 244, quarter_turns: int = 0) -> None:
        super().__init__(pictures, att_payload_max=att_payload_max)
        self.interval_s = OMIGLASS_INTERVAL_S
        self._quarter_turns = quarter_turns

    def _notifications(self, picture: bytes) -> Iterator[Notification]:
        yield from super()._notifications(bytes([self._quarter_turns]) + picture)


class NordicItsCamera(BleCamera):
    """Nordic's Image Transfer Service: INFO tells the size, TX carries raw JPEG."""

    name = "Image Transfer Demo"
    service_uuid = "6e400001-b5a3-f393-e0a9-e50e24dcca3e"
    characteristics = (
        GattCharacteristic(
            role="control", uuid="6e400002-b5a3-f393-e0a9-e50e24dcca3e", flags=("write", "write-without-response")
        ),
        GattCharacteristic(role="data", uuid="6e400003-b5a3-f393-e0a9-e50e24dcca3e", flags=("notify",)),
        GattCharacteristic(role="info", uuid="6e400004-b5a3-f393-e0a9-e50e24dcca3e", flags=("notify",)),
    )

    def written(self, role: str, data: bytes) -> Sequence[Notification]:
        return self.photo() if role == "control" and data[:1] == b"\x01" else ()

    def _notifications(self, picture: bytes) -> Iterator[Notification]:
        yield Notification(role="info", data=struct.pack("<BHHBB", 2, self._att_payload_max + 3, 6, 1, 1))
        yield Notification(role="info", data=struct.pack("<BI", 1, len(picture)))
        for start in range(0, len(picture), self._att_payload_max):
            yield Notification(role="data", data=picture[start : start + self._att_payload_max])


class CafebabeCamera(BleCamera):
    """The ESP32-CAM sketch: a header with CRC-16, chunks of 244 bytes; it waits for an acknowledgement."""

    name = "ESP32CAM-BLE"
    service_uuid = "0000ffe0-0000-1000-8000-00805f9b34fb"
    characteristics = (
        GattCharacteristic(role="data", uuid="0000ffe1-0000-1000-8000-00805f9b34fb", flags=("notify",)),
        GattCharacteristic(role="control", uuid="0000ffe2-0000-1000-8000-00805f9b34fb", flags=("write",)),
    )
    chunk_bytes_max = 244
    acknowledges = True

    def written(self, role: str, data: bytes) -> Sequence[Notification]:
        if role == "control" and data == struct.pack("<I", 0xABCD4321):
            self.acknowledged += 1
            self.on_answer(self.photos, "acknowledged")
        return self.photo() if role == "control" and data == struct.pack("<I", 0xCAFEBABE) else ()

    def _notifications(self, picture: bytes) -> Iterator[Notification]:
        crc16 = binascii.crc_hqx(picture, 0xFFFF)
        yield Notification(role="data", data=struct.pack("<IIIH", 0xCAFEBABE, len(picture), 1234, crc16))
        size = min(self.chunk_bytes_max, self._att_payload_max)
        for start in range(0, len(picture), size):
            yield Notification(role="data", data=picture[start : start + size])


class JpegStreamCamera(BleCamera):
    """TheHummel/BLEphoto: raw JPEG in pieces, and nothing else. It sends when it likes."""

    name = "BLEphoto"
    service_uuid = "4fafc201-1fb5-459e-8fcc-c5c9c331914b"
    characteristics = (
        GattCharacteristic(role="data", uuid="beb5483e-36e1-4688-b7f5-ea07361b26a8", flags=("read", "notify")),
    )
    chunk_bytes_max = 512
    mtu = 517

    def listened(self) -> Sequence[Notification]:
        return self.photo()

    def written(self, role: str, data: bytes) -> Sequence[Notification]:  # noqa: ARG002 -- it can't be asked
        return ()

    def _notifications(self, picture: bytes) -> Iterator[Notification]:
        size = min(self.chunk_bytes_max, self._att_payload_max)
        for start in range(0, len(picture), size):
            yield Notification(role="data", data=picture[start : start + size])


CAMERAS: dict[str, type[BleCamera]] = {
    "openglass": OpenGlassCamera,
    "omiglass": OmiGlassCamera,
    "nordic-its": NordicItsCamera,
    "esp32cam-cafebabe": CafebabeCamera,
    "jpeg-stream": JpegStreamCamera,
    "gateway-image-1": GatewayImage1Camera,
}
