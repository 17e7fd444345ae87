"""Freed pictures go back to the system; measured in fresh processes, since a heap never forgets."""

import subprocess
import sys

import pytest

PICTURES = """
import sys
from gateway.heap import give_freed_memory_back

def resident_mib():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024

if sys.argv[1] == "fixed":
    assert give_freed_memory_back()
before = resident_mib()
for _ in range(3):
    pictures, small = [], []
    for _ in range(8):
        pictures.append(b"x" * 12_000_000)
        # Something that stays above each picture: larger than any hole that importing left further down.
        small.append(bytearray(100_000))
    del pictures
print(resident_mib() - before)
"""


def kept_mib(mode: str) -> float:
    done = subprocess.run([sys.executable, "-c", PICTURES, mode], check=True, capture_output=True, text=True)
    return float(done.stdout)


@pytest.fixture(autouse=True)
def _glibc_only() -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("mallopt is glibc's")


def test_freed_pictures_are_given_back() -> None:
    assert kept_mib("fixed") < 10


def test_the_systems_malloc_alone_would_keep_them() -> None:
    """A canary: when this fails, the C library has learnt it and gateway/heap.py can go."""
    assert kept_mib("as it is") > 20
