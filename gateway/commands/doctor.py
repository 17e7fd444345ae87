"""``gateway doctor``: measure this machine, say what to expect and how to mend it."""

import json
import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from gateway.commands.options import ConfigOption, JsonOption, SetOption, load

if TYPE_CHECKING:
    from gateway.doctor.finding import Finding

_STYLES = {"OK": "green", "WARN": "yellow", "FAIL": "bold red"}


def doctor(config: ConfigOption = None, sets: SetOption = None, *, as_json: JsonOption = False) -> None:
    """Measure disk, clock, memory and model, look at ports, hub and radio; every trouble with its cure.

    Works beside a running gateway and changes nothing. Exit code 1 when something must be mended.
    """
    from rich.console import Console

    from gateway.doctor.examination import Examination
    from gateway.doctor.finding import Level
    from gateway.log import configure_logging

    configure_logging("auto", "error")
    settings = load(config, sets)
    progress, found = Console(stderr=True), []
    with progress.status("looking ...") as status:
        examination = Examination(
            settings=settings,
            environment=os.environ,
            on_step=lambda step: status.update(f"looking at {step} ..."),
        )
        for finding in examination.findings():
            found.append(finding)
            if not as_json:
                _print(finding)
    bad = any(finding.level is Level.FAIL for finding in found)
    if as_json:
        typer.echo(json.dumps({"ok": not bad, "findings": [_document(finding) for finding in found]}, indent=2))
    if bad:
        raise typer.Exit(1)


def _print(finding: "Finding") -> None:
    from rich.console import Console
    from rich.text import Text

    line = Text.assemble((f"{finding.level:<5}", _STYLES[finding.level]), (f"{finding.check}: ", "bold"), finding.text)
    console = Console(soft_wrap=True, highlight=False)
    console.print(line)
    if finding.cure:
        console.print(Text(f"      → {finding.cure}"))


def _document(finding: "Finding") -> dict[str, Any]:
    return asdict(finding) | {"figures": dict(finding.figures)}
