"""One site under test: devices of one kind, a real gateway process, the uplink, the hub stand-in, and the ledger."""

import contextlib
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.fakes.gateway_process import GatewayProcess
from tests.fakes.hub import RunningHub, hub_in_thread
from tests.faults.disk import Disk, disk
from tests.faults.ledger import CloudConsumer, Ledger, Verdict, judge
from tests.faults.payloads import Payloads
from tests.faults.ways import Place, Way, WayFactory

# A healthy gateway needs a second or two; slow machines that do other work meanwhile, more.
PATIENCE_S = 120.0
DRAIN_PATIENCE_S = 180.0
POLL_S = 0.02

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


class Broken(AssertionError):
    """The gateway did not keep its promise, in a way that no count can tell: the text says how."""


class Site:
    """Built by :func:`site`. The data directory outlives every gateway of the run."""

    def __init__(self, *, folder: Path, disk: Disk | None, hub: RunningHub, way: Way, ledger: Ledger) -> None:
        self.folder = folder
        self.disk = disk
        self.data_dir = (folder if disk is None else disk.mounted) / "data"
        self.hub = hub
        self.way = way
        self.ledger = ledger
        self.cloud = CloudConsumer()
        self.extra_environment: dict[str, str] = {}
        self.gateway: GatewayProcess | None = None

    # --- the gateway's lives ------------------------------------------------------------------------------

    def start(self, *, failpoint: str | None = None) -> GatewayProcess:
        """Start the gateway and return it; with a failpoint it may be dead before this returns."""
        environment = {**self._environment(), **({"GATEWAY_FAILPOINT": failpoint} if failpoint else {})}
        gateway = GatewayProcess(self.data_dir, environment=environment, supervised=failpoint is None)
        gateway.log_file = self.folder / "gateway.log"
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

    def freeze(self) -> None:
        """Stop every process of the gateway where it stands."""
        assert self.gateway is not None
        self.gateway.freeze()

    def stop(self) -> None:
        """Stop the gateway as an operator does."""
        assert self.gateway is not None
        code = self.gateway.stop()
        self.gateway = None
        if code:
            raise Broken(f"the gateway ended with code {code} when it was asked to stop")

    # --- what is true -------------------------------------------------------------------------------------

    def wait_for_acknowledgements(self, count: int = 1, *, what: str) -> None:
        """Return when devices were told "on disk" ``count`` more times. Raises Broken."""
        if not self.ledger.wait_for_more(count, PATIENCE_S):
            raise Broken(f"no device was served within {PATIENCE_S:g} s {what}{self._last_words()}")

    def check_disk(self, acknowledged: frozenset[str], *, data_dir: Path | None = None) -> None:
        """Raise Broken unless what was acknowledged is in the file, once, and sequences have no gap."""
        payloads, sequences = stored(data_dir or self.data_dir)
        if missing := acknowledged - payloads.keys():
            raise Broken(f"{len(missing)} acknowledged submissions are not on disk, first {min(missing)}")
        if doubled := [payload for payload, count in payloads.items() if count > 1]:
            raise Broken(f"{len(doubled)} submissions are on disk twice, first {doubled[0]}")
        if sequences != list(range(1, len(sequences) + 1)):
            raise Broken(f"sequences on disk are not 1..{len(sequences)}")

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
        return judge(due, self.cloud)

    def arrived(self, payloads: frozenset[str]) -> bool:
        """Return whether the cloud has all of these."""
        self.cloud.read(self.hub.messages)
        return payloads <= self.cloud.payloads().keys()

    def _environment(self) -> Mapping[str, str]:
        return {**self.hub.environment(), **IMPATIENT, **self.way.environment(), **self.extra_environment}

    def _wait(self, condition: Callable[[], bool], timeout_s: float, failing: str) -> None:
        give_up_at = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > give_up_at:
                raise Broken(f"{failing} within {timeout_s:g} s{self._last_words()}")
            time.sleep(POLL_S)

    def _last_words(self) -> str:
        log = self.folder / "gateway.log"
        return f"; the gateway's log ends: {log.read_text()[-1500:]}" if log.exists() else ""


def stored(data_dir: Path) -> tuple[Counter[str], list[int]]:
    """Return how often each payload is in the outbox file, and the sequences in order."""
    with closing(sqlite3.connect(f"file:{data_dir / 'outbox.db'}?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT sequence, payload_sha256 FROM events ORDER BY sequence").fetchall()
    return Counter(payload for _, payload in rows), [sequence for sequence, _ in rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class SitePlan:
    """What to build: the way in, and the name that goes into every payload."""

    way: WayFactory
    run: str
    needs_disk: bool = False


@contextmanager
def site(folder: Path, plan: SitePlan) -> Iterator[Site]:
    """Yield a site without a gateway yet; afterwards nothing of it runs. The folder is emptied by the caller."""
    ledger = Ledger()
    with contextlib.ExitStack() as stack:
        own_disk = stack.enter_context(disk(folder)) if plan.needs_disk else None
        hub = stack.enter_context(hub_in_thread(folder))
        way = plan.way(Place(folder=folder, ledger=ledger, payloads=Payloads(plan.run)))
        stack.callback(way.close)
        built = Site(folder=folder, disk=own_disk, hub=hub, way=way, ledger=ledger)
        stack.callback(_end, built)
        yield built


def _end(built: Site) -> None:
    if built.gateway is not None and built.gateway.running():
        built.gateway.kill()
