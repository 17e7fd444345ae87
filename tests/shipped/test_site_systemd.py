"""The bundle at a site as docs/INSTALL.md says: Debian with systemd as process 1, no network; ``make test-systemd``.

A life in its order: installed, used, stalled, killed, stopped, rebooted, upgraded, removed. Power cuts and Bluetooth
need a kernel of the site's own: test_site_power.py.
"""

import json
import re
import time
from collections.abc import Iterator

import pytest

from gateway import __version__
from tests.fakes.gateway_process import ROOT
from tests.shipped.contained_debian import STICK, ContainedDebian, contained_debian
from tests.shipped.site_stick import NEXT_VERSION, bundle_name, make_stick, probe_unit

pytestmark = [pytest.mark.shipped, pytest.mark.timeout(1800)]

INSTALL_DOC = (ROOT / "docs" / "INSTALL.md").read_text()
CLIENT = f"/opt/gateway-bridge/current/bin/python {STICK}/client.py"
# As docs/RUNBOOK.md says, from a folder that the user may not enter.
AS_USER = "cd /root && sudo -u gateway-bridge gateway"
# WatchdogSec, TimeoutAbortSec and RestartSec of the unit, and a start on a busy machine.
WATCHDOG_TIMEOUT_S = 60 + 10 + 5 + 90
RESTART_TIMEOUT_S = 60.0
STOP_S = 10.0


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContainedDebian]:
    """One for all tests: the bundle is unpacked and installed by the commands of docs/INSTALL.md."""
    stick = make_stick(tmp_path_factory.mktemp("stick"))
    with contained_debian(tmp_path_factory.mktemp("site") / "root", stick) as debian:
        began = time.monotonic()
        install(debian, __version__)
        print(f"installed in {time.monotonic() - began:.0f} s")
        yield debian


def install(site: ContainedDebian, version: str) -> None:
    site.run(f"cd /root && tar -xzf {STICK}/{bundle_name(version)}.tar.gz && sudo ./{bundle_name(version)}/install.sh")


def shown(site: ContainedDebian, name: str) -> str:
    """Return a property of the service."""
    return site.run(f"systemctl show --value --property={name} gateway").stdout.strip()


def child(site: ContainedDebian) -> str:
    """Return the process that serves, a child of the one that systemd started."""
    return site.run(f"pgrep --parent {shown(site, 'MainPID')}").stdout.split()[0]


def stored(site: ContainedDebian) -> set[str]:
    """Return the submission ids of what is on disk."""
    lines = site.run(f"{AS_USER} outbox list --json --limit 100000").stdout.splitlines()
    return {str(json.loads(line)["submission_id"]) for line in lines}


def publish(site: ContainedDebian, submission_id: str) -> None:
    """Return when the PUBACK is there."""
    assert site.run(f"{CLIENT} publish {submission_id}").stdout.split() == [submission_id]


def await_new_life(site: ContainedDebian, restarts: int, timeout_s: float) -> None:
    """Return when systemd has started the service again and it serves."""
    give_up_at = time.monotonic() + timeout_s
    while (shown(site, "NRestarts"), shown(site, "ActiveState")) != (str(restarts), "active"):
        assert time.monotonic() < give_up_at, site.run("journalctl -u gateway -n 50 --no-pager").stdout
        time.sleep(0.5)


def test_service_says_that_it_is_ready_and_has_no_network(site: ContainedDebian) -> None:
    status = site.run("systemctl status gateway --no-pager").stdout
    assert "Active: active (running)" in status
    assert 'Status: "serving"' in status
    assert "; enabled;" in status
    assert shown(site, "Type") == "notify"
    assert len(site.run("ip -o link").stdout.splitlines()) == 1


def test_picture_over_http_is_classified(site: ContainedDebian) -> None:
    assert site.run(f"{CLIENT} picture").stdout.strip() == "ripe"


def test_message_over_mqtt_gets_its_puback_and_is_on_disk(site: ContainedDebian) -> None:
    publish(site, "first")
    assert "first" in stored(site)


def test_service_may_do_what_it_must_and_nothing_else(site: ContainedDebian) -> None:
    """The unit's own rules around a program that tries: see stick/probe.py."""
    site.run("install -d -m 1777 /srv/open; install -d -m 755 /home/someone")
    site.run(probe_unit("probe", "probe.py"))
    site.run("systemctl start probe")
    tried = json.loads(site.run("journalctl -u probe -o cat --no-pager _COMM=python").stdout)
    allowed = {name for name, error in tried.items() if not error}
    assert allowed == {"its data", "a temporary file", "a socket of the network"}, tried
    assert tried["a folder that is everybody's"] == "EROFS"
    assert not site.run("ls /tmp").stdout.count("probe")


def test_running_service_has_no_rights_left(site: ContainedDebian) -> None:
    status = site.run(f"cat /proc/{child(site)}/status").stdout
    assert re.findall(r"^NoNewPrivs:\s+(\d)", status, re.MULTILINE) == ["1"]
    assert re.findall(r"^Seccomp:\s+(\d)", status, re.MULTILINE) == ["2"]
    assert set(re.findall(r"^Cap\w+:\s+(\w+)", status, re.MULTILINE)) == {"0" * 16}


