"""BTHome in advertisements, and the keys of sensors that encrypt."""

from pathlib import Path

import pytest

from adapters.ble.advertisements import Heard, load_bind_keys, parse_bind_keys
from adapters.ble.decoders import create_decoders
from adapters.ble.sensor_families import BthomeDecoder
from gateway.errors import AdapterUnavailable

pytest.importorskip("bthome_ble", reason="missing package: bthome-ble")

ADDRESS = "54:48:E6:8F:80:A5"
BTHOME = "0000fcd2-0000-1000-8000-00805f9b34fb"


def heard(data: str, uuid: str = BTHOME) -> Heard:
    return Heard(address=ADDRESS, name="s", rssi=-60, service_data={uuid: bytes.fromhex(data)}, manufacturer_data={})


def test_a_bthome_advertisement_becomes_values_with_units() -> None:
    decoder = BthomeDecoder(bind_keys={})

    told = decoder.decode(heard("40 01 61 02 ca 09 03 bf 13"), 1.0)

    assert told is not None
    assert told.body == b'{"battery_percent":97,"temperature_c":25.06,"humidity_percent":50.55}'


def test_values_of_earlier_advertisements_are_not_mixed_in() -> None:
    decoder = BthomeDecoder(bind_keys={})
    decoder.decode(heard("40 01 61 02 ca 09"), 1.0)

    told = decoder.decode(heard("40 01 60"), 2.0)

    assert told is not None
    assert told.values == {"battery_percent": 96}


@pytest.mark.parametrize("data", ["", "40", "ff ff ff", "41 00", "40 02", "40 f0", "41" + " 31" * 20])
def test_damaged_or_locked_advertisements_tell_nothing(data: str) -> None:
    decoder = BthomeDecoder(bind_keys={})

    assert decoder.decode(heard(data), 1.0) is None


def test_other_families_tell_nothing() -> None:
    decoder = BthomeDecoder(bind_keys={})

    assert decoder.decode(heard("40 01 61", uuid="0000fe9f-0000-1000-8000-00805f9b34fb"), 1.0) is None


# The example of bthome.io/encryption: temperature 25.06, humidity 50.55.
KEYED = "41 a4 72 66 c9 5f 73 00 11 22 33 78 23 72 14"
KEY = bytes.fromhex("231d39c1d7cc1ab1aee224cd096db932")


def test_an_encrypted_advertisement_is_read_with_its_key() -> None:
    decoder = BthomeDecoder(bind_keys={ADDRESS: KEY})

    told = decoder.decode(heard(KEYED), 1.0)

    assert told is not None
    assert told.values == {"temperature_c": 25.06, "humidity_percent": 50.55}


def test_two_presses_of_a_button_are_news_and_a_repeat_is_not() -> None:
    decoder = BthomeDecoder(bind_keys={})
    told = [decoder.decode(heard(data), 1.0) for data in ("40 00 01 3a 01", "40 00 01 3a 01", "40 00 02 3a 01")]

    first, repeat, second = [one.fingerprint for one in told if one is not None]

    assert first == repeat != second


def test_bind_keys_are_read_by_address() -> None:
    text = "# kitchen\n\n54:48:e6:8f:80:a5 231d39c1d7cc1ab1aee224cd096db932\n"

    assert parse_bind_keys(text) == {ADDRESS: KEY}
    assert parse_bind_keys("54:48:e6:8f:80:a5 231d39c1d7cc1ab1aee224cd") == {ADDRESS: KEY[:12]}
    with pytest.raises(ValueError, match="line 1"):
        parse_bind_keys("54:48:e6:8f:80:a5 231d")
    assert load_bind_keys(None) == {}


def test_without_any_decoder_the_cure_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapters.ble.sensor_families.find_spec", lambda _: None)
    monkeypatch.setattr("adapters.ble.theengs.find_spec", lambda _: None)

    with pytest.raises(AdapterUnavailable, match=r"gateway-bridge\[ble-sensors\]"):
        create_decoders({})


def test_a_missing_key_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(AdapterUnavailable, match="bind_keys_file"):
        load_bind_keys(tmp_path / "absent")
