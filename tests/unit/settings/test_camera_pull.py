"""The settings of pulled cameras: the array of tables, its mistakes, its files."""

from pathlib import Path

import pytest

from gateway.limits import derive_limits
from tests.unit.settings.conftest import Load, Mistakes

TWO = """
[camera_pull]
skip_unchanged = false
[[camera_pull.camera]]
url = "http://192.168.1.20/snapshot.jpg"
username = "admin"
password_file = "secrets/gate"

[[camera_pull.camera]]
url = "https://cam.example:8443/stream?user={username}&pwd={password}"
device_id = "belt"
fingerprint = "AB:CD"
username = "admin"
password_file = "~/belt"
""".replace("AB:CD", "AB" + ":CD" * 31)


@pytest.fixture
def files(site: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (site / "secrets").mkdir()
    for file in (site / "secrets" / "gate", site / "belt"):
        file.write_text("12345\n")
        file.chmod(0o600)
    return site


def test_each_table_is_a_camera_and_its_files_belong_to_the_settings_folder(load: Load, files: Path) -> None:
    gate, belt = load(TWO, environment={"HOME": str(files)}).camera_pull.camera

    assert (gate.effective_device_id, belt.effective_device_id) == ("camera-192.168.1.20", "belt")
    assert (gate.password_file, belt.password_file) == (files / "secrets" / "gate", files / "belt")
    assert belt.fingerprint == "ab" + "cd" * 31
    assert (gate.interval_s, gate.timeout_s, gate.auth, gate.verify) == (60, 10, "auto", True)


def test_there_are_none_by_default(load: Load) -> None:
    assert load().camera_pull.camera == ()


@pytest.mark.parametrize(
    ("old", "new", "line", "told"),
    [
        (
            'url = "http://192.168.1.20/snapshot.jpg"',
            'url = "rtsp://192.168.1.20/1"',
            4,
            "url: is not the http or https",
        ),
        ('url = "http://192.168.1.20/snapshot.jpg"', 'url = "http://admin:12345@cam/"', 4, "url: is not the http or"),
        ('url = "http://192.168.1.20/snapshot.jpg"', "", 4, "has no url"),
        ('username = "admin"\npassword_file = "secrets/gate"', 'auth = "basic"', 4, "has no username"),
        ('password_file = "secrets/gate"', 'password_file = "none"', 4, "password_file this file can't be read"),
        ('password_file = "~/belt"', "", 9, "has {password} in its url and no password_file"),
        ('username = "admin"', 'username = "ad\\nmin"', 4, "username: has characters that can't be seen"),
        ("AB:CD", "AB:C:", 9, "is not a SHA-256 fingerprint"),
        ('device_id = "belt"', "verify = false", 9, "has a fingerprint beside ca_file or verify = false"),
        ('device_id = "belt"', 'device_id = "camera-192.168.1.20"', 4, "has two cameras with the device_id"),
        ('device_id = "belt"', 'auth = "ntlm"', 9, "auth: is not one of"),
        ("skip_unchanged = false", "jitter = 0.6", 3, "is out of range"),
    ],
)
def test_a_mistake_is_told_where_it_stands(
    mistakes: Mistakes, files: Path, old: str, new: str, line: int, told: str
) -> None:
    assert old in TWO
    (problem,) = mistakes(TWO.replace(old, new, 1), environment={"HOME": str(files)})

    assert told in f"{problem.key}: {problem.text}"
    assert problem.where.endswith(f":{line}")
    assert "12345" not in str(problem)


def test_a_ca_file_that_is_none_is_told(mistakes: Mistakes, files: Path) -> None:
    text = TWO.replace('username = "admin"\npassword_file = "secrets/gate"', 'ca_file = "secrets/gate"', 1)
    (problem,) = mistakes(text, environment={"HOME": str(files)})

    assert "ca_file holds no PEM certificate" in problem.text


def test_a_password_file_that_others_can_read_is_warned_of(load: Load, files: Path) -> None:
    (files / "secrets" / "gate").chmod(0o644)
    (warning,) = load(TWO, environment={"HOME": str(files)}).warnings

    assert "chmod o-rwx" in warning.cure
    assert str(files / "secrets" / "gate") in warning.cure


def test_more_at_once_than_the_intake_takes_is_told(mistakes: Mistakes, files: Path) -> None:
    text = TWO.replace("skip_unchanged = false", "at_once_max = 65")
    (problem,) = mistakes(text, environment={"HOME": str(files)})

    assert (problem.key, problem.cure) == ("camera_pull.at_once_max", "Set at_once_max to 32.")


def test_what_cameras_may_hold_is_within_the_budget(load: Load, files: Path) -> None:
    without, with_them = load(), load(TWO, environment={"HOME": str(files)})
    shares = {share.name: share.byte_count for share in derive_limits(with_them, cpu_count=1).shares}

    assert shares["connections to cameras"] == (192 + 640) * 1024  # one of them speaks TLS
    assert shares["copy of one picture of a camera"] == with_them.limits.image_bytes_max
    assert sum(shares.values()) <= with_them.limits.memory_budget_mb * 1024 * 1024
    assert derive_limits(with_them, cpu_count=1).pixels_max < derive_limits(without, cpu_count=1).pixels_max
