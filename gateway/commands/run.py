"""``gateway run`` and ``gateway check``."""

import asyncio
import os
import signal
import sys
from typing import Annotated

import typer

from gateway.commands.options import ConfigOption, SetOption, load
from gateway.settings import Settings

# Both a clean end and asyncio's own SIGINT handling stay out of the way: one event, two signals.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
LAN_LISTEN_HOST = "0.0.0.0"  # noqa: S104  asked for by --lan, limited to private networks


def run(
    config: ConfigOption = None,
    sets: SetOption = None,
    *,
    lan: Annotated[
        bool, typer.Option("--lan", help="Listen on all interfaces, for devices of private networks only.")
    ] = False,
    unsupervised: Annotated[
        bool, typer.Option("--unsupervised", help="Do not start again after a crash.", hidden=True)
    ] = False,
) -> None:
    """Start the gateway and serve until Ctrl-C or SIGTERM."""
    del unsupervised  # decided in gateway/__main__.py, before anything heavy is imported
    from gateway.log import configure_logging

    settings = load(config, sets)
    if lan:
        settings = opened_to_lan(settings)
    configure_logging(settings.gateway.log_format, settings.gateway.log_level)
    asyncio.run(_serve(settings, lan=lan))


def opened_to_lan(settings: Settings) -> Settings:
    """Return settings whose HTTP listener takes connections from private networks, and from no others."""
    from gateway.settings import PRIVATE_NETWORKS

    port = settings.http.listen.rpartition(":")[2]
    http = settings.http.model_copy(
        update={"listen": f"{LAN_LISTEN_HOST}:{port}", "allowed_networks": PRIVATE_NETWORKS}
    )
    return settings.model_copy(update={"http": http})


async def _serve(settings: Settings, *, lan: bool) -> None:
    from gateway.app import App
    from gateway.banner import start_banner

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, _stop_once, stop)
    app = App(settings, environment=os.environ)

    def on_ready(ready: App) -> None:
        sys.stdout.write(start_banner(ready, lan=lan))
        sys.stdout.flush()

    await app.run(stop, on_ready=on_ready)


def _stop_once(stop: asyncio.Event) -> None:
    if stop.is_set():
        os._exit(130)  # a second signal means: now
    stop.set()


def check(config: ConfigOption = None, sets: SetOption = None) -> None:
    """Check settings, model and data directory without starting; prints every value and where it came from."""
    from gateway.commands.check import print_check

    print_check(load(config, sets))
