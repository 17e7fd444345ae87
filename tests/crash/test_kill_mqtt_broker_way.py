"""kill -9 of the gateway, of the broker and of both, under load through a real mosquitto with our configuration.

``SOAK_ROUNDS`` sets how often (8 by default). Three witnesses stand outside: the devices remember what the broker
acknowledged to them, a proxy between broker and gateway remembers what the gateway acknowledged to the broker, and the
outbox file is read as any reader would.
"""

import contextlib
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fakes.gateway_process import GatewayProcess
from tests.fakes.mosquitto import Mosquitto, needs_mosquitto
from tests.fakes.mqtt_load import DRAIN_TIMEOUT_S, Load, rows, wait_until_stored
from tests.fakes.mqtt_witness import MqttWitness

pytestmark = needs_mosquitto

ROUNDS = int(os.environ.get("SOAK_ROUNDS", "8"))
# mosquitto answers a publisher first and saves then; a save of a small database takes milliseconds.
BROKER_SAVES_WITHIN_S = 1.0


def gateway_at(url: str, data_dir: Path, failpoint: str | None = None) -> GatewayProcess:
    environment = {"GATEWAY_MQTT__URL": url}
    if failpoint is not None:
        environment["GATEWAY_FAILPOINT"] = failpoint
    return GatewayProcess(data_dir, environment=environment, supervised=failpoint is None)


@contextmanager
def site(tmp_path: Path) -> Iterator[tuple[Mosquitto, Path]]:
    """A broker that knows our session already: what is published before that nobody has asked for."""
    with Mosquitto(tmp_path / "broker") as broker:
        with gateway_at(broker.url, tmp_path / "data"):
            pass
        yield broker, tmp_path / "data"


@pytest.mark.timeout(120 + 30 * ROUNDS)
def test_kill_of_the_gateway_loses_nothing_and_doubles_nothing_without_any_ids(tmp_path: Path) -> None:
    rng = random.Random(20261124)
    with site(tmp_path) as (broker, data_dir), MqttWitness(broker.port) as witness:
        with Load(broker, with_ids=False) as load:
            for number in range(ROUNDS):
                # In turn: at any moment; after a commit and before its PUBACK; before a commit that was asked for.
                failpoint = (None, "outbox_after_commit", "outbox_before_commit")[number % 3]
                armed = None if failpoint is None else f"{failpoint}:{rng.randrange(2, 40)}"
                run_and_kill(gateway_at(witness.url, data_dir, armed), after_s=rng.uniform(0.1, 0.8), armed=armed)
                assert witness.acknowledged <= set(rows(data_dir, "payload_sha256"))
        with gateway_at(witness.url, data_dir):
            found = wait_until_stored(data_dir, "payload_sha256", load.sent)
        assert witness.redelivered, "nothing was redelivered: the test showed nothing"
        assert witness.acknowledged <= set(found)
        assert set(found) == load.sent, "what the broker acknowledged to the device is missing"
        assert set(found.values()) == {1}, "a redelivery was stored as a second event"


def run_and_kill(gateway: GatewayProcess, *, after_s: float, armed: str | None) -> None:
    if armed is None:
        gateway.start()
        time.sleep(after_s)
    else:
        with contextlib.suppress(AssertionError):  # it may be dead before its banner is out
            gateway.start()
        gateway.wait(DRAIN_TIMEOUT_S)
    gateway.kill()


@pytest.mark.timeout(120 + 30 * ROUNDS)
@pytest.mark.parametrize("both", [False, True], ids=["broker", "both"])
def test_kill_of_the_broker_loses_at_most_what_it_had_not_saved_yet(tmp_path: Path, both: bool) -> None:
    rng = random.Random(20261125)
    killed_at: list[float] = []
    with site(tmp_path) as (broker, data_dir), MqttWitness(broker.port) as witness:
        gateway = gateway_at(witness.url, data_dir).start()
        with Load(broker, with_ids=True) as load:
            for _ in range(ROUNDS):
                time.sleep(rng.uniform(0.3, 1.0))
                killed_at.append(time.monotonic())
                broker.kill()
                if both:
                    gateway.kill()
                    assert witness.acknowledged <= set(rows(data_dir, "payload_sha256"))
                broker.start()
                if both:
                    gateway.start()
        expected = {name for name, at in load.acknowledged_at.items() if not unsaved(at, killed_at)}
        found = wait_until_stored(data_dir, "submission_id", expected)
        assert gateway.stop() == 0
    assert witness.acknowledged <= set(rows(data_dir, "payload_sha256"))
    assert expected <= set(found), "lost what the broker had long saved"
    assert set(found.values()) == {1}, "with ids of its own nothing is ever doubled"


def unsaved(acknowledged_at: float, killed_at: list[float]) -> bool:
    return any(at - BROKER_SAVES_WITHIN_S < acknowledged_at < at + 0.05 for at in killed_at)
