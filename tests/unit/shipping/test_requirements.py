"""What an image build asks pip for."""

from pathlib import Path

import pytest

from shipping.requirements import constraints, requirements

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
    (tmp_path / "constraints.txt").write_text(
        "numpy==1.26.4 ; python_version < '3.12'\nnumpydoc==1.0\npillow==13.0.0\n"
    )
    return tmp_path


def test_extras_that_name_our_own_extras_are_opened(root: Path) -> None:
    assert requirements(["ble-sensors"], root=root) == ["h11>=0.14", "bthome-ble>=3", "govee-ble>=1"]


def test_packages_from_debian_are_left_out_of_the_lock_by_their_whole_name(root: Path) -> None:
    assert constraints(["numpy", "pillow"], root=root) == ["numpydoc==1.0"]
