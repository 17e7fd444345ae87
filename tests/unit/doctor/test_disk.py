"""What is said of a disk: its syncs, its room, its file system."""

from dataclasses import replace
from pathlib import Path

import pytest

from gateway.doctor.disk import (
    FREE_BYTES_MIN,
    FREE_FILES_MIN,
    MIB,
    SYNCS_MAX,
    Space,
    SyncTimes,
    judge_rates,
    judge_space,
    judge_syncs,
    measure_space,
    measure_syncs,
)
from gateway.doctor.finding import Level
from gateway.doctor.mounts import Mount, judge_mount, mount_of, parse_mounts
from gateway.outbox.probe import CommitRates

MOUNTINFO = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
23 22 0:20 / /proc rw,nosuid - proc proc rw
31 22 0:28 / /run rw,nosuid - tmpfs tmpfs rw,size=2g
40 22 179:1 / /media/my\\040card rw,relatime master:7 shared:3 - vfat /dev/mmcblk0p1 rw,fmask=0022
41 40 0:50 / /media/my\\040card/data rw - overlay overlay rw,lowerdir=/a
42 22 179:2 / /ro ro,relatime - ext4 /dev/sda1 ro
43 22 179:3 / /over rw - ext4 /dev/sdb1 rw
44 43 179:4 / /over rw - f2fs /dev/sdc1 rw
garbage that nobody can read
"""
MOUNTS = parse_mounts(MOUNTINFO)


def kind_of(folder: str) -> str:
    mount = mount_of(Path(folder), MOUNTS)
    assert mount is not None
    return mount.kind


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/srv/data", "ext4"),
        ("/run/x", "tmpfs"),
        ("/running", "ext4"),
        ("/media/my card", "vfat"),
        ("/media/my card/data/deep", "overlay"),
        ("/over/data", "f2fs"),
    ],
)
def test_a_folder_is_on_the_innermost_and_last_mount_above_it(folder: str, kind: str) -> None:
    assert kind_of(folder) == kind


@pytest.mark.parametrize(
    ("kind", "options", "level", "words"),
    [
        ("ext4", "rw", Level.OK, "ext4"),
        ("tmpfs", "rw", Level.WARN, "memory"),
        ("nfs4", "rw", Level.WARN, "local disk"),
        ("overlay", "rw", Level.WARN, "container"),
        ("vfat", "rw", Level.WARN, "journal"),
        ("ext4", "rw,nobarrier", Level.WARN, "nobarrier"),
        ("overlay", "rw,volatile", Level.WARN, "volatile"),
        ("ext4", "ro", Level.FAIL, "read-only"),
    ],
)
def test_each_kind_of_file_system_has_its_answer(kind: str, options: str, level: Level, words: str) -> None:
    mount = Mount(point="/", kind=kind, source="/dev/x", options=frozenset(options.split(",")))
    found = judge_mount(mount, Path("/srv/data"))
    assert found.level is level
    assert words in found.text
    assert bool(found.cure) == (level is not Level.OK)


def test_a_machine_that_tells_no_mounts_is_no_reason_to_fail() -> None:
    assert judge_mount(mount_of(Path("/srv"), ()), Path("/srv")).level is Level.WARN


@pytest.mark.parametrize(
    ("median_s", "level", "words"),
    [
        (0.0002, Level.OK, "0.2 ms"),
        (0.02, Level.OK, "commits wait for company"),
        (0.2, Level.WARN, "very slow"),
        (2.0, Level.FAIL, "give up"),
        (0.000001, Level.WARN, "faster than a disk"),
    ],
)
def test_each_speed_of_a_sync_has_its_answer(median_s: float, level: Level, words: str) -> None:
    found = judge_syncs(SyncTimes(median_s=median_s, p99_s=median_s * 3, count=64))
    assert (found.level, words in found.text) == (level, True)
    assert dict(found.figures)["sync_median_s"] == median_s


def test_measuring_syncs_is_bounded_told_and_leaves_nothing_behind(tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    times = measure_syncs(tmp_path, on_step=lambda done, of: steps.append((done, of)))
    assert 0 < times.median_s <= times.p99_s
    assert times.count == len(steps) <= SYNCS_MAX
    assert steps[0] == (1, SYNCS_MAX)
    assert list(tmp_path.iterdir()) == []


def test_a_very_slow_disk_ends_the_measurement_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.doctor.disk.SYNCS_TAKE_MAX_S", 0.0)
    assert measure_syncs(tmp_path).count == 1


def test_expected_results_are_told_in_words_and_figures() -> None:
    found = judge_rates(CommitRates(one_by_one_per_s=47.3, together_per_s=1484.0, together=32))
    assert "47 one after the other, 1484 when 32 devices" in found.text
    assert dict(found.figures) == {"commits_one_by_one_per_s": 47.3, "commits_of_32_at_once_per_s": 1484.0}


ROOM = Space(free_bytes=4096 * MIB, free_files=10_000, file_bytes=24 * MIB, bytes_max=1024 * MIB)


def test_enough_room_is_fine() -> None:
    found = judge_space(ROOM)
    assert (found.level, "1032 MiB more" in found.text) == (Level.OK, True)


def test_less_room_than_the_outbox_may_take_is_told_with_a_number_that_fits() -> None:
    found = judge_space(replace(ROOM, free_bytes=500 * MIB))
    assert (found.level, found.cure) == (
        Level.WARN,
        f"lower outbox.bytes_max to {(24 + 500 - 32) * MIB} or less, or free some space",
    )


@pytest.mark.parametrize("change", [{"free_bytes": FREE_BYTES_MIN - 1}, {"free_files": FREE_FILES_MIN - 1}])
def test_too_little_room_to_start_fails(change: dict[str, int]) -> None:
    assert judge_space(replace(ROOM, **change)).level is Level.FAIL


def test_room_is_measured(tmp_path: Path) -> None:
    (tmp_path / "outbox.db").write_bytes(b"x" * 5000)
    space = measure_space(tmp_path, tmp_path / "outbox.db", bytes_max=MIB)
    assert space.free_bytes > 0
    assert space.file_bytes == 5000
