"""What the commands say to a person who made a mistake: one line and an exit code, never a traceback."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.gateway_process import DEMO_MODEL, ROOT
from tests.fakes.outbox import draft
from tests.fakes.outbox_parts import opened


def gateway(*arguments: str, data_dir: Path) -> subprocess.CompletedProcess[str]:
    overrides = ["--set", f"gateway.data_dir={data_dir}", "--set", f"model.path={DEMO_MODEL}"]
    return subprocess.run(
        [sys.executable, "-m", "gateway", *arguments, *overrides], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.fixture
async def data_dir(tmp_path: Path) -> Path:
    """An outbox with one pending event."""
    async with opened(tmp_path / "data") as outbox:
        await outbox.commit([draft("a-1")])
    return tmp_path / "data"


def test_export_to_a_full_device_is_one_line(data_dir: Path) -> None:
    done = gateway("outbox", "export", "--out", "/dev/full", data_dir=data_dir)
    assert done.returncode == 2
    assert "can't write /dev/full" in done.stderr
    assert "Traceback" not in done.stderr


def test_requeue_of_what_is_no_dead_letter_says_so(data_dir: Path) -> None:
    done = gateway("outbox", "requeue", "1", data_dir=data_dir)
    assert done.returncode == 1
    assert "no dead letters" in done.stdout


def test_check_refuses_what_a_start_would_refuse(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "outbox.db").write_text("this is no database, though it is long enough to be looked at")
    done = gateway("check", data_dir=tmp_path / "data")
    assert done.returncode == 2
    assert "not an SQLite database" in done.stderr


async def test_check_says_that_a_gateway_runs_there_already(data_dir: Path) -> None:
    async with opened(data_dir):
        done = gateway("check", data_dir=data_dir)
    assert done.returncode == 0
    assert "A gateway runs on this data" in done.stdout


def test_a_data_directory_with_an_impossible_name_is_a_mistake_in_the_settings(tmp_path: Path) -> None:
    done = gateway("check", data_dir=tmp_path / ("x" * 300))
    assert done.returncode == 2
    assert "gateway.data_dir" in done.stderr
    assert "Traceback" not in done.stderr


def test_version_is_told_both_ways(tmp_path: Path) -> None:
    for spelling in ("version", "--version"):
        done = subprocess.run([sys.executable, "-m", "gateway", spelling], capture_output=True, text=True, check=True)
        assert done.stdout.startswith("gateway-bridge ")
