"""The matrix's own conscience: a planted loss, double or gap is found, told, and ends with status 1."""

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from gateway.simulators.iot_hub.record import ReceivedMessage
from tests.faults import __main__ as command
from tests.faults import record, report
from tests.faults.ledger import CloudConsumer, Ledger, Verdict, disk_problem, judge
from tests.faults.matrix import FAULTS, WAYS
from tests.faults.record import RunRecord

CLEAN = RunRecord(
    finished_at="2026-11-23T16:00:00Z",
    revision="abc",
    fault="kill",
    way="http",
    seed=1,
    cycles=10,
    cuts=10,
    cuts_in_flight=9,
    acknowledged=100,
    lost=0,
    doubled=0,
    unaccounted=0,
    refused=0,
    recovery_worst_s=1.2,
    stall_worst_s=1.3,
    duration_s=20.0,
    felt=10,
)


def message(
    *items: tuple[int, str], high: int | None = None, tombstones: tuple[dict[str, Any], ...] = ()
) -> ReceivedMessage:
    body = {
        "gateway_id": "gw",
        "epoch": "e1",
        "sequence_high": high or max((sequence for sequence, _ in items), default=0),
        "tombstones": list(tombstones),
        "items": [{"sequence": sequence, "payload_sha256": payload} for sequence, payload in items],
    }
    return ReceivedMessage(
        client_id="gw1",
        connection=1,
        received_at=datetime.now(UTC),
        properties={},
        body=json.dumps(body).encode(),
        duplicate_flag=False,
    )


def verdict(due: set[str], *messages: ReceivedMessage) -> Verdict:
    cloud = CloudConsumer()
    cloud.read(list(messages))
    return judge(due, cloud)


def test_everything_there_once_is_clean() -> None:
    assert verdict({"a", "b"}, message((1, "a"), (2, "b"))).clean


def test_a_message_that_came_twice_is_no_double() -> None:
    assert verdict({"a"}, message((1, "a")), message((1, "a"))).clean


def test_an_acknowledged_item_that_the_cloud_lacks_is_lost() -> None:
    assert verdict({"a", "planted"}, message((1, "a"))).lost == 1


def test_a_submission_under_two_sequences_is_doubled() -> None:
    assert verdict({"a"}, message((1, "a"), (2, "a"))).doubled == 1


def test_two_submissions_under_one_key_are_a_loss_and_a_conflict() -> None:
    found = verdict({"a", "b"}, message((1, "a")), message((1, "b")))
    assert (found.lost, found.doubled) == (1, 1)


def test_a_sequence_below_the_watermark_that_never_came_is_unaccounted_for() -> None:
    assert verdict({"a"}, message((1, "a"), high=3)).unaccounted == 2


def test_a_tombstone_accounts_for_its_sequences_but_not_for_what_was_acknowledged() -> None:
    tombstone = {"epoch": "e1", "first_sequence": 2, "last_sequence": 3, "reason": "breaks_the_link"}
    found = verdict({"a", "given-up"}, message((1, "a"), high=3, tombstones=(tombstone,)))
    assert (found.unaccounted, found.lost) == (0, 1)


@pytest.mark.parametrize(
    ("payloads", "sequences", "problem"),
    [
        (["a"], [1], "1 acknowledged submissions are not on disk"),
        (["a", "b", "b"], [1, 2, 3], "on disk twice"),
        (["a", "b"], [1, 3], "sequences on disk"),
        (["a", "b", "never told"], [1, 2, 3], ""),
    ],
)
def test_what_is_wrong_on_disk_is_said(payloads: list[str], sequences: list[int], problem: str) -> None:
    found = disk_problem({"a", "b"}, Counter(payloads), sequences)
    assert problem in found
    assert bool(problem) == bool(found)


def test_a_silence_under_load_is_a_stall_and_one_without_load_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("tests.faults.ledger.time.monotonic", lambda: now)
    ledger = Ledger()
    ledger.load_begins()
    now = 103.0
    ledger.acknowledge("a")
    ledger.load_ends()
    now = 200.0
    ledger.load_begins()
    ledger.acknowledge("b")
    assert ledger.stall_worst_s == 3.0


def test_the_clock_of_a_recovery_runs_from_the_mark_to_the_next_acknowledgement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr("tests.faults.ledger.time.monotonic", lambda: now)
    ledger = Ledger()
    ledger.mark()
    now = 102.5
    ledger.acknowledge("a")
    now = 110.0
    ledger.acknowledge("b")
    assert (ledger.take_recovery(), ledger.take_recovery()) == (2.5, None)


# --- the command --------------------------------------------------------------------------------------


def exit_status(folder: Path, *runs: RunRecord) -> int:
    for each in runs:
        record.append(folder / "runs.jsonl", each)
    app = typer.Typer()
    app.command()(command.main)
    return CliRunner().invoke(app, ["--rounds", "0", "--no-table", "--records", str(folder)]).exit_code


def test_clean_runs_end_with_status_0(tmp_path: Path) -> None:
    assert exit_status(tmp_path, CLEAN, replace(CLEAN, way="ble")) == 0


@pytest.mark.parametrize(
    "doctored",
    [replace(CLEAN, lost=1), replace(CLEAN, doubled=1), replace(CLEAN, unaccounted=1), replace(CLEAN, refused=1)],
    ids=["lost", "doubled", "unaccounted", "refused"],
)
def test_one_doctored_run_among_good_ones_ends_with_status_1(tmp_path: Path, doctored: RunRecord) -> None:
    assert exit_status(tmp_path, CLEAN, doctored) == 1


def test_a_run_that_failed_ends_with_status_1(tmp_path: Path) -> None:
    assert exit_status(tmp_path, CLEAN, replace(CLEAN, failure="the gateway did not come back")) == 1


def test_cuts_that_mostly_hit_nothing_end_with_status_1(tmp_path: Path) -> None:
    assert exit_status(tmp_path, replace(CLEAN, cuts=10, cuts_in_flight=7)) == 1


def test_an_unknown_fault_is_misuse(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(command.main)
    assert CliRunner().invoke(app, ["--fault", "no-such-fault", "--records", str(tmp_path)]).exit_code == 2


def test_a_line_that_is_no_run_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs.jsonl").write_text('{"fault": "kill"}\n')
    with pytest.raises(ValueError, match=r"runs\.jsonl:1 is not a run"):
        record.read([tmp_path / "runs.jsonl"])


# --- the table ----------------------------------------------------------------------------------------


def test_the_table_adds_runs_up_and_shows_a_loss() -> None:
    runs = [CLEAN, replace(CLEAN, seed=2, lost=3, recovery_worst_s=9.9), replace(CLEAN, way="ble")]
    text = report.table(runs, FAULTS, list(WAYS))
    assert "| kill -9 at random | http | 20 | 2 | 200 | 3 | 0 | 9.9 s | 1.3 s | 90% | 100% |" in text
    assert "| kill -9 at random | ble | 10 | 1 | 100 | 0 | 0 | 1.2 s | 1.3 s | 90% | 100% |" in text
    assert "30 kills" in text


def test_what_is_pending_is_named_in_the_table() -> None:
    text = report.table([CLEAN], FAULTS, list(WAYS))
    assert all(fault.title in text for fault in FAULTS if fault.pending)


def test_the_table_goes_between_its_markers_and_nowhere_else() -> None:
    text = f"before\n{report.BEGIN}\nold\n{report.END}\nafter"
    assert report.put_between_markers(text, "new") == f"before\n{report.BEGIN}\nnew\n{report.END}\nafter"
    with pytest.raises(ValueError, match="no lines"):
        report.put_between_markers("a document without them", "new")
