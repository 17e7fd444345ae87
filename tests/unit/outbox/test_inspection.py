"""A look from outside: the same whether or not a gateway runs on the file."""

import asyncio
import csv
import io
import json
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.errors import DataDirectoryLocked, OperatorError, OutboxUnusable
from gateway.messages import Classification, EventState, ModelIdentity, Prediction, Refusal, Transport
from gateway.outbox import inspection
from gateway.outbox.event_text import event_json
from gateway.outbox.inspection import (
    export_events,
    list_events,
    list_refusals,
    read_state,
    requeue_offline,
    show_event,
)
from tests.fakes.outbox import SOME_TIME, draft
from tests.fakes.outbox_parts import opened

RIPE = Classification(
    predictions=(Prediction(label="unripe", probability=0.25), Prediction(label="ripe, red", probability=0.75)),
    model=ModelIdentity(name="fruit", model_sha256="aa", labels_sha256="bb", runtime="litert"),
    image_format="JPEG",
    image_width=640,
    image_height=480,
    decode_ms=1.0,
    preprocess_ms=2.0,
    inference_ms=3.0,
)


@asynccontextmanager
async def filled(data_dir: Path) -> AsyncIterator[None]:
    """Enter: a running outbox with a delivered, a dead and two pending events, and a refusal."""
    async with opened(data_dir) as outbox:
        await outbox.commit([draft("one")])
        await outbox.commit([replace(draft("two", device_id="d2"), result=RIPE)])
        await outbox.commit([draft("arr", item=n) for n in range(2)])
        await outbox.mark_delivered([1], [])
        await outbox.mark_dead(2, "too_large")
        refusal = Refusal(
            device_id="d3", transport=Transport.MQTT, refused_at=SOME_TIME, reason="not_an_image", detail="no"
        )
        await outbox.record_refusal(refusal)
        yield


@pytest.fixture(params=["running", "stopped"])
async def data_dir(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Path]:
    folder = tmp_path / "data"
    if request.param == "running":
        async with filled(folder):
            yield folder
        return
    async with filled(folder):
        pass
    yield folder


def test_state_is_what_the_running_outbox_says(data_dir: Path) -> None:
    state = read_state(data_dir)
    assert (state.sequence_high, state.pending, state.delivered, state.dead) == (4, 2, 1, 1)
    assert (state.refusals, state.tombstones_pending, state.oldest_pending_received_at) == (1, 1, SOME_TIME)


def test_events_are_listed_newest_first_by_state_and_device(data_dir: Path) -> None:
    assert [event.sequence for event in list_events(data_dir)] == [4, 3, 2, 1]
    assert [event.sequence for event in list_events(data_dir, limit=2)] == [4, 3]
    assert [event.sequence for event in list_events(data_dir, state=EventState.PENDING)] == [4, 3]
    assert [event.sequence for event in list_events(data_dir, device_id="d2")] == [2]
    assert list(list_events(data_dir, state=EventState.DEAD, device_id="nobody")) == []


def test_more_events_than_a_page_are_listed_once(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "PAGE_ROWS", 2)
    assert [event.sequence for event in list_events(data_dir, limit=3)] == [4, 3, 2]


@pytest.mark.parametrize(("which", "sequence"), [("2", 2), (3, 3), ("arr/1", 4), ("two", 2)])
def test_an_event_is_shown_by_sequence_or_id(data_dir: Path, which: str | int, sequence: int) -> None:
    assert show_event(data_dir, which).sequence == sequence


def test_an_unknown_event_is_said_to_be_unknown(data_dir: Path) -> None:
    with pytest.raises(OperatorError, match="no event 99"):
        show_event(data_dir, "99")


def test_refusals_are_listed(data_dir: Path) -> None:
    (refusal,) = list_refusals(data_dir)
    assert (refusal.device_id, refusal.reason, refusal.transport) == ("d3", "not_an_image", Transport.MQTT)


def test_json_lines_hold_whole_events_oldest_first(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "PAGE_ROWS", 3)
    out, progress = io.StringIO(), []
    assert export_events(data_dir, out, on_progress=lambda done, total: progress.append((done, total))) == 4
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [(line["sequence"], line["submission_id"]) for line in lines] == [
        (1, "one"),
        (2, "two"),
        (3, "arr/0"),
        (4, "arr/1"),
    ]
    assert lines[1]["result"]["predictions"][1] == {"label": "ripe, red", "probability": 0.75}
    assert (lines[1]["dead_reason"], lines[0]["result"]) == ("too_large", {"temperature": 21.5})
    assert progress == [(3, 4), (4, 4)]


