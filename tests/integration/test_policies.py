"""Policies on a real gateway: HTTP → TFLite → SQLite → the azure SDK → the IoT Hub stand-in, through a kill -9."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import requests

from tests.fakes.gateway_process import GatewayProcess
from tests.fakes.hub import RunningHub, hub_in_thread
from tests.fakes.ledger import assert_gap_free, items

RULES: list[Mapping[str, Any]] = [
    {"device": "meter-*", "summary": "instead", "summary_window_s": 4},
    {"device": "door", "on_change": True, "priority": 1},
]
IMPATIENT = {
    "GATEWAY_POLICY__RULE": json.dumps(RULES),
    "GATEWAY_CLOUD__KEEP_ALIVE_S": "5",
    "GATEWAY_CLOUD__CONNECT_TIMEOUT_S": "8",
    "GATEWAY_CLOUD__BACKOFF_INITIAL_S": "0.1",
    "GATEWAY_CLOUD__BACKOFF_MAX_S": "1",
    "GATEWAY_CLOUD__BATCH_WAIT_S": "0.1",
    "GATEWAY_CLOUD__TOMBSTONE_WAIT_S": "1",
}
ARRIVED_TIMEOUT_S = 60.0


def send(gateway: GatewayProcess, device: str, **values: Any) -> int:
    """Send a reading and return its sequence: what the device is answered does not change."""
    answer = requests.post(f"{gateway.http}/v1/devices/{device}/readings", json=values, timeout=20)
    answer.raise_for_status()
    return int(answer.json()["sequence"])


def by_kind(hub: RunningHub, kind: str) -> dict[Any, dict[str, Any]]:
    return {key: item for key, item in items(hub.messages) if item["kind"] == kind}


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + ARRIVED_TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def covered(hub: RunningHub) -> set[int]:
    """Return every sequence that the cloud can account for."""
    found = {key[2] for key, _ in items(hub.messages)}
    for message in hub.messages:
        for t in json.loads(message.body)["tombstones"]:
            found |= set(range(t["first_sequence"], t["last_sequence"] + 1))
    return found


def test_summary_counts_each_result_once_over_a_kill_and_silence_closes_its_window(tmp_path: Path) -> None:
    with hub_in_thread(tmp_path) as hub:
        gateway = GatewayProcess(tmp_path / "data", environment=hub.environment() | IMPATIENT)
        with gateway:
            sent = [send(gateway, "meter-1", kwh=n) for n in range(5)]
            gateway.kill()
        with gateway:
            sent += [send(gateway, "meter-1", kwh=n) for n in range(5, 9)]
            assert send(gateway, "door", open=False)
            assert send(gateway, "door", open=False)
            assert send(gateway, "door", open=True)
            # Nobody sends any more: the window closes by itself, and word of the gaps has a message of its own.
            until(lambda: sum(item["summary"]["count"] for item in by_kind(hub, "summary").values()) == len(sent))
            until(lambda: len(covered(hub)) == len(sent) + 3 + len(by_kind(hub, "summary")))
        summaries = by_kind(hub, "summary").values()
        assert {item["device_id"] for item in summaries} == {"meter-1"}
        assert sum(item["summary"]["values"]["kwh"]["count"] for item in summaries) == 9
        assert min(item["summary"]["values"]["kwh"]["min"] for item in summaries) == 0
        assert max(item["summary"]["values"]["kwh"]["max"] for item in summaries) == 8
        assert [item["values"] for _, item in sorted(by_kind(hub, "reading").items())] == [
            {"open": False},
            {"open": True},
        ]
        assert_gap_free(covered(hub))
