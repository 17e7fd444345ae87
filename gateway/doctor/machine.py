"""Clock, memory and cores of this machine."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from gateway import RELEASED_AT
from gateway.doctor.finding import Finding, fail, ok, warn
from gateway.timekeeping.trust import Evidence, TrustMode

MEMINFO = Path("/proc/meminfo")
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
BATTERY_CLOCKS = Path("/sys/class/rtc")
# Measured (`make bench`): the SDK's child and the parent of `gateway run`.
BESIDE_THE_BUDGET_MB = 52
KIB_PER_MIB = 1024
_CLOCK, _MEMORY, _CORES = "clock", "memory", "cores"


def judge_clock(*, now: datetime, evidence: Evidence, mode: TrustMode, has_battery: bool, uses_cloud: bool) -> Finding:
    """Return whether the wall clock is right, and what it means if not."""
    said = f"{now:%Y-%m-%d %H:%M:%S} UTC"
    if now < RELEASED_AT:
        cure = "set the clock: timedatectl set-ntp true, or by hand: date -s"
        text = f"{said}: before this software was made"
        return (fail if uses_cloud else warn)(_CLOCK, f"{text}{'; the hub refuses us' * uses_cloud}", cure)
    if mode is TrustMode.NEVER:
        return ok(_CLOCK, f"{said}, not believed (clock.trust = never): events say unsynced")
    if evidence.is_synchronised:
        return ok(_CLOCK, f"{said}, synchronised now")
    if mode is TrustMode.ALWAYS:
        return ok(_CLOCK, f"{said}, believed (clock.trust = always)")
    if evidence.was_synchronised:
        return ok(_CLOCK, f"{said}, synchronised since the start")
    battery = "" if has_battery else ", and after a power cut this board starts in the past: it has no battery clock"
    return warn(
        _CLOCK,
        f"{said}, not synchronised: events say unsynced until it is{battery}",
        "install a time daemon (chrony, systemd-timesyncd); with a good battery clock: clock.trust = always",
    )


def has_battery_clock(folder: Path = BATTERY_CLOCKS) -> bool:
    """Return whether the machine has a clock that runs without power, as far as the kernel knows."""
    return folder.is_dir() and any(folder.iterdir())


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """MiB of this machine, or of the container's limit where that is less."""

    total_mb: int
    available_mb: int


def measure_memory(meminfo: Path = MEMINFO, limit: Path = CGROUP_LIMIT) -> Memory:
    """Return what there is. Raises OSError where /proc is not there."""
    fields = dict(line.split(":", 1) for line in meminfo.read_text(encoding="ascii").splitlines() if ":" in line)
    total = int(fields["MemTotal"].split()[0]) // KIB_PER_MIB
    available = int(fields.get("MemAvailable", fields["MemFree"]).split()[0]) // KIB_PER_MIB
    text = limit.read_text(encoding="ascii").strip() if limit.is_file() else "max"
    if text.isdigit():
        total = min(total, int(text) // (KIB_PER_MIB * KIB_PER_MIB))
    return Memory(total_mb=total, available_mb=min(available, total))


def judge_memory(memory: Memory, *, budget_mb: int, is_running: bool) -> Finding:
    """Return whether the budget fits. A gateway that runs has its memory already."""
    wanted = budget_mb + BESIDE_THE_BUDGET_MB
    text = f"{memory.total_mb} MiB, {memory.available_mb} free; the gateway may take {wanted}"
    figures = (("memory_total_mb", float(memory.total_mb)), ("memory_available_mb", float(memory.available_mb)))
    if memory.total_mb < wanted:
        cure = f"lower limits.memory_budget_mb to {memory.total_mb - 2 * BESIDE_THE_BUDGET_MB}; see gateway check"
        return fail(_MEMORY, text, cure, figures=figures)
    if memory.available_mb < wanted and not is_running:
        return warn(_MEMORY, text, "stop other programs, or lower limits.memory_budget_mb", figures=figures)
    return ok(_MEMORY, text, figures=figures)


def judge_cores(cores: int, *, workers: int) -> Finding:
    """Return how many pictures are classified at once."""
    text = f"{cores}; {workers} picture{'s' if workers > 1 else ''} classified at once"
    return ok(_CORES, text, figures=(("cores", float(cores)), ("workers", float(workers))))
