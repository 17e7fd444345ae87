"""``gateway run`` and ``gateway check``."""

import asyncio
import faulthandler
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import structlog
import typer

from gateway import __version__
from gateway.banner import BannerFacts, Standing, render
from gateway.commands.options import ConfigOption, SetOption, load
from gateway.respawn import LAST_EXIT_VARIABLE
from gateway.service_manager import READY, STOPPING, ServiceManager
from gateway.settings import HttpSettings, MqttSettings, Network, Settings, parse_listen
from gateway.tls.host_names import addresses_for_devices

if TYPE_CHECKING:
    from gateway.app import App
    from gateway.tls.server import ServerTls

log = structlog.get_logger(__name__)

# Both a clean end and asyncio's own SIGINT handling stay out of the way: one event, two signals.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
EXAMPLE = Path("examples/banana-ripe.jpg")
LABELS_SHOWN = 6
# Left there by Docker and by Podman; systemd-nspawn and Podman also set the variable "container".
CONTAINER_MARKS = (Path("/.dockerenv"), Path("/run/.containerenv"))
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
    from gateway.confidential import keep_memory_private
    from gateway.heap import give_freed_memory_back
    from gateway.log import configure_logging, tell_left_out

    faulthandler.enable()  # a native crash, or the watchdog's SIGABRT, says on standard error where each thread was
    give_freed_memory_back()  # before any thread starts: arenas are made per thread
    settings = load(config, sets)
    if not settings.gateway.core_dumps:
        keep_memory_private()
    if lan:
        settings = opened_to_lan(settings)
    configure_logging(settings.gateway.log_format, settings.gateway.log_level)
    for warning in settings.warnings:
        log.warning("settings_warning", where=warning.where, key=warning.key, text=warning.text, cure=warning.cure)
    _allow_connections(settings)
    try:
        asyncio.run(_serve(settings, lan=lan))
    finally:
        tell_left_out(at_end=True)


def _allow_connections(settings: Settings) -> None:
    from gateway.descriptors import allow_descriptors, descriptors_needed

    needed = descriptors_needed(settings)
    allowed = allow_descriptors(needed)
    if allowed < needed:
        cure = "raise the hard limit (systemd: LimitNOFILE=, Docker: --ulimit nofile=), or lower *.connections_max"
        log.warning("open_files_limited", allowed=allowed, needed=needed, cure=cure)


def opened_to_lan(settings: Settings) -> Settings:
    """Return settings whose device listeners take connections from private networks, and from no others."""
    from gateway.settings import PRIVATE_NETWORKS

    def opened(section: HttpSettings | MqttSettings) -> dict[str, object]:
        port = section.listen.rpartition(":")[2]
        # A listener that is off stays off, and networks that the operator named stay the only ones.
        return {
            "listen": f"{LAN_LISTEN_HOST}:{port}" if section.listen else "",
            "allowed_networks": section.allowed_networks or PRIVATE_NETWORKS,
            # Unless the operator chose otherwise.
            "access": "open" if section.access == "auto" else section.access,
        }

    http = settings.http.model_copy(update=opened(settings.http))
    mqtt = settings.mqtt.model_copy(update=opened(settings.mqtt))
    return settings.model_copy(update={"http": http, "mqtt": mqtt})


async def _serve(settings: Settings, *, lan: bool) -> None:
    from gateway.app import App

    stop = asyncio.Event()
    manager = ServiceManager(os.environ)
    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, _stop_once, stop, manager)
    app = App(settings, environment=os.environ)

    # systemd's clock starts with the first ping, and a start may be at one import, or at a large file, for longer than
    # that allows: it has a time of its own (TimeoutStartSec). After a crash the clock runs already.
    may_ping = asyncio.Event()
    if LAST_EXIT_VARIABLE in os.environ:
        may_ping.set()

    async def on_ready(ready: App) -> None:
        manager.tell(READY, "STATUS=serving")
        may_ping.set()
        sys.stdout.write(render(await _facts(ready, lan=lan)))
        sys.stdout.flush()

    beside = [
        asyncio.create_task(manager.keep_pinging(may_ping), name="service_manager"),
        asyncio.create_task(_tell_left_out(), name="log_lines_left_out"),
    ]
    try:
        await app.run(stop, on_ready=on_ready)
    finally:
        for task in beside:
            task.cancel()


