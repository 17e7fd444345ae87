"""60 KB pictures over MQTT, each way: published, classified, committed, told; against the bare decode+invoke loop.

CPU seconds are the gateway's own, devices and broker excluded; both sides run in turn, on as many threads. A picture
counts when its result came back to the device, that is after the commit.
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figure import Figure, cpu_seconds, model_folder, photograph
from benchmarks.mqtt_gateway import Site, Way, load, site
from benchmarks.run import median, run_json

ROUNDS = 3
SECONDS = 4.0
CLIENTS = 8
WINDOW = 4
TOPIC = "devices/{device_id}/images"
PICTURE_SIZE = (1024, 768)
PICTURE_BYTES = 60_000


def measure() -> Iterator[Figure]:
    """Yield CPU per picture and rate for each way."""
    model = model_folder()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        picture = folder / "picture.jpg"
        # Padded behind the end of the image: what matters to MQTT is the size, to the decoder the pixels.
        picture.write_bytes(photograph(*PICTURE_SIZE).ljust(PICTURE_BYTES, b"\0"))
        with site(folder, model=model) as running:
            for way in running.ways:
                yield from _measure_way(running, way, model, picture)


def _measure_way(running: Site, way: Way, model: Path, picture: Path) -> Iterator[Figure]:
    ours, bare = [], []
    threads = os.cpu_count() or 1
    for _ in range(ROUNDS):
        before = cpu_seconds(running.gateway.worker_pid)
        result = load(way, TOPIC, clients=CLIENTS, window=WINDOW, seconds=SECONDS, body=picture)
        result["cpu_s_per_picture"] = (cpu_seconds(running.gateway.worker_pid) - before) / max(1, result["answered"])
        ours.append(result | {"per_s": result["answered"] / result["seconds"]})
        bare.append(run_json("benchmarks.bare_classify", str(model), str(picture), str(threads), str(SECONDS)))
    cpu, bare_cpu = median(ours, "cpu_s_per_picture"), median(bare, "cpu_s_per_picture")
    kilobytes = picture.stat().st_size // 1000
    yield Figure(
        name=f"MQTT {way.name}: CPU per {kilobytes} kB picture",
        ours=f"{cpu * 1000:.2f} ms",
        bare=f"{bare_cpu * 1000:.2f} ms",
        ratio=bare_cpu / cpu,
        aim="≥ 0.9",
    )
    rate, bare_rate = median(ours, "per_s"), median(bare, "per_s")
    yield Figure(
        name=f"MQTT {way.name}: pictures/s (devices and broker share the cores)",
        ours=f"{rate:.1f}/s",
        bare=f"{bare_rate:.1f}/s",
        ratio=rate / bare_rate,
    )
