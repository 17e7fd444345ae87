"""What must hold between the settings of TLS. Each check is a generator as in relations.py."""

from collections.abc import Iterator

from gateway.settings.problems import Fault
from gateway.settings.sections import Settings


def pair(settings: Settings) -> Iterator[Fault]:
    given = [name for name in ("certificate_file", "key_file") if getattr(settings.tls, name)]
    if len(given) == 1:
        missing = "key_file" if given == ["certificate_file"] else "certificate_file"
        yield ("tls", given[0]), f"needs {missing} too", f'Set both, for example {missing} = "gateway.pem".'


def http(settings: Settings) -> Iterator[Fault]:
    if settings.http.client_certificates != "off" and not settings.http.tls:
        yield ("http", "client_certificates"), "needs TLS, and http.tls is off", "Set http.tls = true."


def mqtt(settings: Settings) -> Iterator[Fault]:
    if settings.mqtt.listen_client_certificates != "off" and not settings.mqtt.uses_tls:
        yield (
            ("mqtt", "listen_client_certificates"),
            "needs TLS, and mqtt.listen_tls is off",
            "Set mqtt.listen_tls = true.",
        )
