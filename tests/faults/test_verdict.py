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
from tests.faults.faults_policies import Counted, accounts_problem, changes, counted
from tests.faults.gateway_log import GatewayLog
from tests.faults.ledger import CloudConsumer, Ledger, Verdict, disk_problem, judge
from tests.faults.matrix import FAULTS, WAYS
from tests.faults.outbox_file import Books, books_problem
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
        "items": [
            {
                "sequence": sequence,
                "payload_sha256": payload,
                "transport": "gateway" if payload.startswith("own") else "http",
            }
            for sequence, payload in items
        ],
    }
    return ReceivedMessage(
        client_id="gw1",
        connection=1,
        received_at=datetime.now(UTC),
        properties={},
        body=json.dumps(body).encode(),
        duplicate_flag=False,
    )


def consumer(*messages: ReceivedMessage) -> CloudConsumer:
    cloud = CloudConsumer()
    cloud.read(list(messages))
    return cloud


def verdict(due: set[str], *messages: ReceivedMessage, receipts: dict[str, int] | None = None) -> Verdict:
    return judge(due, consumer(*messages), receipts=receipts or {})


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


def test_what_the_gateway_tells_of_itself_may_have_the_same_bytes_twice() -> None:
    assert verdict({"a"}, message((1, "a"), (2, "own summary"), (3, "own summary"))).clean


def test_an_item_that_came_under_another_sequence_than_its_receipt_says_is_lost() -> None:
    assert verdict({"a", "b"}, message((1, "a"), (2, "b")), receipts={"a": 1, "b": 2}).clean
    assert verdict({"a", "b"}, message((1, "a"), (2, "b")), receipts={"a": 2, "b": 2}).lost == 1


def grave(first: int, last: int, reason: str, **reasons: int) -> dict[str, Any]:
    told = {"epoch": "e1", "first_sequence": first, "last_sequence": last, "reason": reason}
    return told | ({"reasons": reasons} if reasons else {})


def test_a_tombstone_excuses_for_the_reasons_of_the_row_only() -> None:
    cloud = consumer(message(high=9, tombstones=(grave(1, 2, "expired"), grave(4, 5, "mixed", expired=1, evicted=1))))
    assert cloud.told({"expired"}) == {1, 2}
    assert cloud.told({"expired", "evicted"}) == {1, 2, 4, 5}


BOOKS = Books(sequence_high=3, pending=0, dead=0, delivered_total=2, gone=Counter({"expired": 1}), tombstones_pending=0)


@pytest.mark.parametrize(
    ("doctored", "messages", "problem"),
    [
        (BOOKS, (message((1, "a"), (3, "c"), tombstones=(grave(2, 2, "expired"),)),), ""),
        (
            replace(BOOKS, problem="no sum"),
            (message((1, "a"), (3, "c"), tombstones=(grave(2, 2, "expired"),)),),
            "no sum",
        ),
        (BOOKS, (message((1, "a"), (2, "b"), high=2),), "watermark"),
        (BOOKS, (message((1, "a"), (3, "c")),), "neither there nor told"),
        (BOOKS, (message((1, "a"), (3, "c"), tombstones=(grave(2, 2, "evicted"),)),), "a reason that no policy"),
        (
            replace(BOOKS, gone=Counter(expired=2)),
            (message((1, "a"), (3, "c"), tombstones=(grave(2, 2, "expired"),)),),
            "as gone",
        ),
        (
            replace(BOOKS, delivered_total=3),
            (message((1, "a"), (3, "c"), tombstones=(grave(2, 2, "expired"),)),),
            "as delivered",
        ),
    ],
)
def test_books_that_the_cloud_can_not_confirm_are_found(
    doctored: Books, messages: tuple[ReceivedMessage, ...], problem: str
) -> None:
    found = accounts_problem(doctored, consumer(*messages), {"expired"})
    assert problem in found
    assert bool(problem) == bool(found)


def test_a_ledger_that_its_rows_do_not_add_up_to_is_found() -> None:
    ledger = {"sequence_high": 4, "pending": 1, "dead": 0, "delivered_total": 1, "evicted_total": 1}
    ledger |= {"expired_total": 0, "filtered_total": 1, "summarised_total": 0}
    assert books_problem(ledger, {"pending": 1}) == ""
    assert "pending 1, counted are 2" in books_problem(ledger, {"pending": 2})
    assert "the parts are 5" in books_problem(ledger | {"filtered_total": 2}, {})


def test_an_event_in_two_summaries_or_in_none_shows_in_what_they_add_up_to() -> None:
    def summary(*numbers: int) -> dict[str, Any]:
        mean = float(f"{sum(numbers) / len(numbers):.9g}")
        return {"of": "reading", "count": len(numbers), "values": {"n": {"count": len(numbers), "mean": mean}}}

    right = Counted(events=5, numbers=1 + 2 + 4 + 70_001 + 70_003)
    assert counted([summary(1, 2, 4), summary(70_001, 70_003)]) == right
    assert counted([summary(1, 2, 4), summary(4, 70_001, 70_003)]) != right
    assert counted([summary(1, 2, 2), summary(70_001, 70_003)]) != right
    assert counted([{"of": "classification", "count": 3}]) == Counted(events=3, numbers=0)


def test_what_differs_from_the_last_one_sent_of_its_device_is_a_change() -> None:
    assert changes(["a", "b", "a", "b", "a"], [1, 1, 1, 2, 1]) == [True, True, False, True, False]


def test_a_line_of_the_log_that_a_kill_cut_short_is_none_and_the_rest_is_read_once(tmp_path: Path) -> None:
    file = tmp_path / "gateway.log"
    log = GatewayLog(file)
    assert log.count("a") == 0
    file.write_text('{"event": "a"}\n{"event": "b", "n')
    assert [line["event"] for line in log.new_lines()] == ["a"]
    with file.open("a") as lines:
        lines.write('{"event": "a"}\n{"event": "a"}\n')
    assert log.count("a") == 2


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


def test_what_was_acknowledged_while_a_gateway_was_being_killed_is_no_recovery(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("tests.faults.ledger.time.monotonic", lambda: now)
    ledger = Ledger()
    ledger.mark()
    ledger.acknowledge("a")
    ledger.mark_since(99.5)
    now = 103.0
    ledger.acknowledge("b")
    assert ledger.take_recovery() == 3.5


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
