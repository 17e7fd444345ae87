"""A gateway with both ways of MQTT open and a mosquitto beside it, for the MQTT benchmarks."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figure import DEMO_MODEL
from benchmarks.run import run_json
from tests.fakes.gateway_process import GatewayProcess
from tests.fakes.mosquitto import Mosquitto


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way in: where devices connect."""

    name: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What runs, and the two ways to it."""

    gateway: GatewayProcess
    broker: Mosquitto
    ways: tuple[Way, ...]


@contextmanager
def site(folder: Path, *, model: Path = DEMO_MODEL) -> Iterator[Site]:
    """Start both. ``in_flight_max`` is that of the intake, so that it is the classifier that limits."""
    with Mosquitto(folder / "broker") as broker:
        environment = {
            "GATEWAY_MQTT__URL": broker.url,
            "GATEWAY_MQTT__IN_FLIGHT_MAX": "64",
            "GATEWAY_LIMITS__MEMORY_BUDGET_MB": "512",
        }
        with GatewayProcess(folder / "data", environment=environment, model=model) as gateway:
            ways = (
                Way(name="through mosquitto", port=broker.port),
                Way(name="own listener", port=int(gateway.mqtt.rpartition(":")[2])),
            )
            yield Site(gateway=gateway, broker=broker, ways=ways)


def load(
    way: Way, topic: str, *, clients: int, window: int, seconds: float, body: Path, awaits: str = "results"
) -> dict[str, float]:
    """Run the load client against one way."""
    return run_json(
        "benchmarks.mqtt_load", str(way.port), topic, str(clients), str(window), str(seconds), str(body), awaits
    )
