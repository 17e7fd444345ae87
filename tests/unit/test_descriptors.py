"""The limit of open files follows the settings, within what the system allows."""

import subprocess
import sys

import pytest

from gateway.descriptors import OTHER_FILES, descriptors_needed
from gateway.settings import Settings

RAISE = """
import resource, sys
from gateway.descriptors import allow_descriptors
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 600))
print(allow_descriptors(int(sys.argv[1])), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def settings(**sections: dict[str, object]) -> Settings:
    return Settings.model_validate(sections)


def test_every_connection_of_an_enabled_face_counts() -> None:
    both = settings(http={"connections_max": 20}, mqtt={"connections_max": 3000})
    assert descriptors_needed(both) == 3020 + OTHER_FILES
    none = settings(http={"enabled": False}, mqtt={"listen": ""})
    assert descriptors_needed(none) == OTHER_FILES


def test_the_default_fits_into_the_usual_limit() -> None:
    assert descriptors_needed(Settings()) <= 1024


@pytest.mark.parametrize(
    ("needed", "allowed"),
    [
        pytest.param(500, 500, id="raised to what is needed"),
        pytest.param(5000, 600, id="raised to the hard limit"),
        pytest.param(100, 256, id="never lowered"),
    ],
)
def test_the_limit_of_open_files_is_raised_as_far_as_the_system_lets_us(needed: int, allowed: int) -> None:
    """In a process of its own: a hard limit that was lowered stays so."""
    done = subprocess.run([sys.executable, "-c", RAISE, str(needed)], check=True, capture_output=True, text=True)
    assert done.stdout.split() == [str(allowed), str(allowed), "600"]
