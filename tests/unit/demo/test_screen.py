"""What the demo shows fits the terminal, whatever its size."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from gateway.simulators.demo.gallery import Gallery
from gateway.simulators.demo.logbook import Logbook
from gateway.simulators.demo.screen import Screen, Thumbnails, drawn
from gateway.simulators.demo.thumbnail import thumbnail
from gateway.simulators.demo.verdict import Ledger
from gateway.simulators.demo.view import View

EXAMPLE = Path("examples/banana-ripe.jpg").read_bytes()
LONG = "picture 1: 50226 bytes sent in 0.88 s; its protocol has no word for that it is on disk"


def repeated() -> Iterator[bytes]:
    while True:
        yield EXAMPLE


def busy_site() -> tuple[View, Logbook]:
    logbook = Logbook()
    for n in range(8):
        logbook.enter(f"camera-number-{n}", "MQTT, in chunks")
        next(logbook.watching(f"camera-number-{n}", repeated()))
        logbook.accepted(f"camera-number-{n}", "1", 1, "unripe 100.0%")
    logbook.enter("openglass", "asked by the gateway", is_told=False)
    logbook.said("openglass", LONG)
    parts = dict.fromkeys(("delivered", "pending", "dead", "evicted", "expired", "filtered", "summarised"), 123)
    story = [f"{n:5} s  kill -9 of the gateway" for n in range(40)]
    ledger = Ledger(accepted=7 * 123, parts=parts)
    view = View(phase="devices stop; the backlog drains", ledger=ledger, depths=list(range(200)), story=story)
    return view, logbook


def lines_of(columns: int, rows: int, view: View, logbook: Logbook) -> list[str]:
    out = io.StringIO()
    console = Console(file=out, width=columns, height=rows)
    console.print(drawn(view, logbook.lines(), columns=columns, rows=rows, pictures=Thumbnails()))
    return out.getvalue().splitlines()


@pytest.mark.parametrize(("columns", "rows", "has_pictures"), [(80, 24, False), (120, 40, True), (200, 60, True)])
def test_the_picture_is_never_higher_than_the_terminal(columns: int, rows: int, has_pictures: bool) -> None:
    view, logbook = busy_site()
    lines = lines_of(columns, rows, view, logbook)
    assert len(lines) < rows
    text = "\n".join(lines)
    assert ("▀" in text) is has_pictures
    assert "summarised" in text
    assert "39 s  kill -9 of the gateway" in text


def test_a_ledger_that_does_not_add_up_is_seen_at_once() -> None:
    view, logbook = busy_site()
    view.ledger = Ledger(accepted=5, parts={"delivered": 4})
    assert "DOES NOT ADD UP" in "\n".join(lines_of(120, 40, view, logbook))


@pytest.mark.parametrize("picture", [b"# a text", EXAMPLE[:2000], b"\x89PNG\r\n\x1a\n" + bytes(40)])
def test_what_is_no_picture_is_said_and_takes_as_much_room(picture: bytes) -> None:
    assert thumbnail(picture, columns=20, rows=7).plain.split("\n") == ["no picture", *[""] * 6]


def test_in_a_pipe_it_is_a_line_each_and_none_is_broken() -> None:
    view, logbook = busy_site()
    out = io.StringIO()
    with Screen(Console(file=out, width=80)) as screen:
        screen.look(view, logbook)
        screen.look(view, logbook)
    told = out.getvalue().splitlines()
    assert len(told) == len(view.story) + 2
    assert told[-1].endswith("at the hub 0")


async def test_a_gallery_of_files_goes_round_and_never_waits() -> None:
    files = [Path("examples/banana-ripe.jpg"), Path("examples/apple-unripe.jpg")]
    async with Gallery(files, seed=1) as gallery:
        shots = gallery.shots(1)
        assert [next(shots) for _ in range(3)] == [files[1].read_bytes(), EXAMPLE, files[1].read_bytes()]


async def test_fruit_is_drawn_by_another_process() -> None:
    async with Gallery((), seed=1) as gallery:
        assert next(gallery.shots(0)).startswith(b"\xff\xd8")
