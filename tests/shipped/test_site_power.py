"""The installed gateway on a board of its own: power cuts, Bluetooth; ``make test-systemd``. Slow: QEMU emulates.

The bundle is installed in a container (test_site_systemd.py shows that it can be), and what that leaves becomes the
disk of a virtual machine with Debian's kernel. A power cut leaves of it what was flushed: see power.py.
"""

import json
import time
from collections.abc import Iterator

import pytest

from gateway import __version__
from tests.shipped.booted_debian import BootedDebian, booted_debian
from tests.shipped.contained_debian import contained_debian
from tests.shipped.site_stick import bundle_name, make_stick, probe_unit

pytestmark = [pytest.mark.shipped, pytest.mark.timeout(3600)]

# Wherever both kinds of site are, the stick is.
STICK = "/media/stick"
CLIENT = f"/opt/gateway-bridge/current/bin/python {STICK}/client.py"
ACKNOWLEDGED_MIN = 40
PATIENCE_S = 300.0


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BootedDebian]:
    """One for all tests, with the gateway installed and enabled."""
    stick = make_stick(tmp_path_factory.mktemp("stick"))
    name = bundle_name(__version__)
    with contained_debian(tmp_path_factory.mktemp("install") / "root", stick) as container:
        container.run(f"cd /root && tar -xzf {STICK}/{name}.tar.gz && ./{name}/install.sh && rm -r /root/{name}")
        container.run("systemctl stop gateway")
        container.close()
        machine = BootedDebian(tmp_path_factory.mktemp("machine"), root=container.root, stick=stick)
    with booted_debian(machine):
        yield machine


def await_service(site: BootedDebian) -> None:
    site.run(f"mkdir -p {STICK} && mount -o ro /dev/vdb {STICK}")
    site.run("until systemctl is-active --quiet gateway; do sleep 1; done")


def test_gateway_starts_with_the_machine_and_serves_within_its_rules(site: BootedDebian) -> None:
    began = time.monotonic()
    await_service(site)
    print(f"served {time.monotonic() - began:.0f} s after the first answer")
    assert site.run(f"{CLIENT} picture").stdout.strip() == "ripe"
    assert site.run(f"{CLIENT} publish one").stdout.split() == ["one"]
    log = site.run("journalctl --boot -u gateway --no-pager -o cat").stdout
    assert "clock_state_unknown" not in log
    assert len(site.run("ip -o link").stdout.splitlines()) == 1


def test_bluez_answers_a_service_under_the_units_rules(site: BootedDebian) -> None:
    """bluetoothd runs once the kernel has Bluetooth; there is no radio in this machine."""
    site.run("modprobe bluetooth; systemctl start bluetooth; systemctl is-active bluetooth")
    site.run(probe_unit("ask-bluez", "ask_bluez.py"))
    site.run("systemctl start ask-bluez")
    said = json.loads(site.run("journalctl --boot -u ask-bluez -o cat --no-pager _COMM=python").stdout)
    assert "org.bluez.AgentManager1" in said


def test_power_cut_under_load_keeps_everything_that_was_acknowledged(site: BootedDebian) -> None:
    site.run(f"systemd-run --quiet --unit=flood {CLIENT} flood /dev/virtio-ports/told")
    give_up_at = time.monotonic() + PATIENCE_S
    while len(acknowledged(site)) < ACKNOWLEDGED_MIN:
        assert time.monotonic() < give_up_at, site.run("systemctl status flood", check=False).stdout
        time.sleep(0.1)
    forgotten = site.cut_power()
    told = acknowledged(site)
    site.start()
    await_service(site)
    kept = stored(site)
    print(f"{len(told)} acknowledged, {len(kept)} on the disk; the disk forgot {forgotten} writes")
    assert {"one", *told} <= kept
    assert site.run(f"{CLIENT} publish after-the-cut").stdout.split() == ["after-the-cut"]


def acknowledged(site: BootedDebian) -> list[str]:
    """Return the ids that the devices were told of; the last line may be half of one."""
    return site.told.read_text().rpartition("\n")[0].split()


def stored(site: BootedDebian) -> set[str]:
    """Return the submission ids of what is on disk."""
    query = "SELECT submission_id FROM events"
    file = "file:/var/lib/gateway-bridge/outbox.db?mode=ro"
    program = f'import sqlite3; print(*(row[0] for row in sqlite3.connect("{file}", uri=True).execute("{query}")))'
    return set(site.run(f"python3 -c '{program}'").stdout.split())
