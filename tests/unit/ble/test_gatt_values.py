"""Standard characteristics: bytes to values, as the Bluetooth SIG's supplement lays them out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.ble.gatt_values import CHARACTERISTICS, characteristics_named, decode_values
from gateway.errors import AdapterUnavailable


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("battery", "61", {"battery_percent": 97}),
        ("temperature", "66 08", {"temperature_c": 21.5}),
        ("temperature", "2e fb", {"temperature_c": -12.34}),
        ("temperature", "00 80", {}),
        ("humidity", "bf 13", {"humidity_percent": 50.55}),
        ("humidity", "ff ff", {}),
        ("pressure", "e0 73 0f 00", {"pressure_pa": 101_270.4}),
        ("illuminance", "13 8a 14", {"illuminance_lx": 13460.67}),
        ("illuminance", "ff ff ff", {}),
        ("co2", "b8 01", {"co2_ppm": 440}),
        ("elevation", "9c ff ff", {"elevation_m": -1.0}),
        ("voltage", "c0 00", {"voltage_v": 3.0}),
        ("temperature_measurement", "00 6c 01 00 ff", {"temperature_c": 36.4}),
        ("temperature_measurement", "01 da 03 00 ff", {"temperature_c": 37.0}),
        ("temperature_measurement", "00 ff ff 7f 00", {}),
        ("temperature_measurement", "00 01 00 00 7f", {}),
        ("temperature", "66", {}),
        ("battery", "", {}),
    ],
)
def test_a_value_is_read_from_its_bytes(name: str, data: str, told: dict[str, float]) -> None:
    assert decode_values({name: bytes.fromhex(data)}) == pytest.approx(told)


def test_several_make_one_reading() -> None:
    assert decode_values({"battery": b"\x10", "uv_index": b"\x03"}) == {"battery_percent": 16, "uv_index": 3}


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(AdapterUnavailable, match=r"temprature.*temperature"):
        characteristics_named(["battery", "temprature"])


@given(name=st.sampled_from(sorted(CHARACTERISTICS)), data=st.binary(max_size=12))
def test_any_bytes_are_a_value_or_none(name: str, data: bytes) -> None:
    for value in decode_values({name: data}).values():
        assert abs(value) < 1e10
