"""What the commands say to a person who made a mistake: one line and an exit code, never a traceback."""

import os
import subprocess
import sys
from pathlib import Path, PosixPath

import pytest

from gateway.commands import options
from gateway.errors import OperatorError
from tests.fakes.canary import secret
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


def test_check_shows_whole_names_and_masks_secrets_in_a_pipe(tmp_path: Path) -> None:
    key = secret("c2VjcmV0LWtleS1vZi10aGUtaHVi")
    config = tmp_path / "gateway.toml"
    text = f"HostName=hub.example;DeviceId=d;SharedAccessKey={key}"
    config.write_text(f'[cloud]\nconnection_string = "{text}"\n')
    done = gateway("check", "--show", "--config", str(config), data_dir=tmp_path / "data")
    assert done.returncode == 0, done.stderr
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line.strip()}
    assert lines["cloud.connection_string"].split()[1] == '"HostName=hub.example;DeviceId=d;SharedAccessKey=***"'
    assert str(config) in lines["cloud.connection_string"]
    assert key not in done.stdout + done.stderr
    assert "…" not in done.stdout
    short = gateway("check", "--no-show", data_dir=tmp_path / "data").stdout
    assert "cloud.connection_string" not in short
    assert "All is well" in short


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


class Closed(PosixPath):
    """A path that this user may not look at."""

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        raise PermissionError(13, "Permission denied", str(self))


def test_a_current_folder_that_is_closed_has_no_settings_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """`sudo -u gateway-bridge gateway ...` in a home folder, which Debian closes to others."""
    monkeypatch.setattr(options, "CONFIG_PLACES", (Closed("gateway.toml"), Closed("config/gateway.toml")))
    assert options.find_config(None) == options.packaged_config()


def test_settings_of_the_service_that_are_closed_are_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "CONFIG_PLACES", (Closed("/etc/gateway-bridge/gateway.toml"),))
    with pytest.raises(OperatorError, match="sudo -u gateway-bridge"):
        options.find_config(None)


def test_version_is_told_both_ways(tmp_path: Path) -> None:
    for spelling in ("version", "--version"):
        done = subprocess.run([sys.executable, "-m", "gateway", spelling], capture_output=True, text=True, check=True)
        assert done.stdout.startswith("gateway-bridge ")
