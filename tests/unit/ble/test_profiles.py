"""Profiles: those that are built in, those of the operator, and what is wrong with one."""

from pathlib import Path

import pytest

from adapters.ble.profiles import (
    CommandForm,
    ProfileInvalid,
    load_profiles,
    parse_profile,
    profile_named,
    whole_uuid,
)
from gateway.simulators.devices.ble_cameras import CAMERAS

OWN = """
name = "garden-cam"
service = "fff0"
framing = "jpeg-stream"
retake = "snap"
[[characteristic]]
role = "data"
uuid = "fff1"
properties = ["notify"]
subscribe = true
[[characteristic]]
role = "button"
uuid = "fff2"
[commands.snap]
role = "button"
hex = "01 02"
"""


def services_of(name: str) -> dict[str, dict[str, tuple[str, ...]]]:
    camera = CAMERAS[name]
    return {camera.service_uuid: {one.uuid: one.flags for one in camera.characteristics}}


@pytest.mark.parametrize("name", sorted(CAMERAS))
def test_each_camera_matches_its_own_profile_and_no_other(name: str) -> None:
    matching = [profile for profile in load_profiles() if profile.matches(services_of(name))]

    assert [profile.goes_by(name) for profile in matching] == [True]


def test_a_service_without_the_right_characteristics_is_another_makers() -> None:
    profile = profile_named(load_profiles(), "esp32cam-cafebabe")

    assert not profile.matches({whole_uuid("ffe0"): {whole_uuid("ffe1"): ["notify"]}})
    assert not profile.matches({whole_uuid("ffe0"): {whole_uuid("ffe1"): ["read"], whole_uuid("ffe2"): ["write"]}})
    assert not profile.matches({})


def test_a_camera_is_added_by_a_file_alone(tmp_path: Path) -> None:
    (tmp_path / "garden.toml").write_text(OWN)

    profiles = load_profiles(tmp_path)

    own = profile_named(profiles, "garden-cam")
    assert profiles[0] == own
    assert own.commands["snap"].data(None) == b"\x01\x02"
    assert own.roles == {"data": whole_uuid("fff1"), "button": whole_uuid("fff2")}


def test_a_file_replaces_the_built_in_profile_of_its_name(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(OWN.replace("garden-cam", "openglass"))

    profiles = load_profiles(tmp_path)

    assert [profile.service for profile in profiles if profile.name == "openglass"] == [whole_uuid("fff0")]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('framing = "jpeg-stream"', 'framing = "jpg"', "framing"),
        ('service = "fff0"', 'service = "fff"', "is no UUID"),
        ("subscribe = true", "subscribe = false", "nothing could arrive"),
        ('hex = "01 02"', 'hex = "1x"', "is no bytes in hex"),
        ('retake = "snap"', 'retake = "click"', "no such command: click"),
        ('role = "button"\nhex', 'role = "knob"\nhex', "no such role: knob"),
        ('uuid = "fff2"', 'uuid = "fff2"\ncolour = 1', "characteristic.1.colour"),
        ("name =", "nme", "is not TOML"),
    ],
)
def test_a_mistake_is_told_with_its_file_and_place(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert OWN.count(old) >= 1
    (tmp_path / "garden.toml").write_text(OWN.replace(old, new))

    with pytest.raises(ProfileInvalid, match=told) as raised:
        load_profiles(tmp_path)

    assert str(raised.value).startswith("garden.toml: ")


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ProfileInvalid, match="is no folder"):
        load_profiles(tmp_path / "absent")


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ProfileInvalid, match=r"openglas.*openglass"):
        profile_named(load_profiles(), "openglas")


@pytest.mark.parametrize(
    ("value", "number", "data"),
    [
        ("u8", 300, b"\x09\xff"),
        ("u16le", 258, b"\x09\x02\x01"),
        ("u32be", 1, b"\x09\x00\x00\x00\x01"),
        ("u8", None, b"\x09\x05"),
    ],
)
def test_a_commands_value_is_written_in_its_form_and_bounds(value: str, number: int | None, data: bytes) -> None:
    form = CommandForm.model_validate({"role": "x", "hex": "09", "value": value, "value_min": 0 if number else 5})

    assert form.data(number) == data


def test_the_example_of_the_documentation_is_a_profile() -> None:
    text = (Path(__file__).parents[3] / "docs" / "PROTOCOLS-ble.md").read_text(encoding="utf-8")
    examples = [block.split("```")[0] for block in text.split("```toml\n")[1:]]

    parsed = [parse_profile(example) for example in examples if "framing =" in example]

    assert len(parsed) == 1