async def _tell_left_out() -> None:
    """Tell of log lines that were left out also when nothing else is logged any more."""
    from gateway.log import tell_left_out
    from gateway.log_flood import WINDOW_S

    while True:
        await asyncio.sleep(WINDOW_S)
        tell_left_out()


async def _facts(app: "App", *, lan: bool) -> BannerFacts:
    settings, model = app.settings, app.classifier.description
    uplink = app.uplink()
    faces = app.faces()
    devices = dict(faces).get("http", "")
    return BannerFacts(
        version=__version__,
        gateway_id=settings.gateway.id,
        faces=faces,
        standing=_standing(app),
        curl_options=_curl_options(app),
        device_url=(devices or f"http://{settings.http.listen}").replace("//0.0.0.0", "//127.0.0.1"),
        model=f"{model.identity.name}: {', '.join(model.labels[:LABELS_SHOWN])}"
        f"{', ...' if len(model.labels) > LABELS_SHOWN else ''} ({model.identity.runtime}, "
        f"{app.limits.workers} worker{'s' if app.limits.workers > 1 else ''}, {model.source})",
        data_file=str(settings.gateway.data_dir / "outbox.db"),
        waiting=(await app.outbox.state()).pending,
        uplink=_uplink_text(uplink),
        example_picture=_example(),
        lan=lan,
    )


def _standing(app: "App") -> dict[str, Standing]:
    http, mqtt = app.settings.http, app.settings.mqtt

    def standing(
        section: HttpSettings | MqttSettings, tls: "ServerTls | None", interface: str, plain: Sequence[Network]
    ) -> Standing:
        listens = parse_listen(section.listen) if section.listen else None
        return Standing(
            access=section.effective_access,
            tls="" if tls is None else tls.describe(),
            networks=tuple(str(network) for network in section.allowed_networks),
            interface=interface,
            plain_networks=tuple(str(network) for network in plain),
            is_loopback=listens is not None and listens.is_loopback,
            addresses=_addresses(interface) if listens is not None and listens.is_every_interface else (),
        )

    return {
        "http": standing(http, app.tls.http, http.interface, http.plain_networks),
        "mqtt_listener": standing(mqtt, app.tls.mqtt, mqtt.listen_interface, mqtt.listen_plain_networks),
    }


def _addresses(interface: str) -> Sequence[str]:
    """Return where devices reach this machine; nothing in a container, whose addresses only its host knows."""
    if "container" in os.environ or any(path.exists() for path in CONTAINER_MARKS):
        return ()
    return addresses_for_devices(interface)


def _curl_options(app: "App") -> str:
    """Return what curl must be told to be served, each with a space behind it."""
    trusted = None if app.tls.http is None else app.tls.http.trusted_file
    authority = f"--cacert {trusted} " if trusted is not None else ""
    proof = "" if app.settings.http.effective_access == "open" else "-H 'Authorization: Bearer TOKEN' "
    return authority + proof


def _example() -> str:
    """Return a picture to try: an installed package has no examples folder, a checkout does."""
    return str(EXAMPLE) if EXAMPLE.is_file() else "picture.jpg"


def _uplink_text(uplink: Mapping[str, object]) -> str:
    if uplink["state"] == "not configured":
        return "not configured: buffering (set cloud.connection_string to forward)"
    reason = uplink["reason"]
    return f"{uplink['state']}" + (f" ({reason})" if reason else "")


def _stop_once(stop: asyncio.Event, manager: ServiceManager) -> None:
    if stop.is_set():
        os._exit(130)  # a second signal means: now
    manager.tell(STOPPING, "STATUS=stopping")
    stop.set()


ShowOption = Annotated[bool, typer.Option(help="Print every setting and where it came from, secrets masked.")]


def check(config: ConfigOption = None, sets: SetOption = None, *, show: ShowOption = True) -> None:
    """Check settings, model and data directory without starting; prints every value and where it came from."""
    from gateway.commands.check import print_check

    print_check(load(config, sets), show=show)
