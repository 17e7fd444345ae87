"""Names and links that lead out of the data directory: no id becomes a path, no planted link is followed."""

import stat
from datetime import UTC, datetime
from pathlib import Path

import requests

from gateway.devices.book import FILE_NAME, BookedDevice, add_device
from tests.fakes.gateway_process import GatewayProcess
from tests.fakes.pictures import small_picture

IDS = ["..", ".", "-rf", "@x", "a:b", "....", "outbox.db", "CON"]


def test_no_device_id_becomes_a_path(gateway: GatewayProcess) -> None:
    before = {path.name for path in gateway.data_dir.rglob("*")}
    for device_id in IDS:
        url = f"{gateway.http}/image"
        answer = requests.post(url, params={"device": device_id}, data=small_picture(7), timeout=30)
        assert answer.status_code == 200, device_id
    assert {path.name for path in gateway.data_dir.rglob("*")} == before


def test_what_is_in_the_data_directory_is_for_its_owner(gateway: GatewayProcess) -> None:
    assert stat.S_IMODE(gateway.data_dir.stat().st_mode) & 0o077 == 0
    for path in gateway.data_dir.rglob("*"):
        assert stat.S_IMODE(path.lstat().st_mode) & 0o022 == 0, path


def test_a_planted_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    (data_dir / f"{FILE_NAME}.new").symlink_to(victim)
    add_device(data_dir, BookedDevice(device_id="cam-1", added_at=datetime.now(UTC), secret=None))
    assert victim.read_text() == "untouched"
    assert not (data_dir / FILE_NAME).is_symlink()


def test_a_start_on_planted_links_writes_through_none(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    victims = [tmp_path / f"victim-of-{name}" for name in ("outbox.db", "outbox.db-wal", "control.sock")]
    for victim in victims:
        victim.write_text("untouched")
        (data_dir / victim.name.removeprefix("victim-of-")).symlink_to(victim)
    gateway = GatewayProcess(data_dir, supervised=False)
    try:
        gateway.start()
    except AssertionError:
        gateway.wait(10)  # refusing to start is as good
        gateway._close()
    else:
        gateway.stop()
    assert {victim.read_text() for victim in victims} == {"untouched"}
