"""The demo as a picture in the terminal, as high and wide as the terminal is; lines of text where there is none."""

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from gateway.simulators.demo.logbook import Line, Logbook
from gateway.simulators.demo.thumbnail import thumbnail
from gateway.simulators.demo.verdict import Ledger, Verdict
from gateway.simulators.demo.view import View

_BARS = "▁▂▃▄▅▆▇█"
SPARK_COLUMNS = 60
ADDS_UP = "It adds up."
DOES_NOT_ADD_UP = "IT DOES NOT ADD UP: this is a bug, please report it with the folder."
STORY_LINES_MIN = 2
# In a pipe or a log: one line this often.
PLAIN_EVERY_S = 5.0
PICTURE_COLUMNS, PICTURE_ROWS = 19, 7
PICTURE_GAP = 1
# A picture and the line below it, and an empty line.
PICTURES_HEIGHT = PICTURE_ROWS + 2


class Screen:
    """Use as a context manager; ``look`` draws."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=4, transient=False) if console.is_terminal else None
        self._thumbnails = Thumbnails()
        self._told_s = -PLAIN_EVERY_S
        self._told_lines = 0
        self._told_phase = ""

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def look(self, view: View, logbook: Logbook) -> None:
        """Show how things stand."""
        if self._live is not None:
            size = self._console.size
            pictures = self._thumbnails if self._console.color_system is not None else None
            self._live.update(drawn(view, logbook.lines(), columns=size.width, rows=size.height, pictures=pictures))
        else:
            self._tell(view)

    def _tell(self, view: View) -> None:
        for line in view.story[self._told_lines :]:
            self._console.print(line, highlight=False, soft_wrap=True)
        self._told_lines = len(view.story)
        if view.phase != self._told_phase:
            self._told_phase = view.phase
            self._console.print(f"        {view.phase}", highlight=False, soft_wrap=True)
        if view.ledger is not None and view.elapsed_s - self._told_s >= PLAIN_EVERY_S:
            self._told_s = view.elapsed_s
            self._console.print(
                f"{view.elapsed_s:5.0f} s  {account(view.ledger)};  {_hub(view)}", highlight=False, soft_wrap=True
            )


class Thumbnails:
    """Draws a device's last picture; drawn once for each picture."""

    def __init__(self) -> None:
        self._drawn: dict[str, tuple[bytes, Text]] = {}

    def of(self, line: Line) -> Text:
        """Return a device's last picture."""
        known = self._drawn.get(line.device_id)
        if known is None or known[0] is not line.picture:
            known = line.picture, thumbnail(line.picture, columns=PICTURE_COLUMNS, rows=PICTURE_ROWS)
            self._drawn[line.device_id] = known
        return known[1]


def drawn(view: View, lines: list[Line], *, columns: int, rows: int, pictures: Thumbnails | None) -> Group:
    """Return the picture, at most ``rows`` high. The story takes what is left; pictures come where there is room."""
    parts: list[tuple[int, RenderableType]] = [
        (3 + len(view.left_out), _head(view)),
        (1 + len(lines), _devices(lines, view.at_hub, view.last_result, columns)),
        (5 if _fits_in_one_line(view, columns) else 6, _queue(view, columns)),
    ]
    left = rows - 1 - sum(height for height, _ in parts)  # the last line is the cursor's
    with_pictures = [line for line in lines if line.picture]
    if pictures is not None and with_pictures and left >= PICTURES_HEIGHT + STORY_LINES_MIN:
        parts.insert(2, (PICTURES_HEIGHT, _pictures(with_pictures, pictures, view.last_result, columns)))
        left -= PICTURES_HEIGHT
    return Group(*(part for _, part in parts), _story(view, max(STORY_LINES_MIN, left)))


def _head(view: View) -> Panel:
    left = max(0.0, view.duration_s - view.elapsed_s)
    text = Text.assemble((view.phase, "bold"), no_wrap=True, overflow="ellipsis")
    if view.is_running:
        text.append(f", {left:.0f} s to go")
    text.append("   gateway ")
    text.append_text(_up_or_down(is_up=view.gateway_up))
    text.append(f" ({view.kills} kills, {view.restarts} restarts)   uplink ")
    text.append_text(_up_or_down(is_up=view.uplink_up))
    for missing in view.left_out:
        text.append(f"\nleft out: {missing}", "yellow")
    return Panel(text, title="gateway-bridge: a site on this machine", title_align="left")


def _up_or_down(*, is_up: bool) -> Text:
    return Text("up", "green") if is_up else Text("DOWN", "bold red")


