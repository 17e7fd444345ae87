"""Pictures over BLE, from a camera's announcement to its status "on disk", against bleak with an empty callback.

All receive the same transfers of `gateway-image-1` from the same fake bluetoothd in the same run, in turn; the clock
is the cameras'. First at the pace of a radio that is used to its limit: this is what a site sees, classification and
fsync included. Then as fast as the bus goes, some seventy times a radio, where whatever we do shows: the receivers'
CPU is what can be compared there, since the bus and the cameras share the cores. "Without a model" is the same path
with a classifier that answers at once: what is between it and the whole gateway is the model.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from benchmarks.ble_site import Cameras, Radio, Received, bare_bleak, whole_gateway, without_model
from benchmarks.figure import Figure, photograph

ROUNDS = 3
SECONDS_AT_PACE = 4
# ATT MTU 247: one notification fills one packet of the longest data (Bluetooth Core, Vol 6 Part B 2.4).
MTU = 247
# LE 2M: 244 bytes in a packet of 1048 us, an empty one back of 44 us, two gaps of 150 us (Vol 6 Part B 2.1, 4.1.1).
RADIO_BYTES_PER_S = round(244 / (1048 + 44 + 2 * 150) * 1e6)
TYPICAL_SIZE = (800, 600)  # 41 kB
LARGE_SIZE = (3000, 2000)  # 320 kB: what each picture costs once counts for little beside its notifications
PICTURES_FLAT_OUT = 100
LARGE_PICTURES_FLAT_OUT = 20

Rounds = Mapping[str, list[Received]]


def measure() -> Iterator[Figure]:
    """Yield goodput at a radio's pace, then goodput and CPU flat out."""
    for cameras in (1, 5):
        pace = RADIO_BYTES_PER_S // cameras
        pictures = max(1, SECONDS_AT_PACE * pace // 41_000)
        rounds = _rounds(("bare", "gateway"), cameras=cameras, bytes_per_s=pace, size=TYPICAL_SIZE, pictures=pictures)
        who = "1 camera" if cameras == 1 else f"{cameras} cameras"
        name = f"BLE, {who} at the pace of a radio (LE 2M)"
        yield _goodput(name, rounds["bare"], rounds["gateway"], aim="≥ 0.9")
    all_three = ("bare", "without_model", "gateway")
    rounds = _rounds(all_three, cameras=1, bytes_per_s=0, size=TYPICAL_SIZE, pictures=PICTURES_FLAT_OUT)
    for how, ours in (("without a model", rounds["without_model"]), ("with the model", rounds["gateway"])):
        yield _goodput(f"BLE flat out, 41 kB pictures, {how}", rounds["bare"], ours)
        yield _cpu(f"BLE CPU per MB, 41 kB pictures, {how}", rounds["bare"], ours)
    large = _rounds(all_three[:2], cameras=1, bytes_per_s=0, size=LARGE_SIZE, pictures=LARGE_PICTURES_FLAT_OUT)
    yield _cpu("BLE CPU per MB, 320 kB pictures, without a model", large["bare"], large["without_model"])


def _rounds(who: Sequence[str], *, cameras: int, bytes_per_s: int, size: tuple[int, int], pictures: int) -> Rounds:
    """Let each receiver have its rounds, in turn; return what they achieved, by name."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        radio = Radio(cameras=cameras, bytes_per_s=bytes_per_s, mtu=MTU, picture=folder / "picture.jpg")
        radio.picture.write_bytes(photograph(*size))
        rounds: dict[str, list[Received]] = {one: [] for one in who}
        with Cameras(folder, radio) as air:
            receivers = {
                "bare": partial(bare_bleak, air.bus, radio),
                "without_model": partial(without_model, air.bus, folder),
                "gateway": partial(whole_gateway, air.bus, folder),
            }
            for _ in range(ROUNDS):
                for one in who:
                    with receivers[one]() as pid:
                        rounds[one].append(air.measure(pid, pictures))
                    air.drop_links()
    return rounds


def _goodput(name: str, bare: list[Received], ours: list[Received], *, aim: str = "") -> Figure:
    rate, bare_rate = (_median([one.bytes_per_s for one in some]) for some in (ours, bare))
    return Figure(
        name=name, ours=f"{rate / 1000:.0f} kB/s", bare=f"{bare_rate / 1000:.0f} kB/s", ratio=rate / bare_rate, aim=aim
    )


def _cpu(name: str, bare: list[Received], ours: list[Received]) -> Figure:
    cpu, bare_cpu = (_median([one.cpu_ms_per_mb for one in some]) for some in (ours, bare))
    return Figure(name=name, ours=f"{cpu:.0f} ms", bare=f"{bare_cpu:.0f} ms", ratio=bare_cpu / cpu)


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]
