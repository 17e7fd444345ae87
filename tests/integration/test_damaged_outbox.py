"""A real gateway whose file goes bad while it serves: it finds out, starts again, serves, and the hub can account."""

import json
import time
from pathlib import Path
from typing import Any

import requests

from tests.fakes.gateway_process import GatewayProcess
from tests.fakes.hub import RunningHub, hub_in_thread
from tests.fakes.outbox_damage import pages_of, spoil

READINGS = 40
PER_ARRAY = 8
TIMEOUT_S = 60.0


def send(gateway: GatewayProcess, name: str) -> list[dict[str, Any]]:
    """Send an array of readings until it is taken; return (epoch, sequence) of each as the device is told.

    A gateway that has found damage restarts: meanwhile nobody answers, and the device sends again under its id.
    """
    give_up_at = time.monotonic() + 30
    while True:
        try:
            answer = requests.post(
                f"{gateway.http}/v1/devices/d-1/readings",
                json=[{"name": name, "n": n, "note": "x" * 300} for n in range(PER_ARRAY)],
                headers={"Idempotency-Key": name},
                timeout=20,
            )
            answer.raise_for_status()
            break
        except (requests.ConnectionError, requests.HTTPError):
            if time.monotonic() > give_up_at:
                raise
            time.sleep(0.1)
    receipt = answer.json()
    return [{"epoch": receipt["epoch"], "sequence": item["sequence"]} for item in receipt["items"]]


def envelopes(hub: RunningHub) -> list[dict[str, Any]]:
    return [json.loads(message.body) for message in hub.messages]


def accounted(hub: RunningHub) -> set[tuple[str, int]]:
    known = set()
    for envelope in envelopes(hub):
        known |= {(envelope["epoch"], item["sequence"]) for item in envelope["items"]}
        for tombstone in envelope["tombstones"]:
            sequences = range(tombstone["first_sequence"], tombstone["last_sequence"] + 1)
            known |= {(tombstone["epoch"], sequence) for sequence in sequences}
    return known


def test_a_file_that_goes_bad_under_a_running_gateway_is_found_recovered_and_told(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    with hub_in_thread(tmp_path) as hub:
        hub.set_faults(reject_connect=3)
        environment = hub.environment() | {"GATEWAY_OUTBOX__CHECK_EVERY_H": "0.0002"}
        with GatewayProcess(data_dir, environment=environment) as gateway:
            told = [one for n in range(READINGS) for one in send(gateway, f"first-{n}")]
            assert gateway.stop() == 0
        with GatewayProcess(data_dir, environment=environment) as gateway:
            file = data_dir / "outbox.db"
            spoil(file, pages_of(file, "events", leaves=True)[4])
            told += send(gateway, "second")  # and SQLite forgets the pages that it had read
            deadline = time.monotonic() + TIMEOUT_S
            while not list(data_dir.glob("outbox.damaged-*.db")):
                assert time.monotonic() < deadline, "the check finds nothing"
                time.sleep(0.1)
            gateway.await_restart()
            told += send(gateway, "third")
            health = requests.get(f"{gateway.admin}/healthz", timeout=10).json()
            hub.set_faults()
            expected = {(one["epoch"], one["sequence"]) for one in told}
            while not expected <= accounted(hub):
                assert time.monotonic() < deadline, f"never told: {sorted(expected - accounted(hub))[:5]}"
                time.sleep(0.2)
    assert [salvage["stage"] for salvage in health["outbox"]["set_aside"]] == ["done"]
    tombstones = [tombstone for envelope in envelopes(hub) for tombstone in envelope["tombstones"]]
    assert {tombstone["reason"] for tombstone in tombstones} == {"damaged"}
    assert {tombstone["epoch"] for tombstone in tombstones} == {told[0]["epoch"]}
    old, new = told[0]["epoch"], told[-1]["epoch"]
    assert old != new
    heads = {envelope["epoch"]: envelope["predecessor"] for envelope in envelopes(hub)}
    assert heads == {old: None, new: {"epoch": old, "last_sequence": (READINGS + 1) * PER_ARRAY}}
