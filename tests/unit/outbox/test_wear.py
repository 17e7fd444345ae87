"""How much is written is counted, shown, and kept with the file."""

import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.outbox.wear import RATE_AFTER_S, FlashWear, WrittenBytes, flash_wear
from gateway.outbox.writer import COUNT_WRITES_EVERY_S
from tests.fakes.outbox import draft
from tests.fakes.outbox_parts import KeptMeter, StillClock, opened


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    kind = subprocess.run(["stat", "-f", "-c", "%T", tmp_path], capture_output=True, text=True, check=True).stdout
    if kind.strip() in {"tmpfs", "ramfs"}:
        pytest.skip("the temporary directory is memory: nothing is written to a disk")
    return tmp_path


def says(path: Path, write_bytes: int) -> Path:
    path.write_text(f"rchar: 1\nwchar: 2\nread_bytes: 3\nwrite_bytes: {write_bytes}\ncancelled_write_bytes: 0\n")
    return path


def test_only_what_was_written_since_is_counted(tmp_path: Path) -> None:
    source = says(tmp_path / "io", 4096)
    written = WrittenBytes(source)
    assert written.count() == 0
    says(source, 12_288)
    assert (written.count(), written.count(), written.total) == (8192, 0, 8192)


def test_a_kernel_that_does_not_count_costs_only_the_figure(tmp_path: Path) -> None:
    written = WrittenBytes(tmp_path / "none")
    assert (written.count(), written.total) == (0, 0)


def test_rates_are_told_only_when_they_mean_something() -> None:
    early = flash_wear(before=0, since_start=5000, age_s=RATE_AFTER_S - 1, events_since_start=0)
    assert early == FlashWear(written_bytes=5000, written_bytes_per_day=None, written_bytes_per_event=None)
    later = flash_wear(before=7000, since_start=5000, age_s=43_200, events_since_start=2)
    assert later == FlashWear(written_bytes=12_000, written_bytes_per_day=24_000, written_bytes_per_event=2500)


async def test_commits_are_counted_in_the_metric_and_kept_with_the_file(disk: Path) -> None:
    clock, meter = StillClock(), KeptMeter()
    async with opened(disk / "data", clock=clock, meter=meter) as outbox:
        for n in range(50):
            clock.advance(timedelta(), seconds=COUNT_WRITES_EVERY_S)
            await outbox.commit([draft(f"a-{n}")])
        clock.advance(timedelta(hours=2))
        first = outbox.flash_wear
    counted = meter.counts["gateway_outbox_written_bytes_total"]
    assert counted >= 50 * 4096
    async with opened(disk / "data", clock=clock) as outbox:
        again = outbox.flash_wear
    assert again.written_bytes == counted
    assert first.written_bytes_per_event is not None
    assert first.written_bytes_per_event >= 4096
