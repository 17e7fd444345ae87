"""The whole examination, one finding after the other. Works beside a running gateway and leaves nothing behind."""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.clock import SystemClock
from gateway.cloud.provisioning import AssignmentFile
from gateway.control import ask_running_gateway
from gateway.doctor.bluetooth import bus_path, examine_bluetooth
from gateway.doctor.disk import (
    FREE_BYTES_MIN,
    judge_rates,
    judge_space,
    judge_syncs,
    measure_space,
    measure_syncs,
)
from gateway.doctor.finding import Finding, fail, ok, warn
from gateway.doctor.machine import has_battery_clock, judge_clock, judge_cores, judge_memory, measure_memory
from gateway.doctor.model import examine_model
from gateway.doctor.mounts import MOUNTINFO, judge_mount, mount_of, parse_mounts
from gateway.doctor.network import examine_broker, examine_edge_runtime, examine_hub, examine_ports
from gateway.errors import GatewayError, OperatorError
from gateway.limits import Limits, derive_limits
from gateway.machine import usable_cores
from gateway.outbox.files import DATABASE_NAME
from gateway.outbox.inspection import read_state
from gateway.outbox.probe import measure_commits
from gateway.settings import Settings
from gateway.timekeeping.kernel import KernelClock
from gateway.timekeeping.trust import TrustMode

PROBE_PREFIX = ".doctor-"
Step = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """``on_step`` is told what is looked at now. ``environment`` is the process's."""

    settings: Settings
    environment: Mapping[str, str]
    on_step: Step = lambda _: None

    def findings(self) -> Iterator[Finding]:
        """Yield what was found, in an order that a reader understands. Raises nothing for what is broken."""
        running = self._running()
        yield ok("gateway", "runs on this data" if running else "does not run on this data")
        yield from self._disk()
        yield self._clock()
        yield from self._machine(is_running=running is not None)
        self.on_step("model")
        yield examine_model(self.settings.model, limits=self._limits())
        yield from self._network(running)
        if self.settings.ble.enabled:
            self.on_step("bluetooth")
            yield examine_bluetooth(bus=bus_path(self.environment))

    def _running(self) -> Mapping[str, Any] | None:
        try:
            return ask_running_gateway(self.settings.gateway.data_dir, "status")
        except (GatewayError, OSError):  # it hangs, or another user's: what is measured tells more
            return None

    # --- disk ---

    def _disk(self) -> Iterator[Finding]:
        data_dir = self.settings.gateway.data_dir.absolute()
        place = existing_part(data_dir).resolve()
        mounts = parse_mounts(MOUNTINFO.read_text(encoding="utf-8", errors="replace")) if MOUNTINFO.is_file() else ()
        yield judge_mount(mount_of(place, mounts), data_dir)
        if not os.access(place, os.W_OK | os.X_OK):
            yield fail("data directory", f"{data_dir} can't be written", f"check the owner of {place}")
            return
        yield from self._outbox_file(data_dir)
        space = measure_space(place, data_dir / DATABASE_NAME, bytes_max=self.settings.outbox.bytes_max)
        yield judge_space(space)
        if space.free_bytes >= FREE_BYTES_MIN:
            yield from self._speed(place)

    def _outbox_file(self, data_dir: Path) -> Iterator[Finding]:
        if not (data_dir / DATABASE_NAME).exists():
            yield ok("data directory", f"{data_dir}: no outbox yet, it is made at the first start")
            return
        try:
            state = read_state(data_dir)
        except OperatorError as error:
            yield fail("data directory", str(error), 'see docs/OPERATIONS.md, "When something is wrong"')
            return
        yield ok("data directory", f"{data_dir}: {state.pending} events wait, {state.dead} dead letters")

    def _speed(self, place: Path) -> Iterator[Finding]:
        try:
            with tempfile.TemporaryDirectory(prefix=PROBE_PREFIX, dir=place) as folder:
                self.on_step("the disk's syncs")
                yield judge_syncs(measure_syncs(Path(folder)))
                self.on_step("results a second")
                yield judge_rates(measure_commits(Path(folder) / "outbox"))
        except (GatewayError, OSError) as error:
            yield fail("sync", f"the disk can't be written: {error}", "check the card: dmesg")

    # --- machine ---

    def _clock(self) -> Finding:
        return judge_clock(
            now=SystemClock().now(),
            evidence=KernelClock().evidence(),
            mode=TrustMode(self.settings.clock.trust),
            has_battery=has_battery_clock(),
            uses_cloud=self.settings.cloud.configured,
        )

    def _machine(self, *, is_running: bool) -> Iterator[Finding]:
        try:
            memory = measure_memory()
        except OSError as error:
            yield warn("memory", f"can't be measured: {error}", "mount /proc")
        else:
            yield judge_memory(memory, budget_mb=self.settings.limits.memory_budget_mb, is_running=is_running)
        yield judge_cores(usable_cores(), workers=self._limits().workers)

    def _limits(self) -> Limits:
        return derive_limits(self.settings, cpu_count=usable_cores())

    def _assigned_hub(self) -> str:
        cloud = self.settings.cloud
        if cloud.identity_source != "provisioning":
            return ""
        known = AssignmentFile(self.settings.gateway.data_dir).load(cloud.provisioning)
        return known.hub if known is not None else ""

    # --- network ---

    def _network(self, running: Mapping[str, Any] | None) -> Iterator[Finding]:
        self.on_step("the hub")
        yield examine_hub(self.settings.cloud, assigned_hub=self._assigned_hub())
        if runtime := examine_edge_runtime(self.settings.cloud):
            yield runtime
        if self.settings.mqtt.url:
            self.on_step("the MQTT broker")
            yield examine_broker(self.settings.mqtt.url)
        yield from examine_ports(self.settings, serving=None if running is None else running["adapters"])


def existing_part(folder: Path) -> Path:
    """Return ``folder``, or the nearest folder above it that is there."""
    return next(place for place in (folder, *folder.parents) if place.is_dir())
