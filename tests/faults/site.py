"""One site under test: devices of one kind, a real gateway process, the uplink, the hub stand-in, and the ledger."""

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import requests

from gateway.simulators.ports import free_port
from tests.fakes.gateway_process import GatewayProcess
from tests.fakes.hub import RunningHub, hub_in_thread
from tests.faults.disk import Disk, disk
from tests.faults.equipment import Equipment
from tests.faults.gateway_log import GatewayLog
from tests.faults.ledger import CloudConsumer, Ledger, Verdict, disk_problem, judge
from tests.faults.outbox_file import stored, told, told_in_file
from tests.faults.payloads import Payloads
from tests.faults.resolver import HOST as RESOLVED_HOST
from tests.faults.resolver import Resolver, resolver
from tests.faults.shim import Shim, shim
from tests.faults.uplink import Uplink, uplink
from tests.faults.ways import LOG_NAME, Place, Way, WayFactory

# A healthy gateway needs a second or two; slow machines that do other work meanwhile, more.
PATIENCE_S = 120.0
DRAIN_PATIENCE_S = 180.0
# Of the time that a start may take on a plain machine: this one may run other things besides.
SLOWNESS = 4
POLL_S = 0.02
SESSIONS_METRIC = "gateway_cloud_sessions_total{"

# Deadlines short enough that a cycle ends soon, and a drain that the stand-in's speed limits, not the pace setting.
IMPATIENT = {
    "GATEWAY_CLOUD__KEEP_ALIVE_S": "5",
    "GATEWAY_CLOUD__SEND_TIMEOUT_S": "2",
    "GATEWAY_CLOUD__CONNECT_TIMEOUT_S": "6",
    "GATEWAY_CLOUD__BACKOFF_INITIAL_S": "0.1",
    "GATEWAY_CLOUD__BACKOFF_MAX_S": "0.5",
    "GATEWAY_CLOUD__BATCH_WAIT_S": "0.1",
    "GATEWAY_CLOUD__MESSAGES_PER_S_MAX": "1000",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """The equipment of one site."""

    uplink: Uplink
    disk: Disk | None
    shim: Shim | None
    resolver: Resolver | None


class Broken(AssertionError):
    """The gateway did not keep its promise, in a way that no count can tell: the text says how."""


class Site:
    """Built by :func:`site`. The data directory outlives every gateway of the run."""

    def __init__(
        self,
        *,
        folder: Path,
        data_dir: Path,
        tools: Tools,
        hub: RunningHub,
        way: Way,
        ledger: Ledger,
        payloads: Payloads,
    ) -> None:
        self.folder = folder
        self.data_dir = data_dir
        self._tools = tools
        self.hub = hub
        self.way = way
        self.ledger = ledger
        self.cloud = CloudConsumer()
        self.gateway: GatewayProcess | None = None
        self.payloads = payloads
        self.wanted: Mapping[str, str] = {}
        # Reasons for which this site's policies may take an event before the cloud has it.
        self.reasons: frozenset[str] = frozenset()
        # Whether what the cloud has may be gone from the file by now.
        self.may_have_pruned = False
        # Payloads whose only copy lay on pages that a fault spoiled: neither a loss nor, sent again, a double.
        self.excused: set[str] = set()
        self.log_file = folder / LOG_NAME
        self._log = GatewayLog(self.log_file)
        # The same in every life, also one that the gateway begins by itself.
        self._http, self._admin = (f"127.0.0.1:{free_port()}" for _ in range(2))

    # --- what a fault may need ----------------------------------------------------------------------------

    @property
    def uplink(self) -> Uplink:
        return self._tools.uplink

    @property
    def disk(self) -> Disk:
        assert self._tools.disk is not None, "the plan of this fault needs DISK"
        return self._tools.disk

    @property
    def shim(self) -> Shim:
        assert self._tools.shim is not None, "the plan of this fault needs SHIM"
        return self._tools.shim

    @property
    def resolver(self) -> Resolver:
        assert self._tools.resolver is not None, "the plan of this fault needs RESOLVER"
        return self._tools.resolver

    # --- the gateway's lives ------------------------------------------------------------------------------

    def start(self, *, failpoint: str | None = None) -> GatewayProcess:
        """Start the gateway and return it; with a failpoint it may be dead before this returns."""
        environment = {**self._environment(), **({"GATEWAY_FAILPOINT": failpoint} if failpoint else {})}
        gateway = GatewayProcess(
            self.data_dir,
            environment=environment,
            supervised=failpoint is None,
            prefix=self._prefix(),
            slowness=SLOWNESS,
        )
        gateway.log_file = self.log_file
        self.gateway = gateway
        with contextlib.suppress(AssertionError) if failpoint else contextlib.nullcontext():
            gateway.start()
            self.way.attach(gateway)
        return gateway

    def kill(self) -> None:
        """Kill -9 every process of the gateway."""
        assert self.gateway is not None
        self.gateway.kill()
        self.gateway = None
        self.way.detach()

    def freeze(self) -> None:
        """Stop every process of the gateway where it stands."""
        assert self.gateway is not None
        self.gateway.freeze()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop every process of the gateway, outside of any system call, and let them run on afterwards."""
        assert self.gateway is not None
        self.gateway.freeze()
        try:
            yield
        finally:
            self.gateway.thaw()

    def stop(self) -> None:
        """Stop the gateway as an operator does."""
        assert self.gateway is not None
        code = self.gateway.stop()
        self.gateway = None
        self.way.detach()
        if code:
            raise Broken(f"the gateway ended with code {code} when it was asked to stop")

    # --- what is true -------------------------------------------------------------------------------------

    def wait_for_acknowledgements(self, count: int = 1, *, what: str) -> None:
        """Return when devices were told "on disk" ``count`` more times. Raises Broken."""
        if not self.ledger.wait_for_more(count, PATIENCE_S):
            raise Broken(f"no device was served within {PATIENCE_S:g} s {what}{self._last_words()}")

    def check_disk(self, acknowledged: frozenset[str]) -> None:
        """Raise Broken unless what was acknowledged is in the file, once, and sequences have no gap."""
        payloads, sequences = stored(self.data_dir)
        acknowledged -= self.excused
        if self.logged("outbox_set_aside"):  # keys go on in the next epoch; the cloud says whether one is missing
            sequences = list(range(1, len(sequences) + 1))
        if self.may_have_pruned or self.reasons:  # a full file lets go what the cloud has
            self.cloud.read(self.hub.messages)
            gone = self.told()
            acknowledged -= self.cloud.payloads().keys() | gone.values()
            # What came in since the file was read is no gap in it.
            known = {*gone, *(sequence for _, _, sequence in self.cloud.items)}
            sequences = sorted({*sequences, *(one for one in known if one <= max(sequences, default=0))})
        if problem := disk_problem(acknowledged, payloads, sequences):
            raise Broken(problem)

    def settle(self) -> None:
        """Let the devices finish what they began, and fall silent. Raises Broken."""
        self.way.pause()
        self._wait(self.way.settled, PATIENCE_S, "devices were not answered")
        self.ledger.load_ends()

    def drain(self) -> Verdict:
        """Return the verdict once everything due is in the cloud, or nothing more can be hoped for."""
        due = self.ledger.due()
        give_up_at = time.monotonic() + DRAIN_PATIENCE_S
        while not self.arrived(due) and time.monotonic() < give_up_at:
            time.sleep(POLL_S)
        # What a device was not told, and is in the file all the same, is on its way too.
        with contextlib.suppress(Broken):
            self._wait(lambda: self.arrived(frozenset(stored(self.data_dir)[0])), PATIENCE_S, "")
        # Word of what will not come may travel last, and behind the watermark: until it is there, all else is no loss.
        self.wait_until(lambda: self._judged(due).clean, PATIENCE_S)
        return replace(self._judged(due), acknowledged=len(due))

    def _judged(self, due: frozenset[str]) -> Verdict:
        self._read_cloud()
        excused = self._told_to_the_cloud() | self.excused
        return judge(due - excused, self.cloud, excused=self.excused, receipts=self.ledger.receipts)

    def _read_cloud(self) -> CloudConsumer:
        self.cloud.read(self.hub.messages)
        return self.cloud

    def arrived(self, payloads: frozenset[str]) -> bool:
        """Return whether the cloud has all of these, but for those that a policy took and a tombstone tells of."""
        self.cloud.read(self.hub.messages)
        missing = payloads - self.cloud.payloads().keys()
        return not missing or missing <= frozenset(self.told().values()) | self.excused

    def told(self) -> dict[int, str]:
        """Return the sequences that tombstones, in the file or in the cloud, cover, with their payloads.

        Nothing where no policy may take an event: there a tombstone excuses nothing.
        """
        if not self.reasons:
            return {}
        return told(self.data_dir, told_in_file(self.data_dir) | self.cloud.told(self.reasons))

    def _told_to_the_cloud(self) -> frozenset[str]:
        """Return the payloads that only the hub's tombstones tell of, each under the sequence of its receipt."""
        if not self.reasons:
            return frozenset()
        receipts = self.ledger.receipts
        gone = told(self.data_dir, self.cloud.told(self.reasons))
        return frozenset(payload for sequence, payload in gone.items() if receipts.get(payload, sequence) == sequence)

    def wait_for_arrival(self, payloads: frozenset[str]) -> None:
        """Return when the cloud has all of these. Raises Broken."""
        self._wait(lambda: self.arrived(payloads), DRAIN_PATIENCE_S, "the backlog did not arrive")

    def wait_until(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Return True as soon as ``condition()`` holds, False if it did not in time."""
        give_up_at = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > give_up_at:
                return False
            time.sleep(POLL_S)
        return True

    # --- what the gateway shows ---------------------------------------------------------------------------

    def sessions_ended(self) -> float:
        """Return how many sessions with the hub this life of the gateway has seen the end of."""
        text = requests.get(f"http://{self._admin}/metrics", timeout=PATIENCE_S).text
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(SESSIONS_METRIC))

    def logged(self, event: str) -> int:
        """Return how often the gateway logged this, over all its lives."""
        return self._log.count(event)

    def health(self) -> Mapping[str, Any]:
        """Return the health detail. Raises requests.RequestException while nobody answers."""
        detail: Mapping[str, Any] = requests.get(f"http://{self._admin}/healthz", timeout=PATIENCE_S).json()
        return detail

    def newest_received_at(self) -> datetime:
        """Return when the newest event was received, by the gateway's clock."""
        with closing(sqlite3.connect(f"file:{self.data_dir / 'outbox.db'}?mode=ro", uri=True)) as connection:
            (text,) = connection.execute("SELECT received_at FROM events ORDER BY sequence DESC LIMIT 1").fetchone()
        return datetime.fromisoformat(text)

    def sdk_children(self) -> list[int]:
        """Return the process ids of the SDK's child, which may be starting or absent."""
        assert self.gateway is not None
        worker = self.gateway.worker_pid
        return [int(pid) for pid in Path(f"/proc/{worker}/task/{worker}/children").read_text().split()]

    def _prefix(self) -> Sequence[str]:
        return () if self._tools.resolver is None else self._tools.resolver.prefix

    def _environment(self) -> Mapping[str, str]:
        tools = self._tools
        proxy = tools.uplink.proxy if tools.resolver is None else f"http://{RESOLVED_HOST}:{tools.uplink.port}"
        preload = {} if tools.shim is None else tools.shim.environment()
        faces = {"GATEWAY_HTTP__LISTEN": self._http, "GATEWAY_ADMIN__LISTEN": self._admin}
        faces["GATEWAY_GATEWAY__LOG_LEVEL"] = "debug"  # what is felt is read there: lines of a kind are not bounded
        cloud = {**self.hub.environment(), "GATEWAY_CLOUD__PROXY": proxy, **IMPATIENT}
        return {**faces, **cloud, **self.way.environment(), **preload, **self.wanted}

    def _wait(self, condition: Callable[[], bool], timeout_s: float, failing: str) -> None:
        if not self.wait_until(condition, timeout_s):
            raise Broken(f"{failing} within {timeout_s:g} s{self._last_words()}")

    def _last_words(self) -> str:
        log = self.log_file
        return f"; the gateway's log ends: {log.read_text()[-1500:]}" if log.exists() else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SitePlan:
    """What to build: the way in, the name that goes into every payload, and what the fault works on."""

    way: WayFactory
    run: str
    needs: frozenset[Equipment] = frozenset()
    environment: Mapping[str, str] = field(default_factory=dict)
    reasons: frozenset[str] = frozenset()


@contextmanager
def site(folder: Path, plan: SitePlan) -> Iterator[Site]:
    """Yield a site without a gateway yet; afterwards nothing of it runs. The folder is emptied by the caller.

    Raises Impossible where this machine can't give what the plan needs.
    """
    ledger, payloads = Ledger(), Payloads(plan.run)
    with contextlib.ExitStack() as stack:
        own_disk = stack.enter_context(disk(folder)) if Equipment.DISK in plan.needs else None
        data_dir = (folder if own_disk is None else own_disk.mounted) / "data"
        hub = stack.enter_context(hub_in_thread(folder))
        tools = Tools(
            uplink=stack.enter_context(uplink(hub.description.proxy)),
            disk=own_disk,
            shim=stack.enter_context(shim(folder, data_dir=data_dir)) if Equipment.SHIM in plan.needs else None,
            resolver=stack.enter_context(resolver(folder)) if Equipment.RESOLVER in plan.needs else None,
        )
        way = plan.way(Place(folder=folder, ledger=ledger, payloads=payloads))
        stack.callback(way.close)
        built = Site(folder=folder, data_dir=data_dir, tools=tools, hub=hub, way=way, ledger=ledger, payloads=payloads)
        built.wanted, built.reasons = plan.environment, plan.reasons
        stack.callback(_end, built)
        yield built


def _end(built: Site) -> None:
    if built.gateway is not None and built.gateway.running():
        built.gateway.kill()
