"""kill -9 of the gateway under load at its own MQTT listener: what the *device* saw acknowledged is on disk.

``SOAK_ROUNDS`` sets how often (8 by default). The device keeps its session, sends again what was not acknowledged
(DUP), and gives no ids.
"""

import os
import random
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.simulators.ports import free_port
from tests.fakes.gateway_process import GatewayProcess
from tests.fakes.mqtt_load import Load, rows, wait_until_stored

ROUNDS = int(os.environ.get("SOAK_ROUNDS", "8"))


@dataclass
class Door:
    """The same port for every life of the gateway."""

    port: int


@pytest.mark.timeout(120 + 30 * ROUNDS)
@pytest.mark.parametrize("qos", [1, 2])
def test_what_the_device_saw_acknowledged_is_stored_and_nothing_twice(tmp_path: Path, qos: int) -> None:
    rng = random.Random(20261126 + qos)
    door, data_dir = Door(port=free_port()), tmp_path / "data"
    environment = {"GATEWAY_MQTT__LISTEN": f"127.0.0.1:{door.port}"}
    rounds = max(1, ROUNDS // 2)
    gateway = GatewayProcess(data_dir, environment=environment).start()
    with Load(door, with_ids=False, qos=(qos,)) as load:
        for _ in range(rounds):
            time.sleep(rng.uniform(0.2, 1.0))
            gateway.kill()
            assert load.acknowledged <= set(rows(data_dir, "payload_sha256"))
            gateway.start()
            load.wait_for_more()
        load.stop()
    found = wait_until_stored(data_dir, "payload_sha256", load.sent)
    assert gateway.stop() == 0
    assert set(found) == load.sent
    assert set(found.values()) == {1}, "what the device sent again was stored as a second event"
