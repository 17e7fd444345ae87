"""Open files: every connection of a device is one, and the usual limit of 1024 is a soft one that we may raise."""

import resource

from gateway.holders import HANDSHAKES_MAX
from gateway.settings import Settings

# Beside connections: the outbox and its readers, the log, listeners, the control socket, the SDK's child, the broker,
# D-Bus, and what libraries keep open. 22 were counted with a hub, a broker and every listener in use.
OTHER_FILES = 128


def descriptors_needed(settings: Settings) -> int:
    """Return how many files may be open at once when every face is full."""
    http = settings.http.connections_max if settings.http.enabled else 0
    mqtt = settings.mqtt.connections_max if settings.mqtt.listen else 0
    handshakes = HANDSHAKES_MAX * (settings.http.tls + settings.mqtt.uses_tls)
    return http + mqtt + handshakes + len(settings.camera_pull.camera) + OTHER_FILES


def allow_descriptors(needed: int) -> int:
    """Raise this process's limit to ``needed`` as far as its hard limit lets us; return what is allowed then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    wanted = needed if hard == unlimited else min(needed, hard)
    if soft != unlimited and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return needed if soft == unlimited else soft
