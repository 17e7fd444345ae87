"""The bundle, installed and used on a bare Debian without any network; ``make test-bundle ARCH=...``.

BUNDLE_ARCH says which; dist/ must hold it (``make bundle``).
"""

import os
import shutil
import sqlite3
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import __version__
from tests.fakes.gateway_process import ROOT
from tests.shipped.bare_debian import BareDebian, bare_debian

pytestmark = [pytest.mark.shipped, pytest.mark.timeout(3600)]

ARCHITECTURE = os.environ.get("BUNDLE_ARCH", "x86_64")
NAME = f"gateway-bridge-{__version__}-{ARCHITECTURE}"
OLD_FILES = sorted((ROOT / "tests" / "data" / "outbox").glob("outbox-v*.db"))
DATA = "var/lib/gateway-bridge"
INSTALL = f"/root/{NAME}/install.sh"
# As the unit runs it.
AS_SERVICE = f"setpriv --reuid=gateway-bridge --regid=gateway-bridge --init-groups env STATE_DIRECTORY=/{DATA}"
# Starts it, waits until it serves, does $1, stops it as systemd does; its exit code is the last line.
SERVED = f"""
serve() {{
    {AS_SERVICE} /opt/gateway-bridge/bin/gateway run >/tmp/out 2>/tmp/err &
    for second in $(seq 600); do
        grep -q Ctrl-C /tmp/out && break
        kill -0 $! 2>/dev/null || break
        sleep 1
    done
    grep -q Ctrl-C /tmp/out || {{ cat /tmp/out /tmp/err >&2; exit 1; }}
    eval "$1"
    kill -TERM $!
    wait $! || {{ echo "ended by $?" >&2; exit 1; }}
}}
"""
POST = "/opt/gateway-bridge/bin/python /tmp/post.py"
CLIENT = """
import json, urllib.request
request = urllib.request.Request("http://127.0.0.1:8080/image", data=open("/tmp/banana.jpg", "rb").read())
answer = json.load(urllib.request.urlopen(request, timeout=120))
print(max(answer["predictions"], key=lambda p: p["probability"])["tagName"])
"""

# Prints how many wheels there are, and which of them pip would not take.
FIT = """
import glob, os, sys, sysconfig
sysconfig.get_platform = lambda: "linux-aarch64"
sys.path.insert(0, glob.glob(sys.argv[1] + "/pip/pip-*.whl")[0])
from pip._vendor.packaging.tags import sys_tags
from pip._vendor.packaging.utils import parse_wheel_filename
taken, wheels = set(sys_tags()), [os.path.basename(path) for path in glob.glob(sys.argv[1] + "/wheels/*.whl")]
print(len(wheels), *(wheel for wheel in wheels if not taken & parse_wheel_filename(wheel)[3]))
"""


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BareDebian]:
    """One for all tests, in the order of a life: installed, used, upgraded."""
    archive = ROOT / "dist" / f"{NAME}.tar.gz"
    assert archive.is_file(), f"make bundle ARCH={ARCHITECTURE} first"
    with bare_debian(ARCHITECTURE, tmp_path_factory.mktemp("debian")) as root:
        with tarfile.open(archive) as opened:
            opened.extractall(root.root / "root", filter="tar")
        shutil.copy(ROOT / "examples" / "banana-ripe.jpg", root.root / "tmp" / "banana.jpg")
        (root.root / "tmp" / "post.py").write_text(CLIENT)
        root.run(INSTALL)
        yield root


def test_installed_gateway_classifies_a_picture_keeps_it_and_stops_cleanly(debian: BareDebian) -> None:
    said = debian.run(SERVED + f'serve "{POST}"').stdout
    assert said.strip() == "ripe"
    listed = debian.run(f"{AS_SERVICE} gateway outbox list").stdout
    assert "ripe" in listed


def test_commands_of_the_docs_find_the_services_data_from_a_closed_home(debian: BareDebian) -> None:
    """Debian closes home folders to others; sudo gives no $STATE_DIRECTORY."""
    at_home = "mkdir -p -m 0700 /home/pi && chown 1000:1000 /home/pi && cd /home/pi && setpriv --clear-groups"
    as_service = "--reuid=gateway-bridge --regid=gateway-bridge gateway outbox list"
    assert "ripe" in debian.run(f"{at_home} {as_service}").stdout
    refused = debian.run(f"{at_home} --reuid=1000 --regid=1000 gateway outbox list", check=False)
    assert refused.returncode == 2
    assert "sudo -u gateway-bridge" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_nothing_in_it_needs_a_compiler_or_a_network(debian: BareDebian) -> None:
    assert debian.run("command -v gcc cc", check=False).returncode != 0
    assert debian.run("grep -c : /proc/net/dev").stdout.strip() == "1"  # lo alone


