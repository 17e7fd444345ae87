"""A site without a network: what waits is carried out in a signed file, and an acknowledgement is carried back."""

import asyncio
import contextlib
import io
import json
import stat
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import jsonschema
import pytest
import requests

from gateway.bundles import BundleWriter, ensure_key
from gateway.cli import cli
from gateway.errors import OperatorError
from gateway.messages import EventState
from gateway.outbox.bundle_export import fill
from gateway.outbox.bundle_requests import BUNDLES_KEPT_MAX
from gateway.outbox.inspection import list_events, read_state, reading_pending
from tests.fakes.gateway_process import DEMO_MODEL, ROOT, GatewayProcess
from tests.fakes.outbox import SOME_TIME, draft
from tests.fakes.outbox_damage import pages_of, spoil
from tests.fakes.outbox_parts import opened

EVENTS = 30
Run = Callable[..., str]
SCHEMA = json.loads((ROOT / "docs" / "envelope.schema.json").read_text())


class Office:
    """Runs the command line; for the site with its settings, for the receiving office without.

    ``run``: in a process of its own, or (quicker) in this one.
    """

    def __init__(self, folder: Path) -> None:
        self.run: Run = _here
        self.data_dir = folder / "data"
        self.stick = folder / "stick"
        self.stick.mkdir()

    def site(self, *arguments: str, code: int = 0) -> str:
        overrides = ("gateway.id=gw-test", f"gateway.data_dir={self.data_dir}", f"model.path={DEMO_MODEL}")
        return self.run(*arguments, *(part for value in overrides for part in ("--set", value)), code=code)

    def export(self) -> Path:
        said = self.site("outbox", "export", "--bundle", str(self.stick))
        return Path(next(line for line in said.splitlines() if line.endswith(".gwbundle")))

    def acknowledge(self, bundle: Path) -> Path:
        ack = self.stick / "ack.json"
        self.run("outbox", "make-ack", str(bundle), "--out", str(ack), "--by", "the office")
        return ack

    def counts(self) -> tuple[int, int, int]:
        state = read_state(self.data_dir)
        return state.pending, state.delivered, state.tombstones_pending


def _here(*arguments: str, code: int = 0) -> str:
    out = io.StringIO()
    with (
        patch.object(sys, "argv", ["gateway", *arguments]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(out),
        pytest.raises(SystemExit) as ended,
    ):
        cli()
    assert (ended.value.code or 0) == code, out.getvalue()
    return out.getvalue()


def _apart(*arguments: str, code: int = 0) -> str:
    command = [sys.executable, "-m", "gateway", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@pytest.fixture
async def office(tmp_path: Path) -> Office:
    """30 events: 1-5 delivered, 10 dead (with its tombstone)."""
    made = Office(tmp_path)
    async with opened(made.data_dir) as outbox:
        for n in range(1, EVENTS + 1):
            await outbox.commit([draft(f"e-{n}")])
        await outbox.mark_delivered(range(1, 6), [])
        await outbox.mark_dead(10, "too_large")
    return made


def told(bundle: Path) -> tuple[list[int], list[tuple[int, int]]]:
    """Return sequences and tombstones of a bundle, each envelope held against the schema."""
    lines = [json.loads(line) for line in bundle.read_bytes().splitlines()[:-1]]
    for line in lines:
        jsonschema.validate(line, SCHEMA)
    sequences = [item["sequence"] for line in lines for item in line["items"]]
    return sequences, [(t["first_sequence"], t["last_sequence"]) for line in lines for t in line["tombstones"]]


def test_a_site_is_emptied_by_hand_and_nothing_is_marked_that_was_not_carried(office: Office) -> None:
    key = office.site("outbox", "bundle-key").strip()
    bundle = office.export()
    assert told(bundle) == ([*range(6, 10), *range(11, EVENTS + 1)], [(10, 10)])
    assert office.counts() == (24, 5, 1)  # they stay pending
    assert stat.S_IMODE((office.data_dir / "bundle.key").stat().st_mode) == 0o600
    said = office.run("outbox", "verify-bundle", str(bundle), "--key", key)
    assert "24 events, 1 tombstones of gw-test" in said
    assert "sequences 6 to 30" in said
    assert office.site("outbox", "requeue", "10")  # after the export: it is not in the bundle
    ack = office.acknowledge(bundle)
    assert "24 events marked as delivered" in office.site("outbox", "import-ack", str(ack))
    assert office.counts() == (1, 29, 0)
    assert [e.sequence for e in list_events(office.data_dir, state=EventState.PENDING)] == [10]
    assert "0 events marked as delivered" in office.site("outbox", "import-ack", str(ack))


def test_it_works_beside_a_running_gateway_and_later_events_stay(office: Office) -> None:
    office.run = _apart
    with GatewayProcess(office.data_dir) as gateway:
        bundle = office.export()
        answer = requests.post(f"{gateway.http}/v1/devices/d/readings", json={"t": 1}, timeout=20)
        answer.raise_for_status()
        ack = office.acknowledge(bundle)
        assert "24 events marked as delivered" in office.site("outbox", "import-ack", str(ack))
        assert office.counts() == (1, 29, 0)
        again = office.export()
        assert told(again) == ([31], [])
        assert gateway.stop() == 0


def test_an_acknowledgement_counts_only_for_a_bundle_of_this_outbox(office: Office, tmp_path: Path) -> None:
    bundle = office.export()
    ack = office.acknowledge(bundle)
    document = json.loads(ack.read_text())
    for change, says in (
        ({"bundle_sha256": "0" * 64}, "has exported no bundle"),
        ({"gateway_id": "other"}, "is for the gateway other"),
        ({"format": "something"}, "is no acknowledgement"),
    ):
        ack.write_text(json.dumps(document | change))
        assert says in office.site("outbox", "import-ack", str(ack), code=2)
    assert office.counts() == (24, 5, 1)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda data: data.replace(b'"sequence":7,', b'"sequence":8,'), "not what was sealed"),
        (lambda data: data.replace(b'"events":24', b'"events":25'), "signature is not right"),
        (lambda data: data[:-200], "cut off"),
        (lambda data: data[: data.rindex(b"\n", 0, -1) + 1], "cut off"),
        (lambda data: b"", "cut off"),
        (lambda data: b"\xff" * 5000, "no bundle"),
    ],
)
def test_what_was_changed_or_cut_off_is_no_bundle(office: Office, damage: Any, says: str) -> None:
    bundle = office.export()
    bundle.write_bytes(damage(bundle.read_bytes()))
    assert says in office.run("outbox", "verify-bundle", str(bundle), code=2)
    assert says in office.run("outbox", "make-ack", str(bundle), code=2)


