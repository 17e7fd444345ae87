"""Everything that a gateway accepted can be accounted for from what the hub received alone, by a consumer's own script.

The script (consumer/completeness.py) imports nothing of ours. It reads what the stand-in wrote down.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests

from gateway.outbox.inspection import read_policy_counts, read_state
from tests.fakes.gateway_process import ROOT, GatewayProcess
from tests.fakes.hub import hub_in_thread

SCRIPT = ROOT / "consumer" / "completeness.py"
RULES: list[Mapping[str, Any]] = [
    {"device": "room", "on_change": True, "on_change_min": 0.5},
    {"device": "meter", "summary": "instead", "summary_window_s": 1},
    {"device": "weather", "priority": 9, "ttl_h": 0.0005},
    {"device": "door", "priority": 0},
]
ENVIRONMENT = {
    "GATEWAY_POLICY__RULE": json.dumps(RULES),
    "GATEWAY_OUTBOX__ROWS_MAX": "40",
    "GATEWAY_OUTBOX__WHEN_FULL": "evict_lowest_priority",
    "GATEWAY_CLOUD__KEEP_ALIVE_S": "5",
    "GATEWAY_CLOUD__CONNECT_TIMEOUT_S": "8",
    "GATEWAY_CLOUD__BACKOFF_INITIAL_S": "0.1",
    "GATEWAY_CLOUD__BACKOFF_MAX_S": "0.5",
    "GATEWAY_CLOUD__BATCH_WAIT_S": "0.1",
    "GATEWAY_CLOUD__TOMBSTONE_WAIT_S": "0.5",
}
TIMEOUT_S = 60.0


def checked(*lines: Any) -> tuple[int, str]:
    """Return how the script ends, and what it says, of these envelopes."""
    text = "".join(json.dumps(line) + "\n" for line in lines)
    done = subprocess.run(
        [sys.executable, "-I", str(SCRIPT), "-"], input=text, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def send_round(gateway: GatewayProcess, number: int) -> None:
    for device, value in (("room", number // 5), ("meter", number), ("weather", number), ("door", number)):
        requests.post(f"{gateway.http}/v1/devices/{device}/readings", json={"v": value}, timeout=20).raise_for_status()


def is_drained(data_dir: Path) -> bool:
    state = read_state(data_dir)
    return not (state.pending or state.tombstones_pending or read_policy_counts(data_dir)["windows"])


def test_every_policy_at_once_a_full_file_and_a_kill_leave_nothing_unaccounted_for(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    with hub_in_thread(tmp_path) as hub:
        gateway = GatewayProcess(data_dir, environment=hub.environment() | ENVIRONMENT)
        with gateway:
            send_round(gateway, 0)
            hub.set_faults(reject_connect=3)
            hub.kick()
            for number in range(1, 20):
                send_round(gateway, number)
            gateway.kill()
        with gateway:
            for number in range(20, 30):
                send_round(gateway, number)
            until(lambda: read_state(data_dir).expired_total > 0)
            hub.set_faults()
            until(lambda: is_drained(data_dir))
            state = read_state(data_dir)
        envelopes = [json.loads(message.body) for message in hub.messages]
    assert state.evicted_total
    assert state.filtered_total
    assert state.summarised_total == 30
    code, said = checked(*envelopes)
    assert code == 0, said
    assert f"complete up to {state.sequence_high}:" in said
    for reason in ("evicted", "expired", "filtered", "summarised"):
        assert reason in said
    # It is no check that can't fail: without a message that tells something alone, something is missing.
    last = max(envelopes, key=lambda envelope: envelope["sequence_high"])
    for left_out in range(0, len(envelopes), 1 + len(envelopes) // 6):
        rest = [*envelopes[:left_out], *envelopes[left_out + 1 :]]
        bare = last | {"items": [], "tombstones": []}  # the watermark is known
        assert checked(*rest, bare)[0] == int(_tells_alone(envelopes, left_out))


def _tells_alone(envelopes: list[dict[str, Any]], place: int) -> bool:
    """Return whether a message tells of a sequence that no other does."""

    def told(of: list[dict[str, Any]]) -> set[int]:
        found = {item["sequence"] for envelope in of for item in envelope["items"]}
        for envelope in of:
            for tombstone in envelope["tombstones"]:
                found |= set(range(tombstone["first_sequence"], tombstone["last_sequence"] + 1))
        return found

    return bool(told([envelopes[place]]) - told([*envelopes[:place], *envelopes[place + 1 :]]))


def envelope(*sequences: int, high: int, **changes: Any) -> dict[str, Any]:
    items = [
        {"sequence": n, "device_id": "d", "submission_id": f"s{n}", "payload_sha256": f"{n:064x}"} for n in sequences
    ]
    plain: dict[str, Any] = {
        "gateway_id": "gw",
        "epoch": "e1",
        "predecessor": None,
        "sequence_high": high,
        "tombstones": [],
    }
    return plain | {"items": items} | changes


def tombstone(first: int, last: int, reason: str = "evicted", **changes: Any) -> dict[str, Any]:
    return {"epoch": "e1", "first_sequence": first, "last_sequence": last, "reason": reason, "labels": {}} | changes


@pytest.mark.parametrize(
    ("envelopes", "said"),
    [
        ([envelope(1, 3, high=6)], "MISSING: 4 to 6"),
        ([envelope(1, 3, high=3)], "MISSING: 2\n"),
        ([envelope(1, high=1), envelope(1, high=1) | {"items": [envelope(2, high=2)["items"][0] | {"sequence": 1}]}],
         "came with two contents"),
        ([envelope(high=3, tombstones=[tombstone(1, 3, "mixed", reasons={"evicted": 1, "expired": 1})])],
         "counts 2 of 3"),
        ([envelope(high=1, tombstones=[tombstone(1, 1, labels={"ripe": 2})])], "more labels than events"),
        ([envelope(1, high=1, epoch="e2", predecessor={"epoch": "e1", "last_sequence": 2})], "MISSING: 1 to 2"),
    ],
)  # fmt: skip
def test_what_is_not_whole_is_named(envelopes: list[dict[str, Any]], said: str) -> None:
    code, text = checked(*envelopes)
    assert code == 1
    assert said in text


def test_repeats_and_overlapping_tombstones_are_harmless() -> None:
    wider = tombstone(2, 4, "mixed", reasons={"evicted": 2, "expired": 1})
    code, text = checked(envelope(1, high=4, tombstones=[tombstone(2, 3)]), envelope(1, 5, high=5, tombstones=[wider]))
    assert code == 0
    assert "2 items, 1 repeats, 3 told by tombstones (2 evicted, 1 expired)" in text


def test_what_is_no_envelope_is_said() -> None:
    code, text = checked("no", "envelopes")
    assert code == 2
    assert "no JSON lines of envelopes" in text
