"""What one process may take at once, derived from ``limits.memory_budget_mb``.

Pure arithmetic, in MiB of resident memory of the gateway's own process (the cloud SDK's child is not in it):

    budget = PROCESS + workers * INTERPRETER + faces + bodies + pictures

- *faces*: what HTTP, MQTT, Bluetooth and pulled cameras hold beside the intake, each bounded by its own settings
  (``gateway/memory_shares.py``).
- *bodies*: encoded pictures and readings in the intake. At least one picture of ``limits.image_bytes_max``,
  else an eighth of what is left.
- *pictures*: the rest, for decoded pixels at ``DECODED_BYTES_PER_PIXEL``. ``pixels_max`` is the cap of one
  picture **and** of all pictures that are decoded at the same time: one budget, shared by the workers.

With the default of 300 MiB and four workers: 300 - 100 - 4*12 = 152; faces 42 (the MQTT listener 36, HTTP 6); bodies
110/8 = 14; pictures 96 MiB, 12.6 million pixels, which admits a phone's 4032x3024 (12.19). With the least, 128 MiB,
and no MQTT listener: one worker, 128 - 100 - 12 - 6 = 10; bodies 8; pictures 2 MiB, 0.3 million pixels (640x480).
"""

from dataclasses import dataclass
from typing import Any

from gateway.memory_shares import Share, face_shares
from gateway.settings.sections import MIB, Settings

# Measured, CPython 3.11 on x86_64: 100 MiB resident with every face on and no interpreter (LiteRT, NumPy, Pillow,
# Starlette, SQLite, paho), 35 of them file pages that other processes may share; 105 after a few pictures.
PROCESS_MIB = 100

# Measured with a Custom Vision export of 2.5 MB: 10 to 12 MiB for each interpreter on LiteRT (1 to 5 for a
# quantised MobileNet), of which 8 to 10 private; 15 to 17 on tflite-runtime.
INTERPRETER_MIB = 12

# Extra workers may take a third of what process and faces leave: pixels are what devices notice first.
WORKERS_SHARE = 1 / 3

# A phone's photograph. Workers that nobody asked for by number give way to it, where that is enough.
PHONE_PIXELS = 4032 * 3024

# A decoded RGB picture takes 4 bytes a pixel in Pillow, and EXIF rotation holds a second copy. Measured for baseline
# JPEG, PNG and BMP: 8.2. Progressive JPEG peaks at 10 to 12 and WebP at 17 to 18: gateway/vision/image.py, which has
# the same constant, weighs their pixels heavier. It is not imported: Pillow belongs to vision.
DECODED_BYTES_PER_PIXEL = 8

# Seven eighths of the rest for pixels: a picture is some forty times larger decoded than encoded.
BODIES_SHARE = 1 / 8

# Below a VGA picture a gateway for cameras makes no sense.
PIXELS_MIN = 640 * 480
_SMALL_PICTURE_BYTES = PIXELS_MIN * DECODED_BYTES_PER_PIXEL


