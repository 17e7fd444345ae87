"""What an image build asks pip for."""

from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from shipping.closure import EXTRA, FROM_DEBIAN, LEFT_OUT, closure, lock, lock_files
from shipping.requirements import requirements

PROJECT = """
[project]
name = "gateway-bridge"
dependencies = ["h11>=0.14"]
[project.optional-dependencies]
ble = ["bthome-ble>=3"]
ble-sensors = ["gateway-bridge[ble]", "govee-ble>=1"]
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    return tmp_path


def test_extras_that_name_our_own_extras_are_opened(root: Path) -> None:
    assert requirements(["ble-sensors"], root=root) == ["h11>=0.14", "bthome-ble>=3", "govee-ble>=1"]


@pytest.mark.parametrize("file", lock_files(), ids=lambda file: file.name)
def test_lock_of_each_board_is_what_the_requirements_and_pins_say(file: Path) -> None:
    """When it is not: python -m shipping.closure."""
    assert file.read_text() == lock_files()[file]


def test_nothing_that_a_board_installs_is_left_out_by_mistake() -> None:
    needed = closure(requirements([EXTRA]), "armv7l")
    binary, source = lock("armv7l")
    names = {canonicalize_name(pin.partition("==")[0]) for pin in (*binary, *source)}
    assert needed - names == LEFT_OUT | FROM_DEBIAN["armv7l"]
