"""The demo as a picture in the terminal; lines of text where there is no terminal."""

from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from gateway.simulators.demo.logbook import Logbook
from gateway.simulators.demo.site import View
from gateway.simulators.demo.verdict import Verdict

_BARS = "▁▂▃▄▅▆▇█"
SPARK_COLUMNS = 60
STORY_LINES = 6
# In a pipe or a log: one line this often.
PLAIN_EVERY_S = 5.0


class Screen:
    """Use as a context manager; ``look`` draws."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=4, transient=False) if console.is_terminal else None
        self._told_s = -PLAIN_EVERY_S
        self._told_lines = 0

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
            self._live.update(drawn(view, logbook))
            return
        for line in view.story[self._told_lines :]:
            self._console.print(line, highlight=False)
        self._told_lines = len(view.story)
        if view.elapsed_s - self._told_s >= PLAIN_EVERY_S:
            self._told_s = view.elapsed_s
            self._console.print(f"{view.elapsed_s:5.0f} s  {_figures(view)}", highlight=False)


def drawn(view: View, logbook: Logbook) -> Group:
    """Return the picture."""
    return Group(_head(view), _devices(logbook), _queue(view), _story(view))


def _head(view: View) -> Panel:
    left = max(0.0, view.duration_s - view.elapsed_s)
    text = Text.assemble(
        (view.phase, "bold"),
        f"   {left:.0f} s to go   gateway ",
        ("up" if view.gateway_up else "DOWN", "green" if view.gateway_up else "bold red"),
        f" ({view.kills} kills, {view.restarts} starts again)   uplink ",
        ("up" if view.uplink_up else "DOWN", "green" if view.uplink_up else "bold red"),
    )
    for missing in view.left_out:
        text.append(f"\nleft out: {missing}", "yellow")
    return Panel(text, title="gateway-bridge: a site on this machine", title_align="left")


def _devices(logbook: Logbook) -> Table:
    table = Table("device", "way", "on disk", "put off", "the gateway said", box=None, pad_edge=False)
    for line in logbook.lines():
        table.add_row(line.device_id, line.way, str(line.accepted), str(line.put_off), Text(line.last[:50]))
    return table


def _queue(view: View) -> Panel:
    figures = Text(_figures(view))
    return Panel(
        Group(Text(sparkline(view.depths), "cyan"), figures), title="waiting for the cloud", title_align="left"
    )


def _story(view: View) -> Text:
    return Text("\n".join(view.story[-STORY_LINES:]))


def _figures(view: View) -> str:
    doubles = f" (and {view.doubles} repeats, removed by their key)" if view.doubles else ""
    return (
        f"accepted {view.accepted} = delivered {view.delivered} + pending {view.pending} + dead {view.dead};  "
        f"at the hub {view.arrived}{doubles}"
    )


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
    say(f"Devices were told {verdict.promised} times: on disk. Lost: {len(verdict.lost)}.")
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
    say("It adds up." if verdict.is_good else "IT DOES NOT ADD UP: this is a bug, please report it with the folder.")
