"""Readings of 700 B over MQTT, each way; against mosquitto alone with a bare paho subscriber that stores nothing.

mosquitto's defaults keep nothing of it on disk; our configuration saves, and its cost shows in the second reference.
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
from tests.fakes.mosquitto import OURS, Mosquitto

ROUNDS = 3
SECONDS = 4.0
CLIENTS = 8
WINDOW = 8
TOPIC = "devices/{device_id}/readings"
READING_BYTES = 700
# mosquitto with a paho subscriber that stores nothing, with its defaults and with what keeps its promises.
REFERENCES: dict[str, Path | None] = {"mosquitto's defaults": None, "our mosquitto.conf": OURS}


def measure() -> Iterator[Figure]:
    """Yield readings/s for each way and for the references, all in one run."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        body = folder / "reading.json"
        body.write_text(_reading())
        ours: dict[str, list[dict[str, float]]] = {}
        bare: dict[str, list[dict[str, float]]] = {}
        with site(folder) as running:
            for _ in range(ROUNDS):
                for way in running.ways:
                    result = load(way, TOPIC, clients=CLIENTS, window=WINDOW, seconds=SECONDS, body=body)
                    ours.setdefault(way.name, []).append({"per_s": result["answered"] / result["seconds"]})
                for reference, conf in REFERENCES.items():
                    bare.setdefault(reference, []).append(_bare(folder, body, conf))
        for way in running.ways:
            for reference in REFERENCES:
                rate, limit = median(ours[way.name], "per_s"), median(bare[reference], "per_s")
                yield Figure(
                    name=f"MQTT {way.name}: {READING_BYTES} B readings/s, committed and told; bare: {reference}",
                    ours=f"{rate:.0f}/s",
                    bare=f"{limit:.0f}/s",
                    ratio=rate / limit,
                )


def _reading() -> str:
    reading = {"temperature": 21.5, "humidity": 40.2, "note": ""}
    return json.dumps(reading | {"note": "x" * (READING_BYTES - len(json.dumps(reading)))})


def _bare(folder: Path, body: Path, conf: Path | None) -> dict[str, float]:
    with tempfile.TemporaryDirectory(dir=folder) as own, Mosquitto(Path(own), conf=conf) as broker:
        command = [sys.executable, "-m", "benchmarks.bare_mqtt_subscriber", str(broker.port), "devices/+/readings"]
        with subprocess.Popen([*command, str(SECONDS + 1)], cwd=ROOT, stdout=subprocess.PIPE, text=True) as subscriber:
            assert subscriber.stdout is not None
            subscriber.stdout.readline()
            way = Way(name="bare", port=broker.port)
            load(way, TOPIC, clients=CLIENTS, window=WINDOW, seconds=SECONDS, body=body, awaits="pubacks")
            result: dict[str, float] = json.loads(subscriber.stdout.readline())
            return result
