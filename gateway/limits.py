"""What one process may take at once, derived from ``limits.memory_budget_mb``.

Pure arithmetic, in MiB of resident memory of the gateway's own process (the cloud SDK's child is not in it):

    budget = PROCESS + workers * INTERPRETER + bodies + pictures

- *bodies*: encoded pictures and readings in memory. At least one picture of ``limits.image_bytes_max``,
  else an eighth of what is left after process and workers.
- *pictures*: the rest, for decoded pixels at ``DECODED_BYTES_PER_PIXEL``. ``pixels_max`` is the cap of one
  picture **and** of all pictures that are decoded at the same time: one budget, shared by the workers.

With the default of 256 MiB and four workers: 256 - 100 - 4*12 = 108; bodies 108/8 = 13.5; pictures 94.5 MiB,
12.38 million pixels, which admits a phone's 4032x3024 (12.19). With the least, 128 MiB: one worker,
128 - 100 - 12 = 16; bodies 8 (one picture of the default 8 MiB); pictures 8 MiB, 1.05 million pixels (1024x768).
"""

from dataclasses import dataclass

from gateway.settings.sections import MIB, Settings

# Measured, CPython 3.11 on x86_64: 93 MiB resident after importing everything (LiteRT, NumPy, Pillow, FastAPI,
# SQLite), 33 of them file pages that other processes may share; the rest is for the event loop, threads and caches.
PROCESS_MIB = 100

# Measured with a Custom Vision export of 2.5 MB: 10 to 12 MiB for each interpreter on LiteRT (1 to 5 for a
# quantised MobileNet), of which 8 to 10 private; 15 to 17 on tflite-runtime.
INTERPRETER_MIB = 12

# Extra workers may take a third of what the process leaves: pixels are what devices notice first.
WORKERS_SHARE = 1 / 3

# A decoded RGB picture takes 4 bytes a pixel in Pillow, and EXIF rotation holds a second copy. Measured for baseline
# JPEG, PNG and BMP: 8.2. Progressive JPEG peaks at 10 to 12 and WebP at 17 to 18: gateway/vision/image.py, which has
# the same constant, weighs their pixels heavier. It is not imported: Pillow belongs to vision.
DECODED_BYTES_PER_PIXEL = 8

# Seven eighths of the rest for pixels: a picture is some forty times larger decoded than encoded.
BODIES_SHARE = 1 / 8

# Below a VGA picture a gateway for cameras makes no sense.
PIXELS_MIN = 640 * 480


class LimitsImpossible(ValueError):
    """Limits that contradict each other. ``key`` is the setting to change, ``cure`` says to what."""

    def __init__(self, *, key: str, text: str, cure: str) -> None:
        super().__init__(f"{key}: {text}. {cure}")
        self.key = key
        self.text = text
        self.cure = cure


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds for the parts. ``pixels_max`` holds for one picture and for the sum of those being decoded."""

    pixels_max: int
    workers: int
    in_flight_bytes_max: int
    in_flight_max: int
    classify_queue_max: int
    commit_queue_max: int


def derive_limits(settings: Settings, cpu_count: int) -> Limits:
    """Return the bounds that ``settings`` imply on ``cpu_count`` cores. Raises LimitsImpossible (a ValueError).

    Whether it raises does not depend on ``cpu_count``: workers that were not asked for by number give way.
    """
    budget = settings.limits.memory_budget_mb
    body = settings.limits.image_bytes_max
    most = _workers_most(budget, body)
    if most < 1:
        raise LimitsImpossible(
            key="limits.image_bytes_max",
            text=f"a picture of {body} bytes leaves less than {PIXELS_MIN} pixels of memory_budget_mb = {budget}",
            cure=f"Set image_bytes_max to {_body_most(budget)} or less, "
            f"or memory_budget_mb to {_budget_least(1, body)} or more.",
        )
    if settings.model.workers > most:
        raise LimitsImpossible(
            key="model.workers",
            text=f"only {most} of {INTERPRETER_MIB} MiB each fit into memory_budget_mb = {budget}",
            cure=f"Set workers to {most} or less (0: the gateway chooses), "
            f"or memory_budget_mb to {_budget_least(settings.model.workers, body)} or more.",
        )
    workers = settings.model.workers or min(most, _workers_wanted(budget, cpu_count))
    bodies = _bodies(budget, workers, body)
    return Limits(
        pixels_max=(_free(budget, workers) - bodies) // DECODED_BYTES_PER_PIXEL,
        workers=workers,
        in_flight_bytes_max=bodies,
        in_flight_max=settings.limits.in_flight_max,
        # Each submission in flight waits in one place at most, so this bound never refuses by itself.
        classify_queue_max=settings.limits.in_flight_max,
        # A submission commits at most a draft and a refusal; the forwarder marks at most a window of messages.
        commit_queue_max=2 * settings.limits.in_flight_max + settings.cloud.window,
    )


def _free(budget_mb: int, workers: int) -> int:
    """Return the bytes for bodies and pictures; below zero when the workers alone are too many."""
    return (budget_mb - PROCESS_MIB - workers * INTERPRETER_MIB) * MIB


def _bodies(budget_mb: int, workers: int, image_bytes_max: int) -> int:
    return max(image_bytes_max, int(_free(budget_mb, workers) * BODIES_SHARE))


def _workers_wanted(budget_mb: int, cpu_count: int) -> int:
    """One per core; their share of the memory permitting; at least one."""
    affordable = int((budget_mb - PROCESS_MIB) * WORKERS_SHARE / INTERPRETER_MIB)
    return max(1, min(cpu_count, affordable))


def _workers_most(budget_mb: int, image_bytes_max: int) -> int:
    """Return how many fit beside one largest body and the smallest useful picture; 0 or less: not even one."""
    needed = image_bytes_max + PIXELS_MIN * DECODED_BYTES_PER_PIXEL
    return (_free(budget_mb, workers=0) - needed) // (INTERPRETER_MIB * MIB)


def _body_most(budget_mb: int) -> int:
    return _free(budget_mb, workers=1) - PIXELS_MIN * DECODED_BYTES_PER_PIXEL


def _budget_least(workers: int, image_bytes_max: int) -> int:
    """Return the smallest ``memory_budget_mb`` that admits these."""
    needed = image_bytes_max + PIXELS_MIN * DECODED_BYTES_PER_PIXEL
    return PROCESS_MIB + workers * INTERPRETER_MIB + -(-needed // MIB)
