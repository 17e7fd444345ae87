"""The settings of Bluetooth: the array of tables, its mistakes, its relations."""

from pathlib import Path

import pytest

from gateway.settings import describe
from tests.unit.settings.conftest import Load, Mistakes

TWO = """
[ble]
enabled = true
[[ble.device]]
address = "aa:bb:cc:dd:ee:01"
profile = "openglass"

[[ble.device]]
name = "Green house 3"
readings = ["battery"]
"""


def test_each_table_is_a_device(load: Load) -> None:
    one, two = load(TWO).ble.device

    assert (one.address, one.profile, one.effective_device_id) == (
        "AA:BB:CC:DD:EE:01",
        "openglass",
        "ble-aabbccddee01",
    )
    assert (two.name, two.readings, two.effective_device_id) == ("Green house 3", ("battery",), "Green-house-3")


def test_devices_may_come_from_the_environment(load: Load) -> None:
    (one,) = load(environment={"GATEWAY_BLE__DEVICE": '[{"address": "AA:BB:CC:DD:EE:01"}]'}).ble.device

    assert one.address == "AA:BB:CC:DD:EE:01"


def test_it_is_off_by_default(load: Load) -> None:
    assert not load().ble.enabled


@pytest.mark.parametrize(
    ("old", "new", "line", "told"),
    [
        ('address = "aa:bb:cc:dd:ee:01"', 'address = "aa:bb"', 4, "address: is not a Bluetooth address"),
        ('name = "Green house 3"', "", 8, "has neither address nor name"),
        ('readings = ["battery"]', 'reading = ["battery"]', 8, "reading: is not a setting"),
        ('readings = ["battery"]', 'readings = "battery"', 8, "readings: must be a list of texts"),
        ('readings = ["battery"]', "read_interval_s = 0", 8, "read_interval_s: is out of range: from 1 to 604800"),
        ('readings = ["battery"]', 'device_id = "ble-aabbccddee01"', 4, "has two devices with the device_id"),
        ('name = "Green house 3"', 'address = "AA:BB:CC:DD:EE:01"\ndevice_id = "x"', 4, "two devices with the address"),
        ("enabled = true", 'enabled = true\nadapter = "usb0"', 4, "is not a Bluetooth adapter"),
        ("enabled = true", 'enabled = true\nprofiles_dir = "none"', 4, "is no folder"),
    ],
)
def test_a_mistake_is_told_where_it_stands(mistakes: Mistakes, old: str, new: str, line: int, told: str) -> None:
    (problem,) = mistakes(TWO.replace(old, new))

    assert told in f"{problem.key}: {problem.text}"
    assert problem.where.endswith(f":{line}")


def test_one_table_in_place_of_an_array_is_told_with_its_heading(mistakes: Mistakes) -> None:
    (problem,) = mistakes('[ble.device]\naddress = "aa:bb:cc:dd:ee:01"')

    assert "[[ble.device]]" in problem.cure


def test_a_missing_key_file_is_told(mistakes: Mistakes) -> None:
    (problem,) = mistakes('[ble]\nenabled = true\nbind_keys_file = "keys.txt"')

    assert problem.key == "ble.bind_keys_file"


def test_more_pictures_at_once_than_the_budget_holds_are_refused(mistakes: Mistakes) -> None:
    (problem,) = mistakes("[ble]\nenabled = true\nconnections_max = 32\nimage_bytes_max = 8388608")

    assert problem.key == "ble.image_bytes_max"
    assert "half pictures over Bluetooth 256" in problem.text
    assert problem.cure == "Set a lower image_bytes_max, or memory_budget_mb to 428 or more."


def test_the_listing_tells_how_many_devices_there_are(load: Load) -> None:
    (row,) = [row for row in describe(load(TWO)) if row.key == "ble.device"]

    assert row.value == "2 of them"


def test_a_profiles_folder_belongs_to_the_files_folder(load: Load, site: Path) -> None:
    (site / "profiles").mkdir()

    assert load(TWO.replace("enabled = true", 'profiles_dir = "profiles"')).ble.profiles_dir == site / "profiles"
