"""Every pinned requirement of the gateway installs on a 32-bit ARM board without a compiler: there is a wheel for it.

A new pin without one is seen here, in seconds, instead of in the image or at a site. Those without are named in
shipping/closure.py: Debian's packages, and source of pure Python.
"""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from shipping.closure import board, lock
from tests.conftest import MISSING_PACKAGE
from tests.fakes.gateway_process import ROOT

BOARD = "armv7l"
# What Debian bookworm's pip takes on such a board: glibc 2.36.
PLATFORMS = ("manylinux_2_36_armv7l", "manylinux_2_34_armv7l", "manylinux_2_31_armv7l", "manylinux2014_armv7l")


def test_every_pinned_requirement_has_a_wheel_for_32_bit_arm(tmp_path: Path) -> None:
    wanted, _ = lock(BOARD)
    assert {"tflite-runtime", "pydantic-core", "cryptography", "azure-iot-device"} <= {
        pin.split("==")[0] for pin in wanted
    }
    done = subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        + ["--no-deps", "--only-binary=:all:", "--python-version=3.11", "--dest", str(tmp_path)]
        + [f"--platform={platform}" for platform in PLATFORMS]
        + wanted,
        # Of the index alone: a folder of this machine's own wheels says nothing about the board.
        env={key: value for key, value in os.environ.items() if key != "PIP_FIND_LINKS"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode and re.search(r"NewConnectionError|NameResolutionError|ConnectTimeoutError", done.stderr):
        pytest.skip(f"{MISSING_PACKAGE} the package index can't be reached")
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(list(tmp_path.glob("*.whl"))) == len(wanted)


def test_the_board_can_use_what_debian_gives_it() -> None:
    """Debian bookworm has NumPy 1.24.2 and Pillow 9.4.0."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    allowed = [Requirement(line) for line in project["dependencies"]]
    for name, version in {"numpy": "1.24.2", "pillow": "9.4.0"}.items():
        mine = [
            requirement
            for requirement in allowed
            if requirement.name == name
            and (requirement.marker is None or requirement.marker.evaluate(dict(board(BOARD))))
        ]
        assert mine
        assert all(requirement.specifier.contains(version) for requirement in mine)
