"""Readings of 700 B over MQTT, each way; against mosquitto alone with a bare paho subscriber that stores nothing.

A reading counts when its result came back to the device, that is after the commit; the reference counts deliveries.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figure import ROOT, Figure
from benchmarks.mqtt_gateway import Way, load, site
from benchmarks.run import median
from tests.fakes.mosquitto import Mosquitto

ROUNDS = 3
SECONDS = 4.0
CLIENTS = 8
WINDOW = 8
TOPIC = "devices/{device_id}/readings"
READING_BYTES = 700


def measure() -> Iterator[Figure]:
    """Yield readings/s for each way and for the reference, all in one run."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        body = folder / "reading.json"
        reading = {"temperature": 21.5, "humidity": 40.2, "note": ""}
        reading["note"] = "x" * (READING_BYTES - len(json.dumps(reading)))
        body.write_text(json.dumps(reading))
        with site(folder) as running:
            rounds: dict[str, list[dict[str, float]]] = {way.name: [] for way in running.ways}
            bare = []
            for _ in range(ROUNDS):
                for way in running.ways:
                    result = load(way, TOPIC, clients=CLIENTS, window=WINDOW, seconds=SECONDS, body=body)
                    rounds[way.name].append({"per_s": result["answered"] / result["seconds"]})
                bare.append(_bare(folder, body))
        limit = median(bare, "per_s")
        for way_name, results in rounds.items():
            rate = median(results, "per_s")
            yield Figure(
                name=f"MQTT {way_name}: {READING_BYTES} B readings/s, committed and told",
                ours=f"{rate:.0f}/s",
                bare=f"{limit:.0f}/s (mosquitto and a subscriber that stores nothing)",
                ratio=rate / limit,
            )


def _bare(folder: Path, body: Path) -> dict[str, float]:
    with tempfile.TemporaryDirectory(dir=folder) as own, Mosquitto(Path(own), conf=None) as broker:
        command = [sys.executable, "-m", "benchmarks.bare_mqtt_subscriber", str(broker.port), "devices/+/readings"]
        with subprocess.Popen([*command, str(SECONDS + 1)], cwd=ROOT, stdout=subprocess.PIPE, text=True) as subscriber:
            assert subscriber.stdout is not None
            subscriber.stdout.readline()
            way = Way(name="bare", port=broker.port)
            load(way, TOPIC, clients=CLIENTS, window=WINDOW, seconds=SECONDS, body=body, awaits="pubacks")
            result: dict[str, float] = json.loads(subscriber.stdout.readline())
            return result
