"""The rows and columns: every fault and every way in, by name."""

from functools import partial

from tests.faults.equipment import Equipment
from tests.faults.faults import FaultPlan
from tests.faults.faults_clock import ClockJumps
from tests.faults.faults_damage import CHECKING, CorruptPages
from tests.faults.faults_disk import (
    CardRemoved,
    FailingSyncs,
    FullDisk,
    KillThenPowerCut,
    PowerCut,
    ReadOnly,
    SlowSyncs,
)
from tests.faults.faults_policies import (
    EXPIRED,
    EXPIRING,
    HELD_BACK,
    HOLDING_BACK,
    kill_while_expiring,
    kill_while_holding_back,
    power_cut_while_expiring,
    power_cut_while_holding_back,
    recount,
    recount_held_back,
)
from tests.faults.faults_process import (
    COMMIT_POINTS,
    EVICTED,
    EVICTING,
    POINTS,
    SMALL_FILE,
    KillAtPoint,
    KillWhileEvicting,
    RandomKill,
)
from tests.faults.faults_together import Everything
from tests.faults.faults_uplink import (
    Trouble,
    UplinkFault,
    credentials_revoked,
    dns_dead,
    half_open,
    hub_fault,
    refused,
    reset_during_writes,
    sdk_child_hung,
    sdk_child_killed,
    throttled,
)
from tests.faults.ways import WayFactory
from tests.faults.ways_ble import BleCameras
from tests.faults.ways_http import HttpDevices
from tests.faults.ways_mqtt import MqttBrokerDevices, MqttListenerDevices
from tests.faults.ways_pull import PulledCameras

WAYS: dict[str, WayFactory] = {
    "http": HttpDevices,
    "mqtt-listener": MqttListenerDevices,
    "mqtt-broker": MqttBrokerDevices,
    "ble": BleCameras,
    "camera-pull": PulledCameras,
}

_DISK = frozenset({Equipment.DISK})
_SHIM = frozenset({Equipment.SHIM})
_RESOLVER = frozenset({Equipment.RESOLVER})


_TROUBLES: tuple[tuple[str, str, Trouble], ...] = (
    ("uplink-refused", "refused", refused),
    ("uplink-half-open", "half-open", half_open),
    ("uplink-reset", "reset during writes", reset_during_writes),
    ("uplink-no-puback", "no PUBACK", hub_fault(kick=False, no_puback=True)),
    ("uplink-lost-acks", "lost acknowledgements", hub_fault(kick=False, drop_before_puback=True)),
    ("uplink-throttled", "throttled", throttled),
    ("uplink-sas-expired", "SAS expired", hub_fault(kick=True, clock_ahead_s=10 * 86400.0)),
    ("uplink-revoked", "credentials revoked and restored", credentials_revoked),
    ("sdk-killed", "SDK child killed", sdk_child_killed),
    ("sdk-hung", "SDK child hung", sdk_child_hung),
)


def _everything() -> Everything:
    # Not DNS: a gateway with names of its own does not see a card that is mounted anew.
    kinds = (RandomKill, PowerCut, KillThenPowerCut, FullDisk, CardRemoved, ReadOnly, FailingSyncs, SlowSyncs)
    faults = [*(kind() for kind in kinds), ClockJumps(), KillAtPoint(COMMIT_POINTS)]
    return Everything(faults, [each for _, _, each in _TROUBLES])


FAULTS = (
    FaultPlan(name="kill", title="kill -9 at random", make=RandomKill),
    FaultPlan(
        name="kill-at-point", title="kill -9 at named points", make=partial(KillAtPoint, POINTS), environment=SMALL_FILE
    ),
    FaultPlan(
        name="kill-evicting",
        title="kill -9 while the oldest make room",
        make=KillWhileEvicting,
        environment=EVICTING,
        reasons=EVICTED,
    ),
    FaultPlan(
        name="kill-expiring",
        title="kill -9 while events outlive their time",
        make=kill_while_expiring,
        environment=EXPIRING,
        reasons=EXPIRED,
        recount=recount,
    ),
    FaultPlan(
        name="kill-holding-back",
        title="kill -9 while results are filtered and summarised",
        make=kill_while_holding_back,
        environment=HOLDING_BACK,
        reasons=HELD_BACK,
        recount=recount_held_back,
    ),
    FaultPlan(name="power-cut", title="power cut", make=PowerCut, needs=_DISK),
    FaultPlan(
        name="power-cut-expiring",
        title="power cut while events outlive their time",
        make=power_cut_while_expiring,
        needs=_DISK,
        environment=EXPIRING,
        reasons=EXPIRED,
        recount=recount,
    ),
    FaultPlan(
        name="power-cut-holding-back",
        title="power cut while results are filtered and summarised",
        make=power_cut_while_holding_back,
        needs=_DISK,
        environment=HOLDING_BACK,
        reasons=HELD_BACK,
        recount=recount_held_back,
    ),
    FaultPlan(
        name="power-cut-after-kill",
        title="kill -9 during an fsync, then a power cut",
        make=KillThenPowerCut,
        needs=_DISK | _SHIM,
    ),
    FaultPlan(name="full-disk", title="full disk", make=FullDisk, needs=_DISK),
    FaultPlan(name="card-removed", title="card removed and put back", make=CardRemoved, needs=_DISK),
    FaultPlan(name="read-only", title="read-only remount", make=ReadOnly, needs=_DISK),
    FaultPlan(name="disk-eio", title="EIO on fsync and write", make=FailingSyncs, needs=_SHIM),
    FaultPlan(name="slow-fsync", title="slow fsync", make=SlowSyncs, needs=_SHIM),
    FaultPlan(name="clock-jumps", title="clock jumps both ways", make=ClockJumps, needs=_SHIM),
    FaultPlan(name="corrupt-pages", title="corrupt pages", make=CorruptPages, environment=CHECKING),
    *(
        FaultPlan(name=name, title=f"uplink: {title}", make=partial(UplinkFault, trouble))
        for name, title, trouble in _TROUBLES
    ),
    FaultPlan(name="uplink-dns-dead", title="uplink: DNS dead", make=partial(UplinkFault, dns_dead), needs=_RESOLVER),
    FaultPlan(name="all", title="all of them at random together", make=_everything, needs=_DISK | _SHIM),
)
