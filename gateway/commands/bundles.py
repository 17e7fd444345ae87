"""``gateway outbox export --bundle``, ``verify-bundle``, ``make-ack``, ``import-ack``, ``bundle-key``."""

import getpass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from gateway.commands.options import ConfigOption, SetOption, load
from gateway.errors import OperatorError
from gateway.settings import Settings

BundleArgument = Annotated[Path, typer.Argument(help="The bundle.")]


def export_bundle(settings: Settings, target: Path) -> None:
    """Write what waits for the cloud into a signed bundle, in a folder or under a name that is free."""
    from rich.console import Console
    from rich.progress import Progress

    from gateway.bundles import BundleWriter, ensure_key
    from gateway.outbox.bundle_export import fill
    from gateway.outbox.inspection import reading_pending

    data_dir, gateway_id = settings.gateway.data_dir, settings.gateway.id
    now = datetime.now(UTC)
    try:
        with (
            Progress(console=Console(stderr=True), transient=True) as progress,
            BundleWriter(target, gateway_id=gateway_id) as writer,
        ):
            bar = progress.add_task("exporting", total=None)
            with reading_pending(data_dir) as reader:
                contents = fill(
                    writer,
                    reader,
                    gateway_id=gateway_id,
                    now=now,
                    on_progress=lambda done, total: progress.update(bar, completed=done, total=total),
                )
                epoch = reader.state.epoch.epoch
            seal = writer.seal(ensure_key(data_dir), epoch=epoch, created_at=now)
            # Remembered first: a bundle that is there can always be acknowledged.
            _record(settings, seal.sha256, contents.keys, contents.tombstone_ids)
            path = writer.publish(seal)
    except OSError as error:
        raise OperatorError(f"can't write the bundle to {target}: {error.strerror}") from error
    typer.echo(str(path))
    typer.echo(
        f"{seal.events} events, {seal.tombstones} tombstones; they stay pending until it is acknowledged", err=True
    )


def _record(settings: Settings, sha256: str, keys: list[tuple[int, int]], tombstone_ids: list[int]) -> None:
    from gateway.control import ask_running_gateway
    from gateway.outbox.bundle_export import record_offline

    data_dir = settings.gateway.data_dir
    arguments = {"sha256": sha256, "keys": keys, "tombstone_ids": tombstone_ids}
    if ask_running_gateway(data_dir, "record_bundle", arguments) is None:
        record_offline(data_dir, sha256, keys, tombstone_ids, settings=settings.outbox)


def bundle_key(config: ConfigOption = None, sets: SetOption = None) -> None:
    """Print this site's public key: whoever verifies its bundles should have got it another way than by the stick."""
    from gateway.bundles import public_key

    data_dir = load(config, sets).gateway.data_dir
    try:
        typer.echo(public_key(data_dir))
    except OSError as error:
        raise OperatorError(f"the key in {data_dir} can't be read or made: {error.strerror}") from error


def verify_bundle(
    bundle: BundleArgument,
    key: Annotated[
        str | None, typer.Option("--key", help="The site's public key, as `gateway outbox bundle-key` prints it.")
    ] = None,
    *,
    unpack: Annotated[bool, typer.Option("--print", help="Print the envelopes, one a line.")] = False,
) -> None:
    """Check that a bundle is whole and signed; exit code 2 and what is wrong where it is not."""
    from gateway.bundles import envelopes, verify

    try:
        seal = verify(bundle, known_key=key)
        if unpack:
            for envelope in envelopes(bundle):
                typer.echo(envelope)
    except OSError as error:
        raise OperatorError(f"{bundle} can't be read: {error.strerror}") from error
    typer.echo(f"whole and signed: {seal.events} events, {seal.tombstones} tombstones of {seal.gateway_id}", err=True)
    for part in seal.ranges:
        typer.echo(f"epoch {part.epoch}: sequences {part.first_sequence} to {part.last_sequence}", err=True)
    typer.echo(f"made at {seal.created_at}, SHA-256 {seal.sha256}", err=True)
    if key is None:
        typer.echo(
            f"signed with {seal.public_key}: compare it with what `gateway outbox bundle-key` says there", err=True
        )


def make_ack(
    bundle: BundleArgument,
    out: Annotated[Path | None, typer.Option("--out", help="File to write; default: standard output.")] = None,
    key: Annotated[str | None, typer.Option("--key", help="The site's public key.")] = None,
    by: Annotated[str, typer.Option("--by", help="Who acknowledges; default: this user.")] = "",
) -> None:
    """At the receiving office, once the events of a bundle are safe there: write the file that tells the site."""
    from gateway.bundles import acknowledgement, verify

    try:
        text = acknowledgement(verify(bundle, known_key=key), by=by or getpass.getuser(), at=datetime.now(UTC))
        if out is None:
            typer.echo(text, nl=False)
        else:
            out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OperatorError(f"{error.filename or bundle}: {error.strerror}") from error


def import_ack(
    ack: Annotated[Path, typer.Argument(help="The file that make-ack wrote.")],
    config: ConfigOption = None,
    sets: SetOption = None,
) -> None:
    """Mark the events of an acknowledged bundle as delivered: those that still wait, and no others."""
    from gateway.bundles import read_acknowledgement
    from gateway.control import ask_running_gateway
    from gateway.outbox.bundle_export import acknowledge_offline

    settings = load(config, sets)
    data_dir = settings.gateway.data_dir
    try:
        sha256 = read_acknowledgement(ack, gateway_id=settings.gateway.id)
    except OSError as error:
        raise OperatorError(f"{ack} can't be read: {error.strerror}") from error
    answer = ask_running_gateway(data_dir, "acknowledge_bundle", {"sha256": sha256})
    offline = partial(acknowledge_offline, data_dir, sha256, settings=settings.outbox)
    marked = offline() if answer is None else answer["marked"]
    if marked is None:
        raise OperatorError(f"this outbox has exported no bundle {sha256}: nothing was marked")
    why = (
        "" if marked else ": nothing of that bundle waits any more; it was acknowledged before, or sent over the uplink"
    )
    typer.echo(f"{marked} events marked as delivered{why}")
