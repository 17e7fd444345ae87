"""A row of the table, and what the scripts share."""

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CUSTOM_VISION_MODEL = ROOT.parent / "shared" / "models" / "custom-vision-apple-orange"
DEMO_MODEL = ROOT / "config" / "models" / "fruit"
TICKS_PER_S = 100  # USER_HZ, proc_pid_stat(5): 100 on every Linux we run on


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured thing: ours, the bare limit, and their ratio (more is better for ``ratio``)."""

    name: str
    ours: str
    bare: str
    ratio: float | None
    aim: str = ""


def model_folder() -> Path:
    """Return a Custom Vision export where one lies beside the checkout, else the demo model."""
    return CUSTOM_VISION_MODEL if CUSTOM_VISION_MODEL.is_dir() else DEMO_MODEL


def cpu_seconds(pid: int) -> float:
    """Return user + system CPU seconds of a process, its threads included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def rss_mb(pid: int) -> float:
    """Return the resident set in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def photograph(width: int = 1024, height: int = 768) -> bytes:
    """Return a JPEG of synthetic fruit of that size."""
    import io

    import numpy as np

    from gateway.simulators.fruit import FruitKind, draw_fruit

    buffer = io.BytesIO()
    draw_fruit(np.random.default_rng(7), kind=FruitKind.BANANA, ripe=True, size=(width, height)).save(
        buffer, "JPEG", quality=88
    )
    return buffer.getvalue()
