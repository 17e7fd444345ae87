"""``gateway check``: everything that a start would find wrong, without starting."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.limits import derive_limits
from gateway.machine import usable_cores
from gateway.settings import Settings, describe
from gateway.vision.bundle import inspect_bundle


def print_check(settings: Settings) -> None:
    """Print every setting with its origin, the model, the limits; raises OperatorError for what would stop a start."""
    console = Console(soft_wrap=True)
    table = Table("setting", "value", "from", box=None, pad_edge=False)
    for row in describe(settings):
        table.add_row(row.key, Text(row.value), row.origin)
    console.print(table)
    model = settings.model
    description = inspect_bundle(model.path, runtime=model.runtime, preprocessing=model.preprocessing, name=model.name)
    limits = derive_limits(settings, usable_cores())
    console.print()
    console.print(f"model    {description.identity.name} on {description.identity.runtime}: {description.reason}")
    console.print(
        f"limits   {limits.workers} interpreters, pictures up to {limits.pixels_max / 1e6:.1f} megapixels, "
        f"{limits.in_flight_bytes_max // 1024 // 1024} MiB of payload in flight"
    )
    for warning in settings.warnings:
        console.print(Text(f"WARNING  {warning.where}: {warning.key}: {warning.text}. {warning.cure}"))
    console.print("All is well: gateway run would start.")
