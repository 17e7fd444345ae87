"""The table of framings: name in a profile → the class that speaks it."""

from collections.abc import Mapping

from adapters.ble.contract import Framing
from adapters.ble.framing_announced import AnnouncedSizeFraming
from adapters.ble.framing_base import OneWayFraming
from adapters.ble.framing_cafebabe import CafebabeFraming
from adapters.ble.framing_image1 import GatewayImage1Framing
from adapters.ble.framing_indexed import IndexedChunksFraming
from adapters.ble.framing_jpeg_stream import JpegStreamFraming
from adapters.ble.profiles import FramingName, Profile


def create_framing(
    profile: Profile, *, image_bytes_max: int, reading_bytes_max: int, attempts_max: int, resume_keep_s: float
) -> Framing:
    """Return a framing for one device of that kind. Keep it through reconnects: it knows what can be resumed."""
    if profile.framing is FramingName.GATEWAY_IMAGE_1:
        return GatewayImage1Framing(
            profile,
            image_bytes_max=image_bytes_max,
            reading_bytes_max=reading_bytes_max,
            attempts_max=attempts_max,
            resume_keep_s=resume_keep_s,
        )
    return ONE_WAY[profile.framing](profile, image_bytes_max=image_bytes_max, attempts_max=attempts_max)


ONE_WAY: Mapping[FramingName, type[OneWayFraming]] = {
    FramingName.INDEXED_CHUNKS: IndexedChunksFraming,
    FramingName.ANNOUNCED_SIZE: AnnouncedSizeFraming,
    FramingName.CAFEBABE: CafebabeFraming,
    FramingName.JPEG_STREAM: JpegStreamFraming,
}