def test_csv_has_a_line_for_each_event(data_dir: Path) -> None:
    out = io.StringIO()
    assert export_events(data_dir, out, fmt="csv", state=EventState.DEAD) == 1
    (row,) = csv.DictReader(io.StringIO(out.getvalue()))
    assert (row["sequence"], row["label"], row["probability"], row["values"]) == ("2", "ripe, red", "0.75", "")


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1+2", "@SUM(A1)", "\t=1", 'a,"b"\nc'])
async def test_csv_keeps_its_columns_and_no_cell_is_a_formula(tmp_path: Path, text: str) -> None:
    result = replace(RIPE, predictions=(Prediction(label=text, probability=1.0),))
    out = io.StringIO()
    async with opened(tmp_path / "data") as outbox:
        receipt = await outbox.commit([replace(draft("one"), result=result)])
        export_events(tmp_path / "data", out, fmt="csv")
    (row,) = csv.DictReader(io.StringIO(out.getvalue(), newline=""))
    assert row["label"].removeprefix("'") == text
    assert row["label"][0] not in "=+-@\t"
    assert (row["epoch"], row["probability"]) == (receipt.items[0].epoch, "1.0")


def test_an_unknown_format_is_refused(data_dir: Path) -> None:
    with pytest.raises(OperatorError, match="use jsonl or csv"):
        export_events(data_dir, io.StringIO(), fmt="xml")


def test_one_event_is_one_line_of_json(data_dir: Path) -> None:
    text = event_json(show_event(data_dir, 2))
    assert "\n" not in text
    assert json.loads(text)["state"] == "dead"


async def test_dead_letters_are_requeued_only_while_no_gateway_runs(tmp_path: Path) -> None:
    async with filled(tmp_path):
        with pytest.raises(DataDirectoryLocked):
            requeue_offline(tmp_path)
    assert requeue_offline(tmp_path, [1, 99]) == 0
    assert requeue_offline(tmp_path) == 1
    state = read_state(tmp_path)
    assert (state.pending, state.dead, state.tombstones_pending) == (3, 0, 0)
    async with opened(tmp_path) as outbox:
        assert len(await outbox.pending(after_sequence=0, limit=10)) == 3


@pytest.mark.parametrize("look", [read_state, lambda folder: list(list_events(folder)), requeue_offline])
def test_where_there_is_no_outbox_yet_it_is_said(tmp_path: Path, look: object) -> None:
    assert callable(look)
    with pytest.raises(OperatorError, match="there is no outbox in"):
        look(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_a_damaged_file_is_said_to_be_damaged(tmp_path: Path) -> None:
    (tmp_path / "outbox.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    with pytest.raises(OutboxUnusable):
        read_state(tmp_path)


def filled_with(data_dir: Path, count: int, *, copy: Path | None = None) -> Path:
    """Make an outbox of ``count`` large readings; ``copy``: as it was before it was closed."""

    async def fill() -> None:
        async with opened(data_dir) as outbox:
            await outbox.commit([draft(f"e-{n}", values_json='{"x":"' + "y" * 60_000 + '"}') for n in range(count)])
            if copy is not None:
                shutil.copytree(data_dir, copy)

    asyncio.run(fill())
    return data_dir


def test_a_card_that_became_read_only_is_still_read(small_disk: Path, tmp_path: Path) -> None:
    crashed = small_disk / "crashed"
    data_dir = filled_with(small_disk / "data", 1, copy=crashed)
    (crashed / "outbox.db-shm").unlink()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert read_state(data_dir).pending == 1
    assert [event.submission_id for event in list_events(data_dir)] == ["e-0"]
    with pytest.raises(OutboxUnusable, match=r"copy outbox\.db and outbox\.db-wal into another folder"):
        read_state(crashed)
    assert read_state(shutil.copytree(crashed, tmp_path / "copy")).pending == 1


def export(data_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway", "outbox", "export", "--set", f"gateway.data_dir={data_dir}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_an_export_that_does_not_fit_leaves_no_half_file(small_disk: Path, tmp_path: Path) -> None:
    data_dir = filled_with(tmp_path / "data", 80)
    done = export(data_dir, "--out", str(small_disk / "all.jsonl"))
    assert done.returncode == 2
    assert "No space left on device" in done.stderr
    assert not [path for path in small_disk.iterdir() if path.is_file()]
    assert export(data_dir, "--out", str(tmp_path / "all.jsonl")).returncode == 0
    assert len((tmp_path / "all.jsonl").read_text().splitlines()) == 80


def test_a_reader_that_has_enough_is_no_error(tmp_path: Path) -> None:
    data_dir = filled_with(tmp_path / "data", 10)
    command = f"{sys.executable} -m gateway outbox export --set gateway.data_dir={data_dir} | head -c 10"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, len(done.stdout)) == (0, 10)
    assert "Error" not in done.stderr
    assert "can't" not in done.stderr
