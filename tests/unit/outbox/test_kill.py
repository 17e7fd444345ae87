"""kill -9 of a writing process at named points: what it had acknowledged is in the file, and the file is whole."""

import asyncio
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.messages import EventState
from gateway.outbox.inspection import list_events
from tests.fakes.outbox import SOME_TIME, draft
from tests.fakes.outbox_parts import StillClock, opened

# Commits from 20 clients, acknowledges to the cloud, prunes; says each on stdout once it was told so itself.
WRITER = """
import asyncio, itertools, os, sys
from datetime import timedelta
from pathlib import Path
from gateway.settings import OutboxSettings
from tests.fakes.outbox import draft
from tests.fakes.outbox_parts import StillClock, opened

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())  # one write: a kill can't tear a line

async def client(outbox, name):
    for n in itertools.count():
        receipt = await outbox.commit([draft(f"{name}-{n}", item=i) for i in range(1 + n % 3)])
        say("committed", receipt.submission_id, *(item.sequence for item in receipt.items))

async def cloud(outbox, clock):
    while True:
        await outbox.wait_for_work()
        events = await outbox.pending(after_sequence=0, limit=40)
        await outbox.mark_delivered([event.sequence for event in events], [])
        say("delivered", 0, *(event.sequence for event in events))
        clock.advance(timedelta(hours=1))
        await outbox.prune_step(clock.now())

async def main():
    clock = StillClock()
    async with opened(Path(sys.argv[1]), clock=clock, settings=OutboxSettings(delivered_keep_h=3)) as outbox:
        await asyncio.gather(cloud(outbox, clock), *(client(outbox, name) for name in range(20)))

asyncio.run(main())
"""
ROOT = Path(__file__).resolve().parents[3]
POINTS = [
    "outbox_before_commit:1",
    "outbox_before_commit:7",
    "outbox_after_commit:1",
    "outbox_after_commit:8",
    "outbox_before_mark_delivered:3",
    "outbox_after_mark_delivered:3",
    "outbox_before_prune:5",
    "outbox_during_prune:2",
    "outbox_after_prune:6",
]


def run_until_killed(data_dir: Path, point: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", WRITER, str(data_dir)],
        env={**os.environ, "GATEWAY_FAILPOINT": point, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("point", POINTS)
async def test_what_was_acknowledged_before_a_kill_is_stored(tmp_path: Path, point: str) -> None:
    killed = await asyncio.to_thread(run_until_killed, tmp_path / "data", point)
    assert killed.returncode == -9
    told = [line.split() for line in killed.stdout.splitlines() if line.startswith(("committed", "delivered"))]
    delivered = {int(s) for kind, _, *sequences in told if kind == "delivered" for s in sequences}
    clock = StillClock()
    clock.advance(timedelta(days=2))
    async with opened(tmp_path / "data", clock=clock) as outbox:
        state = await outbox.state()
        present = {event.sequence: event.state for event in list_events(tmp_path / "data", limit=1_000_000)}
        remembered = outbox._store.ledger.remembered
        # Gap-free: every sequence is an event or a remembered id, none is both.
        assert len(present) + remembered == state.sequence_high
        assert (state.pending, state.delivered) == (
            [*present.values()].count(EventState.PENDING),
            [*present.values()].count(EventState.DELIVERED),
        )
        assert not any(present.get(sequence) is EventState.PENDING for sequence in delivered)
        for kind, submission_id, *sequences in told:
            if kind == "committed":
                receipt = await outbox.recall("device-1", submission_id, draft().payload_sha256)
                assert receipt is not None
                assert [str(item.sequence) for item in receipt.items] == sequences
        assert (await outbox.commit([draft("next", received_at=SOME_TIME)])).sequence == state.sequence_high + 1


@pytest.mark.parametrize("value", ["", "some_other_point"])
def test_an_unarmed_point_does_nothing(value: str) -> None:
    program = "from gateway.failpoints import reached; reached('outbox_before_commit')"
    environment = {**os.environ, "GATEWAY_FAILPOINT": value, "PYTHONPATH": str(ROOT)}
    assert subprocess.run([sys.executable, "-c", program], env=environment, check=False).returncode == 0
