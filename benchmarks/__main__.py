"""``python -m benchmarks [NAME ...]``: run all or some, print one table."""

import importlib
import os
import platform
import sys

from rich.console import Console
from rich.table import Table

NAMES = (
    "http_images",
    "readings",
    "drain",
    "outbox_scale",
    "salvage",
    "footprint",
    "mqtt_images",
    "mqtt_readings",
    "mqtt_connections",
    "ble_pictures",
    "camera_pull",
    "flash_wear",
    "slow_card",
    "peer_kills",
)


def main(names: tuple[str, ...]) -> None:
    """Measure and print; progress goes to standard error."""
    progress, out = Console(stderr=True), Console(width=150)
    table = Table(
        "what", "ours", "bare limit", "ours/bare", "aim", title=f"{os.cpu_count()} cores, {platform.machine()}"
    )
    for name in names:
        with progress.status(f"measuring {name} ..."):
            for figure in importlib.import_module(f"benchmarks.{name}").measure():
                ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
                table.add_row(figure.name, figure.ours, figure.bare, ratio, figure.aim)
                progress.print(f"{figure.name}: {figure.ours} (bare {figure.bare or 'none'}) {ratio}")
    out.print(table)


if __name__ == "__main__":
    main(tuple(sys.argv[1:]) or NAMES)
