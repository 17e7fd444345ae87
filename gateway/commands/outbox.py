"""``gateway outbox``: look into the outbox, running or not; change it through the running gateway."""

import contextlib
import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from gateway.commands import bundles
from gateway.commands.options import ConfigOption, JsonOption, SetOption, load
from gateway.commands.tables import table
from gateway.errors import OperatorError
from gateway.messages import Classification, Event, EventState, Summary

app = typer.Typer(help="The outbox: what was committed, delivered, set aside, refused.", no_args_is_help=True)

app.command("bundle-key")(bundles.bundle_key)
app.command("verify-bundle")(bundles.verify_bundle)
app.command("make-ack")(bundles.make_ack)
app.command("import-ack")(bundles.import_ack)

LIST_DEFAULT = 20
# From here on nobody counts the digits.
BYTES_FOR_PEOPLE = 100_000


@app.command()
def stats(config: ConfigOption = None, sets: SetOption = None, *, as_json: JsonOption = False) -> None:
    """Print what became of every event, what waits, what each policy does, and how file, uplink and clock stand."""
    from gateway.commands.outbox_stats import gathered_facts

    groups = gathered_facts(load(config, sets))
    if as_json:
        typer.echo(json.dumps({key: value for facts in groups for key, value in facts.items()}))
        return
    rows: list[tuple[str, str]] = []
    for facts in groups:
        rows += [("", "")] if rows else []
        rows += [(key.replace("_", " "), _told(key, value)) for key, value in facts.items()]
    table(("", ""), rows)


@app.command("list")
def list_(
    config: ConfigOption = None,
    sets: SetOption = None,
    *,
    state: Annotated[EventState | None, typer.Option(help="Only events in this state.")] = None,
    device: Annotated[str | None, typer.Option(help="Only events of this device.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = LIST_DEFAULT,
    refusals: Annotated[bool, typer.Option("--refusals", help="What devices were refused, instead.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List events, newest first."""
    from gateway.outbox import inspection
    from gateway.outbox.event_text import event_json

    data_dir = load(config, sets).gateway.data_dir
    if refusals:
        rows = [
            (r.refused_at.isoformat(timespec="seconds"), r.device_id, r.reason, r.detail)
            for r in inspection.list_refusals(data_dir, limit=limit)
        ]
        _print_rows(("refused at", "device", "reason", "detail"), rows, as_json=as_json)
        return
    events = list(inspection.list_events(data_dir, state=state, device_id=device, limit=limit))
    if as_json:
        for event in events:
            typer.echo(event_json(event))
        return
    epoch = inspection.read_state(data_dir).epoch.epoch
    table(
        ("sequence", "received at", "clock", "device", "result", "state"),
        [
            (
                inspection.event_name(event, epoch),
                event.received_at.isoformat(timespec="seconds"),
                event.clock.value,
                event.device_id,
                _result(event),
                event.state + (f": {event.dead_reason}" if event.dead_reason else ""),
            )
            for event in events
        ],
    )


@app.command()
def show(
    which: Annotated[str, typer.Argument(help="A sequence number or a submission id.")],
    config: ConfigOption = None,
    sets: SetOption = None,
) -> None:
    """Print one event whole, as JSON."""
    from gateway.outbox.event_text import event_json
    from gateway.outbox.inspection import show_event

    typer.echo(json.dumps(json.loads(event_json(show_event(load(config, sets).gateway.data_dir, which))), indent=2))


@app.command()
def export(
    out: Annotated[Path | None, typer.Option("--out", help="File to write; default: standard output.")] = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    *,
    fmt: Annotated[str, typer.Option("--format", help="jsonl or csv.")] = "jsonl",
    state: Annotated[EventState | None, typer.Option(help="Only events in this state.")] = None,
    bundle: Annotated[
        Path | None,
        typer.Option("--bundle", help="Folder (a stick) or new file: what waits for the cloud, signed, to be carried."),
    ] = None,
) -> None:
    """Write events out, oldest first: JSON lines or CSV, or a signed bundle of what waits for the cloud."""
    if bundle is not None:
        if out is not None or state is not None:
            raise typer.BadParameter("--bundle takes what waits for the cloud, and says where by itself")
        bundles.export_bundle(load(config, sets), bundle)
        return
    from rich.console import Console
    from rich.progress import Progress

    from gateway.outbox.inspection import export_events

    data_dir = load(config, sets).gateway.data_dir
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("exporting", total=None)

        def advance(done: int, total: int) -> None:
            progress.update(bar, completed=done, total=total)

        try:
            with _opened(out) as file:
                count = export_events(data_dir, file, fmt=fmt, state=state, on_progress=advance)
                file.flush()
        except BrokenPipeError:
            _forget_standard_output()  # who reads it (head, less) has enough
            raise typer.Exit(0) from None
        except OSError as error:
            raise OperatorError(
                f"can't write {out or 'standard output'}: {error.strerror}; nothing is left of it"
            ) from error
    typer.echo(f"{count} events exported", err=True)


@app.command()
def requeue(
    sequences: Annotated[list[str] | None, typer.Argument(help="Dead letters, as `list` names them.")] = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Every dead letter.")] = False,
) -> None:
    """Send dead letters again: through the running gateway, or directly when none runs."""
    from gateway.control import ask_running_gateway
    from gateway.outbox.inspection import keys_of, requeue_offline

    if bool(sequences) == everything:
        raise typer.BadParameter("name sequences, or say --all")
    data_dir = load(config, sets).gateway.data_dir
    chosen = None if everything else keys_of(data_dir, sequences or ())
    answer = ask_running_gateway(data_dir, "requeue", {"sequences": chosen})
    count = requeue_offline(data_dir, chosen) if answer is None else int(answer["requeued"])
    typer.echo(f"{count} dead letters requeued")
    if chosen is not None and count < len(chosen):
        typer.echo(f"{len(chosen) - count} of those named are no dead letters: see gateway outbox list --state dead")
        raise typer.Exit(1)


@contextlib.contextmanager
def _opened(out: Path | None) -> Iterator[TextIO]:
    """Enter: what to write to. A file has its name only when it is whole and on the disk."""
    if out is None or (out.exists() and not out.is_file()):  # /dev/stdout, a pipe
        with contextlib.nullcontext(sys.stdout) if out is None else out.open("w", newline="", encoding="utf-8") as file:
            yield file
        return
    partial = out.with_name(f".{out.name}.partial")
    try:
        with partial.open("w", newline="", encoding="utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)


def _forget_standard_output() -> None:
    """Let what is still in the buffer go nowhere, so that the interpreter's end does not fail on it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _told(key: str, value: Any) -> str:
    """Return a fact for people. Large numbers of bytes are told in other units, too."""
    from rich.filesize import decimal

    if isinstance(value, int) and "bytes" in key and value >= BYTES_FOR_PEOPLE:
        return f"{value} ({decimal(value)})"
    return "" if value is None else str(value)


def _result(event: Event) -> str:
    result = event.result
    if isinstance(result, Classification):
        best = max(result.predictions, key=lambda p: p.probability)
        return f"{best.label} {best.probability:.1%}"
    if isinstance(result, Summary):
        return f"summary of {json.loads(result.counts_json)['count']} {result.of_kind.value}s"
    return result.values_json if len(result.values_json) <= 60 else result.values_json[:57] + "..."


def _print_rows(head: tuple[str, ...], rows: Iterable[tuple[str, ...]], *, as_json: bool) -> None:
    if as_json:
        for row in rows:
            typer.echo(json.dumps(dict(zip(head, row, strict=True))))
    else:
        table(head, rows)
