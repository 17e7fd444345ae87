"""``gateway check``: everything that a start would find wrong, without starting."""

import os
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.cloud.identity import in_words
from gateway.cloud.provisioning import AssignmentFile
from gateway.errors import DataDirectoryLocked, OperatorError
from gateway.limits import derive_limits
from gateway.machine import usable_cores
from gateway.outbox.files import DATABASE_NAME, LOCK_NAME, DirectoryLock
from gateway.outbox.inspection import read_state
from gateway.settings import MIB, Settings, describe
from gateway.vision.bundle import inspect_bundle

# In a pipe or a log nothing is cut short: who greps for a setting must find its whole name.
_WIDTH_WITHOUT_TERMINAL = 10_000


def print_check(settings: Settings, *, show: bool = True) -> None:
    """Print model, limits, and with ``show`` every setting; raises OperatorError for what would stop a start."""
    console = Console(soft_wrap=True, width=None if sys.stdout.isatty() else _WIDTH_WITHOUT_TERMINAL)
    if show:
        _print_settings(console, settings)
    model = settings.model
    description = inspect_bundle(model.path, runtime=model.runtime, preprocessing=model.preprocessing, name=model.name)
    limits = derive_limits(settings, usable_cores())
    console.print(Text(f"cloud    {in_words(settings.cloud)}{_assigned(settings)}"))
    console.print(f"model    {description.identity.name} on {description.identity.runtime}: {description.reason}")
    console.print(
        f"limits   {limits.workers} interpreters, pictures up to {limits.pixels_max / 1e6:.1f} megapixels, "
        f"{limits.in_flight_bytes_max // 1024 // 1024} MiB of payload in flight"
    )
    shares = ", ".join(f"{share.name} {share.byte_count / MIB:.1f}" for share in limits.shares)
    console.print(f"memory   at most {settings.limits.memory_budget_mb} MiB: {shares}")
    check_data_dir(settings.gateway.data_dir)
    for warning in settings.warnings:
        console.print(Text(f"WARNING  {warning.where}: {warning.key}: {warning.text}. {warning.cure}"))
    if runs_already(settings.gateway.data_dir):
        console.print("All is well. A gateway runs on this data: stop it before you start another.")
    else:
        console.print("All is well: gateway run would start.")


def _print_settings(console: Console, settings: Settings) -> None:
    """Print each setting, its value without secrets, and where it came from."""
    table = Table(box=None, pad_edge=False)
    table.add_column("setting", no_wrap=True)
    table.add_column("value", overflow="fold")
    table.add_column("from", overflow="fold")
    for row in describe(settings):
        table.add_row(row.key, Text(row.value), Text(row.origin))
    console.print(table)
    console.print()


def _assigned(settings: Settings) -> str:
    """Return what the provisioning service has said, if one is asked."""
    if settings.cloud.identity_source != "provisioning":
        return ""
    known = AssignmentFile(settings.gateway.data_dir).load(settings.cloud.provisioning)
    if known is None:
        return ", which was not asked yet (gateway provision)"
    return f"; assigned on {known.assigned_at}: device {known.device_id} of {known.hub}"


def check_data_dir(data_dir: Path) -> None:
    """Raise OperatorError for what a start would refuse there; changes nothing."""
    place = data_dir
    while not place.exists():
        place = place.parent
    if not os.access(place, os.W_OK | os.X_OK):
        raise OperatorError(f"{data_dir} can't be written: check the owner of {place}, or set another gateway.data_dir")
    if (data_dir / DATABASE_NAME).exists():
        read_state(data_dir)


def runs_already(data_dir: Path) -> bool:
    """Tell whether a gateway holds the data directory."""
    if not (data_dir / LOCK_NAME).exists():
        return False
    try:
        DirectoryLock(data_dir).release()
    except DataDirectoryLocked:
        return True
    return False
