"""A power cut under load: what was acknowledged is on the disk itself, not only in the kernel's memory.

The data directory is an ext4 file system in an image file. The gateway is frozen, the image copied, and the copy
mounted: pages that were never synced are not in it. With ``synchronous=OFF`` every row is missing from the copy.
``SOAK_ROUNDS`` sets how many cuts (3 by default).
"""

import itertools
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.fakes.gateway_process import GatewayProcess
from tests.fakes.ledger import assert_gap_free, stored

CUTS = int(os.environ.get("SOAK_ROUNDS", "3"))
SENDERS = 4
IMAGE_BYTES = 96 * 1024 * 1024


def mount(image: Path, at: Path) -> None:
    at.mkdir(exist_ok=True)
    done = subprocess.run(["mount", "-o", "loop", image, at], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"can't mount an image here: {done.stderr.strip()}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """Return an image file and where it is mounted."""
    image = tmp_path / "disk.img"
    with image.open("wb") as file:
        file.truncate(IMAGE_BYTES)
    subprocess.run(["/sbin/mkfs.ext4", "-q", "-F", image], check=True)
    mount(image, tmp_path / "disk")
    yield image, tmp_path / "disk"
    subprocess.run(["umount", tmp_path / "disk"], check=True)


class Readings:
    """Threads that post readings with keys of their own and remember each 200."""

    def __init__(self, url: str) -> None:
        self.acknowledged: set[str] = set()
        self._url = f"{url}/v1/devices/s-1/readings"
        self._numbers = itertools.count()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send) for _ in range(SENDERS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _send(self) -> None:
        with requests.Session() as session:
            while not self._stop.is_set():
                key = f"key-{next(self._numbers)}"
                try:
                    answer = session.post(self._url, json={"v": 1}, headers={"Idempotency-Key": key}, timeout=20)
                except requests.RequestException:
                    continue
                if answer.status_code == 200:
                    self.acknowledged.add(key)


def after_a_cut(image: Path, folder: Path) -> dict[str, int]:
    """Return what the outbox holds on a copy of the image, after ext4 and SQLite have recovered."""
    copy, mounted, data_dir = folder / "cut.img", folder / "cut", folder / "after"
    shutil.copyfile(image, copy)
    mount(copy, mounted)
    try:
        shutil.rmtree(data_dir, ignore_errors=True)
        shutil.copytree(mounted / "data", data_dir, ignore=shutil.ignore_patterns("control.sock"))
    finally:
        subprocess.run(["umount", mounted], check=True)
    return stored(data_dir)


@pytest.mark.timeout(120 + 10 * CUTS)
def test_everything_acknowledged_before_a_power_cut_is_on_the_disk(disk: tuple[Path, Path], tmp_path: Path) -> None:
    image, mounted = disk
    gateway = GatewayProcess(mounted / "data")
    gateway.log_file = tmp_path / "gateway.log"
    gateway.start()
    load = Readings(gateway.http)
    load.start()
    try:
        for _ in range(CUTS):
            time.sleep(0.6)
            os.kill(gateway.worker_pid, signal.SIGSTOP)
            time.sleep(0.05)  # answers that left before are counted
            acknowledged = set(load.acknowledged)
            try:
                rows = after_a_cut(image, tmp_path)
            finally:
                os.kill(gateway.worker_pid, signal.SIGCONT)
            assert acknowledged, "nothing was acknowledged: the test showed nothing"
            assert acknowledged <= rows.keys()
            assert_gap_free(rows.values())
    finally:
        load.stop()
        gateway.kill()
