"""Standard characteristics by name: bytes to values. Pure.

UUIDs and layouts: Bluetooth SIG, Assigned Numbers 3.8.1 and GATT Specification Supplement. A name in ``[[ble.device]]
readings`` becomes a key with its unit last: ``temperature`` → ``temperature_c``.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from adapters.ble.profiles import whole_uuid
from gateway.errors import AdapterUnavailable

Value = int | float


@dataclass(frozen=True, slots=True, kw_only=True)
class StandardCharacteristic:
    """An integer of ``width`` bytes, little-endian, times ``scale``; ``unknown`` are raw numbers for "no value"."""

    name: str
    uuid: str
    key: str
    width: int
    signed: bool = False
    scale: str = "1"
    unknown: tuple[int, ...] = ()

    def decode(self, data: bytes) -> Value | None:
        """Return the value, or None for "not known" and for what is too short to be one."""
        if len(data) < self.width:
            return None
        raw = int.from_bytes(data[: self.width], "little", signed=self.signed)
        if raw in self.unknown:
            return None
        # Decimal, since 2150 times 0.01 is 21.5 and not 21.500000000000004.
        number = Decimal(raw) * Decimal(self.scale)
        return int(number) if self.scale == "1" else float(number)


def _u(name: str, short: str, key: str, width: int, scale: str = "1", *, unknown: bool = False) -> "Characteristic":
    """Make an unsigned one; ``unknown``: all bits set means no value."""
    return StandardCharacteristic(
        name=name,
        uuid=whole_uuid(short),
        key=key,
        width=width,
        scale=scale,
        unknown=((1 << 8 * width) - 1,) if unknown else (),
    )


def _s(name: str, short: str, key: str, width: int, scale: str = "1", *, unknown: bool = False) -> "Characteristic":
    """Make a signed one; ``unknown``: the smallest number means no value."""
    return StandardCharacteristic(
        name=name,
        uuid=whole_uuid(short),
        key=key,
        width=width,
        signed=True,
        scale=scale,
        unknown=(-(1 << 8 * width - 1),) if unknown else (),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ThermometerCharacteristic:
    """Temperature Measurement: a byte of flags, then an IEEE 11073-20601 FLOAT (24-bit mantissa, 8-bit exponent)."""

    name: str = "temperature_measurement"
    uuid: str = whole_uuid("2a1c")
    key: str = "temperature_c"

    def decode(self, data: bytes) -> Value | None:
        if len(data) < 5:
            return None
        mantissa = int.from_bytes(data[1:4], "little", signed=True)
        # NaN, NRes, +INFINITY, -INFINITY and reserved: IEEE 11073-20601, 24-bit two's complement.
        if mantissa in {0x7FFFFF, -0x800000, 0x7FFFFE, -0x7FFFFE, -0x7FFFFF}:
            return None
        exponent = int.from_bytes(data[4:5], "little", signed=True)
        number = float(Decimal(mantissa).scaleb(exponent))
        # Plausible for a thermometer, and so never an infinity or a number of 130 digits in our JSON.
        if not -1e4 < number < 1e4:
            return None
        return round((number - 32) / 1.8, 4) if data[0] & 1 else number  # flag bit 0: degrees Fahrenheit


Characteristic = StandardCharacteristic | ThermometerCharacteristic

_ALL: tuple[Characteristic, ...] = (
    _u("battery", "2a19", "battery_percent", 1),
    _s("temperature", "2a6e", "temperature_c", 2, "0.01", unknown=True),
    ThermometerCharacteristic(),
    _u("humidity", "2a6f", "humidity_percent", 2, "0.01", unknown=True),
    _u("pressure", "2a6d", "pressure_pa", 4, "0.1"),
    _s("dew_point", "2a7b", "dew_point_c", 1),
    _s("heat_index", "2a7a", "heat_index_c", 1),
    _s("wind_chill", "2a79", "wind_chill_c", 1),
    _u("uv_index", "2a76", "uv_index", 1),
    _u("irradiance", "2a77", "irradiance_w_per_m2", 2, "0.1"),
    _u("rainfall", "2a78", "rainfall_mm", 2),
    _u("gust_factor", "2a74", "gust_factor", 1, "0.1"),
    _u("pollen", "2a75", "pollen_per_m3", 3),
    _u("wind_speed", "2a70", "wind_speed_m_per_s", 2, "0.01"),
    _u("wind_direction", "2a71", "wind_direction_degrees", 2, "0.01"),
    _s("elevation", "2a6c", "elevation_m", 3, "0.01"),
    _u("illuminance", "2afb", "illuminance_lx", 3, "0.01", unknown=True),
    _u("co2", "2b8c", "co2_ppm", 2, unknown=True),
    _u("voltage", "2b18", "voltage_v", 2, "0.015625", unknown=True),
    _u("current", "2aee", "current_a", 2, "0.01", unknown=True),
    _u("power", "2b05", "power_w", 3, "0.1", unknown=True),
    _s("tx_power", "2a07", "tx_power_dbm", 1),
)

CHARACTERISTICS: Mapping[str, Characteristic] = {one.name: one for one in _ALL}


def characteristics_named(names: Iterable[str]) -> tuple[Characteristic, ...]:
    """Return those characteristics. Raises AdapterUnavailable, listing what there is, for a name that is none."""
    wanted = tuple(names)
    unknown = [name for name in wanted if name not in CHARACTERISTICS]
    if unknown:
        known = ", ".join(CHARACTERISTICS)
        raise AdapterUnavailable(f"ble.device readings: {', '.join(unknown)} is no standard one. There are: {known}.")
    return tuple(CHARACTERISTICS[name] for name in wanted)


def decode_values(raw: Mapping[str, bytes]) -> dict[str, Value]:
    """Return key → value for what was read (name → bytes), without what is unknown or too short."""
    values = ((CHARACTERISTICS[name], data) for name, data in raw.items() if name in CHARACTERISTICS)
    decoded = ((one.key, one.decode(data)) for one, data in values)
    return {key: value for key, value in decoded if value is not None}
