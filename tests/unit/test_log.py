"""Log lines: for people or machines, and safe whatever is passed."""

import io
import json
import logging
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pytest
import structlog

from gateway.log import configure_logging, tell_left_out
from gateway.log_flood import BURST_LINES
from gateway.messages import Image, Kind

LOG = structlog.get_logger("gateway.intake")  # made before logging is configured, as modules do

KEY = "c2VjcmV0LWtleQ=="


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def configured(log_format: Literal["auto", "human", "json"], stream: io.StringIO | None = None) -> io.StringIO:
    stream = io.StringIO() if stream is None else stream
    configure_logging(log_format, "info", stream=stream)
    return stream


def only_line(stream: io.StringIO) -> dict[str, Any]:
    (line,) = stream.getvalue().splitlines()
    parsed: dict[str, Any] = json.loads(line)
    return parsed


# --- form ---------------------------------------------------------------------------------------------


def test_lines_are_json_when_nobody_watches() -> None:
    stream = configured("auto")

    LOG.info("event_committed", sequence=41, path=Path("/data"), kind=Kind.READING)

    line = only_line(stream)
    written_at = datetime.fromisoformat(line.pop("timestamp"))
    assert line == {
        "event": "event_committed",
        "level": "info",
        "logger": "gateway.intake",
        "sequence": 41,
        "path": "/data",
        "kind": "reading",
    }
    assert written_at.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - written_at) < timedelta(minutes=5)


def test_lines_of_a_kind_are_few_and_their_number_is_told() -> None:
    stream = configured("json")

    for number in range(BURST_LINES + 20):
        LOG.info("submission_refused", reason="malformed", device_id=f"cam-{number}")
        logging.getLogger("foreign").warning("odd packet %d", number)
    tell_left_out(at_end=True)

    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    counted = [line for line in lines if line["event"] == "log_lines_left_out"]
    assert len(lines) == 2 * BURST_LINES + 2
    assert [(line["of"], line["reason"], line["count"], line["level"]) for line in counted] == [
        ("submission_refused", "malformed", 20, "warning"),
        ("odd packet %d", "", 20, "warning"),
    ]


def test_whoever_asks_for_debug_gets_every_line() -> None:
    stream = io.StringIO()
    configure_logging("json", "debug", stream=stream)

    for _ in range(BURST_LINES + 20):
        LOG.debug("event_committed")

    assert len(stream.getvalue().splitlines()) == BURST_LINES + 20


def test_lines_are_for_people_on_a_terminal() -> None:
    stream = configured("auto", Terminal())

    LOG.info("event_committed", sequence=41)

    assert "\x1b[" in stream.getvalue()
    assert "event_committed" in stream.getvalue()


def test_the_format_can_be_chosen_against_the_stream() -> None:
    human, machine = configured("human"), Terminal()
    LOG.info("one")
    configured("json", machine)
    LOG.info("two")

    assert not human.getvalue().startswith("{")
    assert "\x1b[" not in human.getvalue()
    assert only_line(machine)["event"] == "two"


def test_times_for_people_are_utc_too() -> None:
    stream = configured("human")

    LOG.info("one")

    assert stream.getvalue().split()[0].endswith("Z")


def test_less_serious_lines_are_left_out() -> None:
    stream = configured("json")

    LOG.debug("details")
    logging.getLogger("uvicorn").debug("details")

    assert stream.getvalue() == ""


@pytest.mark.logs_secrets
def test_the_standard_librarys_loggers_use_the_same_form() -> None:
    stream = configured("json")

    logging.getLogger("some.library").warning("port %d taken by %s", 8080, f"http://u:{KEY}@h")

    line = only_line(stream)
    assert line["event"] == "port 8080 taken by http://u:***@h"
    assert (line["logger"], line["level"]) == ("some.library", "warning")


def test_pythons_warnings_become_lines() -> None:
    stream = configured("json")

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)  # catch_warnings has put back the old one
        logging.captureWarnings(capture=True)
        warnings.warn("old thing", stacklevel=1)

    assert "old thing" in only_line(stream)["event"]


def test_configuring_again_replaces_the_former_stream() -> None:
    first, second = configured("json"), configured("json")

    LOG.info("once")

    assert first.getvalue() == ""
    assert only_line(second)["event"] == "once"


