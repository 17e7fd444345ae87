"""Each fault of the matrix at one way in, on real gateways; ``make fault-matrix`` does the rest.

``SOAK_ROUNDS`` sets how often (8 stands for once). And a disk that lies, to see that a loss is found.
"""

import os
import random
from pathlib import Path

import pytest

from tests.fakes.ble_site import needs_dbus_daemon
from tests.fakes.mosquitto import needs_mosquitto
from tests.faults.equipment import Equipment, Impossible
from tests.faults.faults import Cycle, FaultPlan
from tests.faults.faults_disk import PowerCut
from tests.faults.faults_together import OneAfterTheOther
from tests.faults.matrix import FAULTS
from tests.faults.record import RunRecord
from tests.faults.run import RunPlan, run
from tests.faults.shim import Ailment
from tests.faults.site import Site

ROUNDS = max(1, int(os.environ.get("SOAK_ROUNDS", "8")) // 8)
RUNNABLE = {plan.name: plan for plan in FAULTS if not plan.pending}
SHARES = {
    "http": tuple(name for name in RUNNABLE if name.startswith(("uplink-", "sdk-"))),
    "mqtt-listener": ("disk-eio", "slow-fsync", "full-disk", "card-removed", "read-only", "clock-jumps"),
    "mqtt-broker": ("power-cut", "power-cut-after-kill", "all"),
    # Settings are those of the last that wants some: here all run on the file where the oldest make room.
    "ble": ("kill", "kill-at-point", "kill-evicting"),
}
# On sites of their own, with the cycles in CI: after corrupt pages keys are not 1 to n; policies are settings.
ALONE = {"corrupt-pages": ("http", 2), "kill-expiring": ("camera-pull", 1), "kill-holding-back": ("http", 1)}
# The same policies under power cuts, which take longer to arrange.
ALONE_AT_LENGTH = {"power-cut-expiring": ("camera-pull", 2), "power-cut-holding-back": ("mqtt-listener", 2)}


def run_here(plan: FaultPlan, way: str, cycles: int, folder: Path) -> RunRecord:
    try:
        return run(RunPlan(fault=plan, way=way, seed=20261123, cycles=cycles), workdir=folder)
    except Impossible as error:
        pytest.skip(str(error))


def one_after_the_other(names: tuple[str, ...]) -> FaultPlan:
    plans = [RUNNABLE[name] for name in names]
    needs = frozenset[Equipment]().union(*(plan.needs for plan in plans))

    def make() -> OneAfterTheOther:
        return OneAfterTheOther([plan.make() for plan in plans if plan.make is not None])

    environment = {name: value for plan in plans for name, value in plan.environment.items()}
    reasons = frozenset[str]().union(*(plan.reasons for plan in plans))
    return FaultPlan(
        name="in-turn",
        title="one after the other",
        make=make,
        needs=needs,
        environment=environment,
        reasons=reasons,
    )


def test_every_fault_that_is_not_pending_is_tested_here() -> None:
    assert {
        name for names in SHARES.values() for name in names
    } | ALONE.keys() | ALONE_AT_LENGTH.keys() == RUNNABLE.keys()


@pytest.mark.timeout(300 + 120 * ROUNDS)
@pytest.mark.parametrize(
    "way",
    [
        "http",
        "mqtt-listener",
        pytest.param("mqtt-broker", marks=needs_mosquitto),
        pytest.param("ble", marks=needs_dbus_daemon),
    ],
)
def test_nothing_acknowledged_is_lost_or_doubled(way: str, tmp_path: Path) -> None:
    names = SHARES[way]
    assert_all_well(run_here(one_after_the_other(names), way, ROUNDS * len(names), tmp_path))


def assert_all_well(found: RunRecord) -> None:
    assert found.failure == ""
    assert found.clean, found
    assert found.acknowledged, "nothing was acknowledged: the run showed nothing"
    assert found.felt == found.cycles, "a fault that the gateway never felt shows nothing"


@pytest.mark.timeout(300 + 120 * ROUNDS)
@pytest.mark.parametrize("name", ALONE)
def test_what_is_gone_is_told_and_nothing_else_is_lost(name: str, tmp_path: Path) -> None:
    way, cycles = ALONE[name]
    assert_all_well(run_here(RUNNABLE[name], way, cycles * ROUNDS, tmp_path))


@pytest.mark.soak
@pytest.mark.timeout(300 + 120 * ROUNDS)
@pytest.mark.parametrize("name", ALONE_AT_LENGTH)
def test_what_is_gone_after_a_power_cut_is_told_and_nothing_else_is_lost(name: str, tmp_path: Path) -> None:
    way, cycles = ALONE_AT_LENGTH[name]
    assert_all_well(run_here(RUNNABLE[name], way, cycles * ROUNDS, tmp_path))


class PowerCutOfALyingDisk(PowerCut):
    """A power cut on a disk that says "synced" and is not."""

    def cycle(self, site: Site, rng: random.Random) -> Cycle:
        site.shim.apply(Ailment(sync_lies=True))
        site.wait_for_acknowledgements(20, what="on a lying disk")
        return super().cycle(site, rng)


def test_what_a_lying_disk_loses_in_a_power_cut_is_found(tmp_path: Path) -> None:
    plan = FaultPlan(
        name="lying-disk",
        title="a disk that lies",
        make=PowerCutOfALyingDisk,
        needs=frozenset({Equipment.DISK, Equipment.SHIM}),
    )
    found = run_here(plan, "http", 1, tmp_path)
    assert not found.clean
    assert "acknowledged submissions are not on disk" in found.failure
