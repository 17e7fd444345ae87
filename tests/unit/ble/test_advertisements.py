"""Readings in advertisements, repeats, silence."""

from pathlib import Path

import pytest

from adapters.ble.advertisements import (
    Heard,
    RepeatWindow,
    SilenceWatch,
    create_decoders,
    load_bind_keys,
    parse_bind_keys,
)
from gateway.errors import AdapterUnavailable

pytest.importorskip("bthome_ble", reason="missing package: bthome-ble")

ADDRESS = "54:48:E6:8F:80:A5"
BTHOME = "0000fcd2-0000-1000-8000-00805f9b34fb"


def heard(data: str, uuid: str = BTHOME) -> Heard:
    return Heard(address=ADDRESS, name="s", rssi=-60, service_data={uuid: bytes.fromhex(data)}, manufacturer_data={})


def test_a_bthome_advertisement_becomes_values_with_units() -> None:
    (decoder,) = create_decoders({})

    told = decoder.decode(heard("40 01 61 02 ca 09 03 bf 13"), 1.0)

    assert told is not None
    assert told.body == b'{"battery_percent":97,"temperature_c":25.06,"humidity_percent":50.55}'


def test_values_of_earlier_advertisements_are_not_mixed_in() -> None:
    (decoder,) = create_decoders({})
    decoder.decode(heard("40 01 61 02 ca 09"), 1.0)

    told = decoder.decode(heard("40 01 60"), 2.0)

    assert told is not None
    assert told.values == {"battery_percent": 96}


@pytest.mark.parametrize("data", ["", "40", "ff ff ff", "41 00", "40 02", "40 f0", "41" + " 31" * 20])
def test_damaged_or_locked_advertisements_tell_nothing(data: str) -> None:
    (decoder,) = create_decoders({})

    assert decoder.decode(heard(data), 1.0) is None


def test_other_families_tell_nothing() -> None:
    (decoder,) = create_decoders({})

    assert decoder.decode(heard("40 01 61", uuid="0000fe9f-0000-1000-8000-00805f9b34fb"), 1.0) is None


# The example of bthome.io/encryption: temperature 25.06, humidity 50.55.
KEYED = "41 a4 72 66 c9 5f 73 00 11 22 33 78 23 72 14"
KEY = bytes.fromhex("231d39c1d7cc1ab1aee224cd096db932")


def test_an_encrypted_advertisement_is_read_with_its_key() -> None:
    (decoder,) = create_decoders({ADDRESS: KEY})

    told = decoder.decode(heard(KEYED), 1.0)

    assert told is not None
    assert told.values == {"temperature_c": 25.06, "humidity_percent": 50.55}


def test_two_presses_of_a_button_are_news_and_a_repeat_is_not() -> None:
    (decoder,) = create_decoders({})
    told = [decoder.decode(heard(data), 1.0) for data in ("40 00 01 3a 01", "40 00 01 3a 01", "40 00 02 3a 01")]

    first, repeat, second = [one.fingerprint for one in told if one is not None]

    assert first == repeat != second


def test_equal_values_inside_the_window_are_one_event() -> None:
    window = RepeatWindow(window_s=60)

    news = [
        window.is_news("a", fingerprint, now_s) for fingerprint, now_s in [("x", 0), ("x", 59), ("y", 59), ("y", 120)]
    ]

    assert news == [True, False, True, True]


def test_what_could_not_be_committed_is_news_again() -> None:
    window = RepeatWindow(window_s=60)
    window.is_news("a", "x", 0)
    window.forget("a")

    assert window.is_news("a", "x", 1)


def test_a_silent_device_is_told_once_and_once_more_after_it_was_back() -> None:
    watch = SilenceWatch(expected={"a": 10, "b": 100}, now_s=0)

    assert watch.newly_silent(9) == []
    assert watch.newly_silent(10) == ["a"]
    assert watch.newly_silent(11) == []
    assert watch.silent == 1
    assert watch.heard("a", 12)
    assert not watch.heard("a", 13)
    assert watch.newly_silent(30) == ["a"]


def test_bind_keys_are_read_by_address() -> None:
    text = "# kitchen\n\n54:48:e6:8f:80:a5 231d39c1d7cc1ab1aee224cd096db932\n"

    assert parse_bind_keys(text) == {ADDRESS: KEY}
    with pytest.raises(ValueError, match="line 1"):
        parse_bind_keys("54:48:e6:8f:80:a5 231d")
    assert load_bind_keys(None) == {}


def test_a_missing_key_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(AdapterUnavailable, match="bind_keys_file"):
        load_bind_keys(tmp_path / "absent")
