"""What simulated sensors measure, and how they say it. Pure.

BTHome version 2 from https://bthome.io/format; the characteristics from the Bluetooth GATT Specification Supplement.
"""

import math
import struct
from dataclasses import dataclass

# A day in ten minutes, so that somebody who looks on sees it change.
DAY_S = 600.0
# 40: version 2, not encrypted, sends regularly.
_BTHOME_V2 = b"\x40"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One moment."""

    temperature_c: float
    humidity_percent: float
    battery_percent: int


def weather(elapsed_s: float, *, place: int) -> Measured:
    """Return the weather of a place, warmer and drier by simulated day; each place is a little different."""
    sun = math.sin(2 * math.pi * elapsed_s / DAY_S + place)
    return Measured(
        temperature_c=round(18 + place % 7 + 4 * sun, 2),
        humidity_percent=round(55 - 12 * sun, 2),
        battery_percent=max(100 - int(elapsed_s / DAY_S), 1),
    )


def bthome(measured: Measured) -> bytes:
    """Return the service data: 01 battery (%), 02 temperature (0.01 °C), 03 humidity (0.01 %), in this order."""
    return _BTHOME_V2 + struct.pack(
        "<BBBhBH",
        0x01,
        measured.battery_percent,
        0x02,
        round(measured.temperature_c * 100),
        0x03,
        round(measured.humidity_percent * 100),
    )


def characteristics(measured: Measured) -> dict[int, bytes]:
    """Return the values of 2A6E temperature (0.01 °C), 2A6F humidity (0.01 %) and 2A19 battery level (%)."""
    return {
        0x2A6E: struct.pack("<h", round(measured.temperature_c * 100)),
        0x2A6F: struct.pack("<H", round(measured.humidity_percent * 100)),
        0x2A19: bytes([measured.battery_percent]),
    }
