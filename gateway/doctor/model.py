"""The model: does it load, how long does that take, and how long a picture?"""

import asyncio
import struct
import time

from gateway.doctor.finding import Finding, fail, ok
from gateway.errors import GatewayError
from gateway.limits import Limits
from gateway.messages import Image
from gateway.metrics import Metrics
from gateway.ports import Classifier
from gateway.settings import ModelSettings
from gateway.vision.classifier import load_classifier

# A picture such as small cameras send; the first one warms the interpreter up.
WIDTH, HEIGHT, PICTURES = 640, 480, 3
_CHECK = "model"


def examine_model(settings: ModelSettings, *, limits: Limits) -> Finding:
    """Load the model with one interpreter and classify a grey picture."""
    try:
        began_s = time.monotonic()
        classifier = load_classifier(settings, workers=1, pixels_max=limits.pixels_max, meter=Metrics())
        load_s = time.monotonic() - began_s
        try:
            picture_s = asyncio.run(_seconds_for_a_picture(classifier))
        finally:
            classifier.close()
    except GatewayError as error:
        return fail(_CHECK, str(error), "gateway model inspect PATH tells more; set model.path")
    identity = classifier.model
    text = (
        f"{identity.name} on {identity.runtime}: loaded in {load_s:.1f} s; a picture of {WIDTH}x{HEIGHT} takes "
        f"{picture_s * 1000:.0f} ms, so about {limits.workers / picture_s:.0f} a second"
    )
    return ok(_CHECK, text, figures=(("model_load_s", load_s), ("picture_s", picture_s)))


async def _seconds_for_a_picture(classifier: Classifier) -> float:
    picture = Image(data=grey_bmp(WIDTH, HEIGHT))
    took_s = 0.0
    for _ in range(PICTURES):
        began_s = time.monotonic()
        await classifier.classify(picture)
        took_s = time.monotonic() - began_s
    return took_s


def grey_bmp(width: int, height: int) -> bytes:
    """Return a grey picture as BMP with 24 bits a pixel: it needs no encoder. ``width`` is a multiple of 4."""
    pixels = b"\x80" * (3 * width * height)
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, len(pixels), 2835, 2835, 0, 0)
    offset = 14 + len(header)
    return b"BM" + struct.pack("<IHHI", offset + len(pixels), 0, 0, offset) + header + pixels
