"""The rows and columns: every fault and every way in, by name."""

from tests.faults.faults import FaultPlan
from tests.faults.faults_disk import PowerCut
from tests.faults.faults_process import KillAtPoint, RandomKill
from tests.faults.ways import WayFactory
from tests.faults.ways_ble import BleCameras
from tests.faults.ways_http import HttpDevices
from tests.faults.ways_mqtt import MqttBrokerDevices, MqttListenerDevices

WAYS: dict[str, WayFactory] = {
    "http": HttpDevices,
    "mqtt-listener": MqttListenerDevices,
    "mqtt-broker": MqttBrokerDevices,
    "ble": BleCameras,
}

FAULTS = (
    FaultPlan(name="kill", title="kill -9 at random", make=RandomKill),
    FaultPlan(name="kill-at-point", title="kill -9 at named points", make=KillAtPoint),
    FaultPlan(name="power-cut", title="power cut", make=PowerCut, needs_disk=True),
)