# --- safety -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("log_format", ["human", "json"])
@pytest.mark.parametrize(
    "fields",
    [
        {"error": f"bad HostName=h;SharedAccessKey={KEY}"},
        {"error": ValueError(f"sig={KEY}")},
        {"connection_string": KEY},
        {"password": KEY},
        {"headers": {"Authorization": KEY}},
        {"headers": [("x", f"Bearer {KEY}")]},
        {"proxy": f"http://user:{KEY}@host:1"},
        {"deep": {"a": [{"b": (f"SharedAccessKey={KEY}",)}]}},
    ],
)
def test_no_secret_reaches_a_line(log_format: Literal["human", "json"], fields: dict[str, object]) -> None:
    stream = configured(log_format)

    LOG.warning("cloud_session_lost", **fields)

    assert KEY not in stream.getvalue()
    assert "***" in stream.getvalue()


@pytest.mark.logs_secrets
@pytest.mark.parametrize("log_format", ["human", "json"])
def test_no_secret_reaches_a_line_through_the_event_or_a_traceback(log_format: Literal["human", "json"]) -> None:
    stream = configured(log_format)
    connection_string = f"SharedAccessKey={KEY}"

    try:
        raise ValueError(connection_string)
    except ValueError:
        LOG.exception(f"failed with {connection_string}")  # noqa: G004 -- what a careless caller does

    assert KEY not in stream.getvalue()
    assert "ValueError" in stream.getvalue()


@pytest.mark.parametrize("log_format", ["human", "json"])
@pytest.mark.parametrize("data", [b"\xff\xd8picture", bytearray(b"\xff\xd8picture"), memoryview(b"\xff\xd8picture")])
def test_bytes_are_counted_and_not_written(log_format: Literal["human", "json"], data: object) -> None:
    stream = configured(log_format)

    LOG.info("received", data=data, nested=[data], keyed={"x": data})

    assert "picture" not in stream.getvalue()
    assert stream.getvalue().count("<9 bytes>") == 3


@pytest.mark.parametrize("log_format", ["human", "json"])
def test_an_object_that_holds_bytes_is_named_by_its_type(log_format: Literal["human", "json"]) -> None:
    stream = configured(log_format)

    LOG.info("received", image=Image(data=b"picture"))

    assert "<Image>" in stream.getvalue()
    assert "picture" not in stream.getvalue()


INJECTION = "cam\n2026-01-01T00:00:00Z [info] all_is_well\r\x1b[2J\x9b2J\u2028\u202e\x00"


@pytest.mark.parametrize("log_format", ["human", "json"])
@pytest.mark.parametrize("place", ["event", "field", "name", "nested", "foreign", "exception"])
def test_a_device_can_neither_start_a_line_nor_move_the_cursor(
    log_format: Literal["human", "json"], place: str
) -> None:
    stream = configured(log_format)

    if place == "foreign":
        logging.getLogger("uvicorn").info("from %s", INJECTION)
    elif place == "exception":
        try:
            raise ValueError(INJECTION)
        except ValueError:
            LOG.exception("failed")
    else:
        fields: dict[str, dict[str, object]] = {
            "event": {"event": INJECTION},
            "field": {"event": "e", "device_id": INJECTION},
            "name": {"event": "e", INJECTION: 1},
            "nested": {"event": "e", "devices": [{"id": INJECTION, INJECTION: 1}]},
        }
        LOG.info(**fields[place])

    text = stream.getvalue()
    assert not any(line.startswith("2026-01-01") for line in text.split("\n"))
    assert not set(text) & set("\r\x1b\x9b\u2028\u202e\x00")


def test_a_traceback_for_people_is_set_off_from_log_lines() -> None:
    stream = configured("human")

    try:
        raise ValueError("first\nsecond")
    except ValueError:
        LOG.exception("failed")

    first, *rest = stream.getvalue().splitlines()
    assert "failed" in first
    assert all(line.startswith("  | ") for line in rest)
    assert "  | second" in rest


def test_local_variables_are_never_in_a_traceback() -> None:
    stream = configured("human", Terminal())
    local = "in a local" + " variable"

    try:
        raise ValueError(str(len(local)))
    except ValueError:
        LOG.exception("failed")

    assert "in a local variable" not in stream.getvalue()


@pytest.mark.parametrize("value", ["x" * 100_000, ["x" * 1000] * 1000, {str(n): "x" * 100 for n in range(10_000)}])
def test_a_long_value_is_cut(value: object) -> None:
    stream = configured("json")

    LOG.info("received", value=value)

    assert len(stream.getvalue()) < 60_000


def test_a_value_within_itself_is_cut() -> None:
    stream = configured("json")
    ring: list[object] = []
    ring.append(ring)

    LOG.info("received", ring=ring)

    assert "<1 items>" in stream.getvalue()
