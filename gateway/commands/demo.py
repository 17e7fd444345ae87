"""``gateway demo``: a site on one machine, with failures, and a ledger at the end."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer


def demo(
    *,
    seconds: Annotated[float, typer.Option(min=5, max=86_400, help="How long devices send.")] = 60.0,
    interval: Annotated[
        float, typer.Option(min=0.05, max=3600, help="Seconds between two pictures of a device.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(help="Another seed is another story.")] = 1,
    kills: Annotated[
        bool, typer.Option("--kills/--no-kills", help="Whether the gateway is killed now and then.")
    ] = True,
    folder: Annotated[
        Path | None, typer.Option(help="A new folder for its data and logs. Default: a temporary one.")
    ] = None,
    picture: Annotated[
        list[Path] | None, typer.Option(help="A picture that cameras send; may be repeated. Without: fruit is drawn.")
    ] = None,
) -> None:
    """Run a gateway, a hub stand-in and devices; fail the uplink, kill the gateway; end with a ledger that adds up."""
    from rich.console import Console

    from gateway.simulators.demo.options import DemoOptions
    from gateway.simulators.demo.screen import ADDS_UP, DOES_NOT_ADD_UP, Screen, tell_verdict
    from gateway.simulators.demo.site import DemoSite, demo_folder
    from gateway.simulators.demo.timeline import timeline

    place = demo_folder(folder)
    typer.echo(f"The site's data and logs: {place}")
    options = DemoOptions(
        folder=place,
        duration_s=seconds,
        seed=seed,
        interval_s=interval,
        timeline=timeline(duration_s=seconds, seed=seed, kills=kills),
        pictures=tuple(picture or ()),
    )
    console = Console()

    def say(text: str) -> None:
        style = "bold green" if text == ADDS_UP else "bold red" if text == DOES_NOT_ADD_UP else None
        console.print(text, style=style, markup=False, highlight=False, soft_wrap=not console.is_terminal)

    try:
        with Screen(console) as screen:
            verdict = asyncio.run(DemoSite(options, look=screen.look).run())
    except KeyboardInterrupt:
        typer.echo("Ended without a ledger: nothing is said of whether it adds up.", err=True)
        raise
    tell_verdict(verdict, say)
    if not verdict.is_good:
        raise typer.Exit(1)