def _devices(lines: list[Line], at_hub: Mapping[str, int], last_result: Mapping[str, str], columns: int) -> Table:
    table = Table(box=None, pad_edge=False, width=columns)
    for name in ("device", "way in"):
        table.add_column(name, no_wrap=True)
    for name in ("told", "at hub", "put off"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("last answer", no_wrap=True, overflow="ellipsis", ratio=1)
    for line in lines:
        told = str(line.accepted) if line.is_told else "-"
        told_last = line.last if line.is_told else last_result.get(line.device_id, "")
        last = Text(told_last or line.last, no_wrap=True, overflow="ellipsis")
        table.add_row(line.device_id, line.way, told, str(at_hub.get(line.device_id, 0)), str(line.put_off), last)
    return table


def _pictures(lines: list[Line], pictures: Thumbnails, last_result: Mapping[str, str], columns: int) -> Columns:
    shown = lines[: max(1, columns // (PICTURE_COLUMNS + PICTURE_GAP))]
    cells = []
    for line in shown:
        said = line.last if line.is_told else last_result.get(line.device_id, "")
        caption = Text(f"{line.device_id.split('-')[0]}: {said}"[:PICTURE_COLUMNS], "bold", no_wrap=True)
        cells.append(Group(pictures.of(line), caption, ""))
    return Columns(cells, width=PICTURE_COLUMNS, padding=(0, PICTURE_GAP, 0, 0))


def _queue(view: View, columns: int) -> Panel:
    bars = Text(sparkline(view.depths, min(SPARK_COLUMNS, columns - 6)), "cyan")
    ledger = Text("") if view.ledger is None else _coloured(view.ledger)
    return Panel(
        Group(bars, ledger, Text(_hub(view), no_wrap=True)),
        title="waiting for the cloud, over time",
        title_align="left",
    )


def _coloured(ledger: Ledger) -> Text:
    text = Text(account(ledger))
    if not ledger.adds_up:
        text.append("  DOES NOT ADD UP", "bold red")
    return text


def _fits_in_one_line(view: View, columns: int) -> bool:
    return view.ledger is None or len(_coloured(view.ledger)) <= columns - 4


def _story(view: View, lines: int) -> Text:
    return Text("\n".join(view.story[-lines:]), no_wrap=True, overflow="ellipsis")


def account(ledger: Ledger) -> str:
    """Return the ledger as one sum."""
    parts = " + ".join(f"{name} {count}" for name, count in ledger.parts.items())
    return f"accepted {ledger.accepted} {'=' if ledger.adds_up else 'IS NOT'} {parts}"


def _hub(view: View) -> str:
    repeats = f", {view.doubles} repeats removed by their key" if view.doubles else ""
    return f"at the hub {view.arrived}{repeats}"


def sparkline(depths: list[int], columns: int = SPARK_COLUMNS) -> str:
    """Return the last ``columns`` depths as bars, scaled to the highest of them."""
    shown = depths[-columns:]
    top = max(shown, default=0) or 1
    return "".join(_BARS[min(len(_BARS) - 1, depth * len(_BARS) // (top + 1))] for depth in shown)


def tell_verdict(verdict: Verdict, say: Callable[[str], None]) -> None:
    """Say whether the ledger adds up, and if not, where not."""
    parts = " + ".join(f"{count} {name}" for name, count in verdict.ledger.parts.items())
    sign = "=" if verdict.ledger.adds_up else "IS NOT"
    say(f"Ledger: {verdict.ledger.accepted} accepted {sign} {parts}")
    say(
        f"Devices were told {verdict.promised} times: on disk. Lost: {len(verdict.lost)}. "
        f"Told by a tombstone instead of an item of their own: {verdict.told_by_tombstone}."
    )
    say(
        f"Summarised: {verdict.ledger.parts.get('summarised', 0)}; "
        f"counted by the {verdict.summaries} summaries at the hub: {verdict.counted}."
    )
    say(
        f"At the hub: doubled after removing repeats by key: {len(verdict.doubled)}; sequences unaccounted for: "
        f"{verdict.missing}; repeats that the key removed: {verdict.repeats}."
    )
    for device_id, submission_id in verdict.lost[:10]:
        say(f"  LOST: {submission_id} of {device_id}")
    for device_id, submission_id in verdict.doubled[:10]:
        say(f"  DOUBLED: {submission_id} of {device_id}")
    if verdict.contradictions:
        say(f"  {verdict.contradictions} keys came with two contents")
    if verdict.miscounted:
        say("  MISCOUNTED: summaries count other than what was summarised")
    say(ADDS_UP if verdict.is_good else DOES_NOT_ADD_UP)