class LimitsImpossible(ValueError):
    """Limits that contradict each other. ``key`` is the setting to change, ``cure`` says to what."""

    def __init__(self, *, key: str, text: str, cure: str) -> None:
        super().__init__(f"{key}: {text}. {cure}")
        self.key = key
        self.text = text
        self.cure = cure


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds for the parts. ``pixels_max`` holds for one picture and for the sum of those being decoded.

    ``shares`` is everything that the budget is for; together they are the budget, or a few bytes less.
    """

    pixels_max: int
    workers: int
    in_flight_bytes_max: int
    in_flight_max: int
    classify_queue_max: int
    commit_queue_max: int
    shares: tuple[Share, ...]


def derive_limits(settings: Settings, cpu_count: int) -> Limits:
    """Return the bounds that ``settings`` imply on ``cpu_count`` cores. Raises LimitsImpossible (a ValueError).

    Whether it raises does not depend on ``cpu_count``: workers that were not asked for by number give way.
    """
    room = _Room(settings)
    most = room.workers_most
    if most < 1:
        raise _too_small(room)
    if settings.model.workers > most:
        raise LimitsImpossible(
            key="model.workers",
            text=f"only {most} of {INTERPRETER_MIB} MiB each fit into memory_budget_mb = {room.budget_mib}",
            cure=f"Set workers to {most} or less (0: the gateway chooses), "
            f"or memory_budget_mb to {room.budget_least(settings.model.workers)} or more.",
        )
    workers = settings.model.workers or room.workers_wanted(cpu_count)
    return Limits(
        pixels_max=room.pixels(workers),
        workers=workers,
        in_flight_bytes_max=room.bodies(workers),
        in_flight_max=settings.limits.in_flight_max,
        # Each submission in flight waits in one place at most, so this bound never refuses by itself.
        classify_queue_max=settings.limits.in_flight_max,
        # A submission commits at most a draft and a refusal; the forwarder marks at most a window of messages.
        commit_queue_max=2 * settings.limits.in_flight_max + settings.cloud.window,
        shares=room.shares(workers),
    )


class _Room:
    """What the budget leaves for a number of workers."""

    def __init__(self, settings: Settings) -> None:
        self.budget_mib = settings.limits.memory_budget_mb
        self.body = settings.limits.image_bytes_max
        self.faces = face_shares(settings)
        self._settings = settings
        self._faces_bytes = sum(share.byte_count for share in self.faces)

    def free(self, workers: int) -> int:
        """Return the bytes for bodies and pictures; below zero when the rest alone is too much."""
        return (self.budget_mib - PROCESS_MIB - workers * INTERPRETER_MIB) * MIB - self._faces_bytes

    def bodies(self, workers: int) -> int:
        return max(self.body, int(self.free(workers) * BODIES_SHARE))

    def pixels(self, workers: int) -> int:
        return (self.free(workers) - self.bodies(workers)) // DECODED_BYTES_PER_PIXEL

    @property
    def least_bytes(self) -> int:
        """One largest body and the smallest useful picture."""
        return self.body + _SMALL_PICTURE_BYTES

    def is_raised(self, key: str) -> bool:
        """Whether a number is above its default."""
        here: Any = self._settings
        default: Any = Settings()
        for name in key.split("."):
            here, default = getattr(here, name), getattr(default, name)
        return isinstance(here, int) and here > default

    @property
    def workers_most(self) -> int:
        """How many fit beside the least; 0 or less: not even one."""
        return (self.free(workers=0) - self.least_bytes) // (INTERPRETER_MIB * MIB)

    def workers_wanted(self, cpu_count: int) -> int:
        """One per core; their share of the memory and a phone's photograph permitting; at least one."""
        affordable = int(self.free(workers=0) / MIB * WORKERS_SHARE / INTERPRETER_MIB)
        wanted = max(1, min(cpu_count, affordable, self.workers_most))
        for fewer in range(wanted, 0, -1):
            if self.pixels(fewer) >= PHONE_PIXELS:
                return fewer
        return wanted

    def budget_least(self, workers: int) -> int:
        """Return the smallest ``memory_budget_mb`` that admits ``workers``."""
        return PROCESS_MIB + workers * INTERPRETER_MIB + -(-(self.least_bytes + self._faces_bytes) // MIB)

    def shares(self, workers: int) -> tuple[Share, ...]:
        return (
            Share(name="the process", byte_count=PROCESS_MIB * MIB, key="limits.memory_budget_mb"),
            Share(name="interpreters", byte_count=workers * INTERPRETER_MIB * MIB, key="model.workers"),
            *self.faces,
            Share(name="payloads in work", byte_count=self.bodies(workers), key="limits.image_bytes_max"),
            Share(
                name="decoded pictures",
                byte_count=self.pixels(workers) * DECODED_BYTES_PER_PIXEL,
                key="limits.memory_budget_mb",
            ),
        )


def _too_small(room: _Room) -> LimitsImpossible:
    """Return the error that names every part. It accuses the largest that a setting above its default made so large."""
    body = Share(name="one payload", byte_count=room.body, key="limits.image_bytes_max")
    faces = sorted((*room.faces, body), key=lambda share: share.byte_count, reverse=True)
    parts = ", ".join(f"{share.name} {_mib(share.byte_count)}" for share in faces)
    least = room.budget_least(1)
    text = (
        f"the settings allow {least} MiB, and limits.memory_budget_mb = {room.budget_mib}: the process {PROCESS_MIB}, "
        f"one interpreter {INTERPRETER_MIB}, {parts}, the pixels of a small picture {_mib(_SMALL_PICTURE_BYTES)}"
    )
    raised = next((share.key for share in faces if room.is_raised(share.key)), None)
    if raised is not None:
        name = raised.rpartition(".")[2]
        return LimitsImpossible(
            key=raised, text=text, cure=f"Set a lower {name}, or memory_budget_mb to {least} or more."
        )
    return LimitsImpossible(
        key="limits.memory_budget_mb",
        text=text,
        cure=f"Set memory_budget_mb to {least} or more, or lower {faces[0].key}, or turn a face off.",
    )


def _mib(byte_count: int) -> str:
    return f"{byte_count / MIB:.0f}" if byte_count >= 10 * MIB else f"{byte_count / MIB:.1f}"