@pytest.mark.skipif(ARCHITECTURE != "armv7l", reason="a question of 32 bits")
def test_wheels_fit_a_32_bit_system_on_a_64_bit_kernel(debian: BareDebian) -> None:
    """Raspberry Pi OS of 32 bits starts a 64-bit kernel on a Pi 3, 4 or 5: `uname -m` says aarch64 there."""
    (debian.root / "tmp" / "fit.py").write_text(FIT)
    said = debian.run(f"python3 /tmp/fit.py /root/{NAME}").stdout.split()
    assert int(said[0]) >= 50
    assert said[1:] == []


def test_files_of_the_program_are_not_the_services_to_change(debian: BareDebian) -> None:
    touched = debian.run(
        "setpriv --reuid=gateway-bridge --clear-groups touch /opt/gateway-bridge/bin/gateway", check=False
    )
    assert touched.returncode != 0


def test_damaged_bundle_is_refused_before_anything_is_touched(debian: BareDebian) -> None:
    labels = debian.root / "root" / NAME / "config" / "models" / "fruit" / "labels.txt"
    whole = labels.read_bytes()
    labels.write_bytes(whole + b"pear\n")
    try:
        done = debian.run(INSTALL, check=False)
    finally:
        labels.write_bytes(whole)
    assert done.returncode == 1
    assert "damaged" in done.stderr


def test_settings_that_the_new_version_does_not_take_leave_the_old_one_in_place(debian: BareDebian) -> None:
    settings = debian.root / "etc" / "gateway-bridge" / "gateway.toml"
    whole = settings.read_text()
    before = debian.run("readlink /opt/gateway-bridge/current").stdout
    settings.write_text(whole + "\n[htp]\n")
    try:
        done = debian.run(INSTALL, check=False)
    finally:
        settings.write_text(whole)
    assert done.returncode == 1
    assert "does not take the settings" in done.stderr
    assert debian.run("readlink /opt/gateway-bridge/current").stdout == before


@pytest.mark.parametrize("old", OLD_FILES, ids=lambda old: old.stem)
def test_upgrade_keeps_the_data_of_every_older_version(debian: BareDebian, old: Path) -> None:
    put(debian, old)
    before = sequences(debian)
    if old == OLD_FILES[-1]:
        debian.run(INSTALL)  # over what runs, with data there
    debian.run(SERVED + "serve true")
    assert sequences(debian) == before != []


def test_older_version_refuses_newer_data_and_touches_nothing(debian: BareDebian) -> None:
    put(debian, OLD_FILES[-1])
    with sqlite3.connect(debian.root / DATA / "outbox.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = (debian.root / DATA / "outbox.db").read_bytes()
    current = debian.run("readlink /opt/gateway-bridge/current").stdout
    installed = debian.run(INSTALL, check=False)
    assert installed.returncode == 1
    assert "newer version" in installed.stderr
    assert debian.run("readlink /opt/gateway-bridge/current").stdout == current
    started = debian.run(f"{AS_SERVICE} /opt/gateway-bridge/bin/gateway run", check=False)
    assert started.returncode == 2
    assert "newer version of the gateway (schema 99" in started.stderr + started.stdout
    assert (debian.root / DATA / "outbox.db").read_bytes() == before


def put(debian: BareDebian, old: Path) -> None:
    """Make the data directory one of an older version, that the service owns."""
    folder = debian.root / DATA
    owner = folder.stat()
    for path in folder.glob("outbox.db*"):
        path.unlink()
    shutil.copy(old, folder / "outbox.db")
    os.chown(folder / "outbox.db", owner.st_uid, owner.st_gid)


def sequences(debian: BareDebian) -> list[int]:
    """Return the sequences in the file."""
    with sqlite3.connect(f"file:{debian.root / DATA}/outbox.db?mode=ro", uri=True) as connection:
        rows = connection.execute("SELECT sequence FROM events ORDER BY sequence").fetchall()
    connection.close()
    return [int(sequence) for (sequence,) in rows]