def test_watchdog_starts_a_stalled_gateway_anew(site: ContainedDebian) -> None:
    restarts = int(shown(site, "NRestarts"))
    site.run(f"kill -STOP {child(site)}")
    await_new_life(site, restarts + 1, WATCHDOG_TIMEOUT_S)
    assert "Watchdog timeout" in site.run("journalctl -u gateway -n 200 --no-pager").stdout
    publish(site, "after-the-watchdog")
    assert {"first", "after-the-watchdog"} <= stored(site)


def test_killed_child_is_started_again_by_its_parent(site: ContainedDebian) -> None:
    before, parent = child(site), shown(site, "MainPID")
    site.run(f"kill -9 {before}")
    publish_when_it_serves(site, "after-the-childs-end")
    assert child(site) != before
    assert shown(site, "MainPID") == parent


def test_killed_parent_takes_its_child_with_it_and_systemd_starts_both_again(site: ContainedDebian) -> None:
    restarts, before = int(shown(site, "NRestarts")), child(site)
    site.run(f"kill -9 {shown(site, 'MainPID')}")
    await_new_life(site, restarts + 1, RESTART_TIMEOUT_S)
    assert site.run(f"kill -0 {before}", check=False).returncode != 0
    publish(site, "after-the-parents-end")
    assert {"first", "after-the-childs-end", "after-the-parents-end"} <= stored(site)


def publish_when_it_serves(site: ContainedDebian, submission_id: str) -> None:
    give_up_at = time.monotonic() + RESTART_TIMEOUT_S
    while site.run(f"{CLIENT} publish {submission_id}", check=False).returncode:
        assert time.monotonic() < give_up_at, "it does not serve again"
        time.sleep(0.5)


def test_stop_under_load_takes_less_than_ten_seconds_and_keeps_what_was_acknowledged(site: ContainedDebian) -> None:
    site.run(f"systemd-run --quiet --unit=flood {CLIENT} flood /root/told")
    site.run("until [ $(wc -l </root/told) -ge 50 ]; do sleep 0.2; done", timeout_s=120)
    began = time.monotonic()
    site.run("systemctl stop gateway")
    took_s = time.monotonic() - began
    print(f"stopped under load in {took_s:.1f} s")
    assert took_s < STOP_S
    assert shown(site, "Result") == "success"
    assert shown(site, "StatusText") == "stopped"
    site.run("systemctl stop flood; systemctl reset-failed; systemctl start gateway")
    told = set(site.run("cat /root/told").stdout.split())
    assert len(told) >= 50
    assert told <= stored(site)


def test_reboot_starts_it_again_with_all_that_was_acknowledged(site: ContainedDebian) -> None:
    publish(site, "before-the-reboot")
    before = stored(site)
    site.reboot()
    site.run("systemctl is-active gateway || { sleep 30; systemctl is-active gateway; }")
    publish(site, "after-the-reboot")
    assert stored(site) == before | {"after-the-reboot"}


def test_upgrade_by_the_next_bundle_keeps_data_and_settings_and_runs_the_new_version(site: ContainedDebian) -> None:
    site.run("echo '# mine' >>/etc/gateway-bridge/gateway.toml")
    before = stored(site)
    install(site, NEXT_VERSION)
    assert stored(site) == before
    assert "# mine" in site.run("cat /etc/gateway-bridge/gateway.toml").stdout
    assert shown(site, "ActiveState") == "active"
    running = site.run(f"tr '\\0' ' ' </proc/{shown(site, 'MainPID')}/cmdline").stdout
    assert f"/releases/{NEXT_VERSION}-1/" in running
    assert site.run("ls /opt/gateway-bridge/releases").stdout.split() == [f"{NEXT_VERSION}-1"]
    publish(site, "after-the-upgrade")


def test_older_bundle_is_the_way_back(site: ContainedDebian) -> None:
    before = stored(site)
    install(site, __version__)
    assert site.run("ls /opt/gateway-bridge/releases").stdout.split() == [f"{__version__}-1"]
    publish(site, "after-the-way-back")
    assert stored(site) == before | {"after-the-way-back"}


def test_removal_as_documented_leaves_data_and_settings_alone(site: ContainedDebian) -> None:
    (command,) = re.findall(r"^To remove it: `([^`]+)`", INSTALL_DOC, re.MULTILINE)
    site.run(command)
    assert site.run("systemctl status gateway", check=False).returncode == 4  # no such unit
    assert site.run("pgrep -u gateway-bridge", check=False).stdout == ""
    left = site.run("find / -xdev -name '*gateway-bridge*' -not -path '/root/*' -not -path '/proc/*'").stdout.split()
    assert sorted(left) == ["/etc/gateway-bridge", "/var/lib/gateway-bridge"]
    assert site.run("systemctl --failed --no-legend").stdout == ""
    assert (site.root / "var" / "lib" / "gateway-bridge" / "outbox.db").exists()
