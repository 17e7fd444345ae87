"""Two gateways share one broker's messages ($share): the example of docs/mqtt-broker.md, run for real.

What it shows: every message is stored by exactly one of them. And the caveat: a member that is away still gets its
share, which waits in the broker until it is back.
"""

import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from tests.fakes.gateway_process import GatewayProcess
from tests.fakes.mosquitto import Mosquitto, Publisher, needs_mosquitto

pytestmark = needs_mosquitto
MESSAGES = 200


def member(broker: Mosquitto, folder: Path, name: str) -> GatewayProcess:
    environment = {
        "GATEWAY_GATEWAY__ID": name,
        "GATEWAY_MQTT__URL": broker.url,
        "GATEWAY_MQTT__SHARE_GROUP": "gateways",
    }
    return GatewayProcess(folder / name, environment=environment)


def stored(gateway: GatewayProcess) -> Counter[str]:
    with closing(sqlite3.connect(f"file:{gateway.data_dir / 'outbox.db'}?mode=ro", uri=True)) as connection:
        return Counter(value for (value,) in connection.execute("SELECT result FROM events"))


def publish(broker: Mosquitto, first: int) -> None:
    with Publisher(broker, f"device-{first}") as device:
        for number in range(first, first + MESSAGES):
            device.publish(str(number), "devices/d1/readings", b'{"n":%d}' % number)
        device.wait_acknowledged(MESSAGES)


def wait_until(condition: Callable[[], bool], timeout_s: float = 20) -> bool:
    give_up_at = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < give_up_at:
        time.sleep(0.05)
    return condition()


def test_each_message_is_stored_by_one_of_two_gateways_even_if_one_was_away(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker") as broker, member(broker, tmp_path, "gw-a") as one:
        with member(broker, tmp_path, "gw-b") as two:
            publish(broker, 0)
            assert wait_until(lambda: len(stored(one) + stored(two)) == MESSAGES)
            assert stored(one)
            assert stored(two)
        publish(broker, MESSAGES)  # two is away: half of these wait for it
        time.sleep(1)
        assert len(stored(one) + stored(two)) < 2 * MESSAGES, "mosquitto does not keep a share for who is away any more"
        with two:
            assert wait_until(lambda: len(stored(one) + stored(two)) == 2 * MESSAGES)
        together = stored(one) + stored(two)
    assert set(together.values()) == {1}