def test_a_bundle_of_another_site_is_found_out_by_its_key(office: Office) -> None:
    bundle = office.export()
    other = "A" * 43 + "="
    assert "signed with another key" in office.run("outbox", "verify-bundle", str(bundle), "--key", other, code=2)


def test_a_bundle_replaces_nothing_and_leaves_nothing_half_done(office: Office) -> None:
    named = office.stick / "mine.gwbundle"
    named.write_text("precious")
    assert "is there already" in office.site("outbox", "export", "--bundle", str(named), code=2)
    assert named.read_text() == "precious"
    gone = office.stick / "gone" / "x.gwbundle"
    assert "can't write the bundle" in office.site("outbox", "export", "--bundle", str(gone), code=2)
    assert office.export() != office.export()
    assert sorted(path.suffix for path in office.stick.iterdir()) == [".gwbundle"] * 3


def test_where_nothing_waits_there_is_nothing_to_export(office: Office) -> None:
    office.site("outbox", "import-ack", str(office.acknowledge(office.export())))
    assert "nothing waits for the cloud" in office.site("outbox", "export", "--bundle", str(office.stick), code=2)


async def test_a_recovered_outbox_knows_its_bundles_and_exports_each_epoch_under_its_name(office: Office) -> None:
    bundle = office.export()
    file = office.data_dir / "outbox.db"
    spoil(file, pages_of(file, "events", leaves=True)[-1])
    async with opened(office.data_dir) as outbox:
        await outbox.commit([draft("new")])
    second = office.export()
    epochs = {line["epoch"] for line in map(json.loads, second.read_bytes().splitlines()[:-1]) if line["items"]}
    assert len(epochs) == 2
    marked = office.site("outbox", "import-ack", str(office.acknowledge(bundle)))
    assert "events marked as delivered" in marked
    assert office.counts()[0] == 1


async def test_bundles_are_remembered_up_to_a_bound(tmp_path: Path) -> None:
    async with opened(tmp_path) as outbox:
        await asyncio.gather(*(outbox.record_bundle(f"{n:064x}", [(1, 2)], []) for n in range(BUNDLES_KEPT_MAX + 5)))
        (count,) = await outbox._reader.rows("SELECT COUNT(*) FROM bundles", (), lambda rows: rows[0])
        assert count == BUNDLES_KEPT_MAX


async def test_a_large_bundle_is_acknowledged_in_steps_and_holes_of_dead_letters_stay(tmp_path: Path) -> None:
    async with opened(tmp_path) as outbox:
        for begin in range(0, 1300, 100):
            await outbox.commit([draft("many", item=n) for n in range(begin, begin + 100)][:1])
            await outbox.commit([draft(f"many-{begin}", item=n) for n in range(100)])
        await outbox.mark_dead(700, "too_large")
        keys = await _exported(tmp_path)
        await outbox.record_bundle("a" * 64, keys, [])
        await outbox.requeue([700])
        marked = await outbox.acknowledge_bundle("a" * 64)
        left = [event.key for event in await outbox.pending(limit=5000)]
        assert left == [700]
        assert marked == (await outbox.state()).delivered
        assert await outbox.acknowledge_bundle("b" * 64) is None


async def _exported(data_dir: Path) -> Sequence[tuple[int, int]]:
    with reading_pending(data_dir) as reader, BundleWriter(data_dir, gateway_id="gw") as writer:
        return fill(writer, reader, gateway_id="gw", now=SOME_TIME, on_progress=lambda *_: None).keys


def test_a_key_that_is_no_key_is_told(tmp_path: Path) -> None:
    (tmp_path / "bundle.key").write_text("AAAA\n")
    with pytest.raises(OperatorError, match="cut off"):
        ensure_key(tmp_path)
