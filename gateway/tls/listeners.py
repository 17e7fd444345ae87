"""Which listeners speak TLS, and with which certificate, as the settings say."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gateway.ports import Clock
from gateway.settings import Settings
from gateway.tls.certificates import Certificate, LocalCertificate, OwnCertificate
from gateway.tls.files import AUTHORITY, FOLDER
from gateway.tls.host_names import host_names
from gateway.tls.server import ClientCertificates, ServerTls


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenersTls:
    """None: that listener speaks plainly."""

    http: ServerTls | None
    mqtt: ServerTls | None


def listeners_tls(settings: Settings, clock: Clock) -> ListenersTls:
    """Return what each listener speaks TLS with; nothing is read or made yet."""
    http, mqtt = settings.http, settings.mqtt
    shared = _certificate(settings)
    own = _pair(mqtt.listen_certificate_file, mqtt.listen_key_file, "mqtt.listen_certificate_file")

    def serving(certificate: Certificate, clients: ClientCertificates) -> ServerTls:
        return ServerTls(
            certificate=certificate,
            clients=clients,
            client_ca_file=settings.tls.client_ca_file or settings.gateway.data_dir / FOLDER / AUTHORITY,
            check_client_dates=settings.tls.check_client_dates,
            clock=clock,
        )

    return ListenersTls(
        http=serving(shared, http.client_certificates) if http.enabled and http.tls else None,
        mqtt=serving(own or shared, mqtt.listen_client_certificates) if mqtt.listen and mqtt.uses_tls else None,
    )


def _certificate(settings: Settings) -> Certificate:
    own = _pair(settings.tls.certificate_file, settings.tls.key_file, "tls.certificate_file")
    return own or LocalCertificate(settings.gateway.data_dir, partial(host_names, settings.tls.names))


def _pair(certificate_file: Path | None, key_file: Path | None, setting: str) -> OwnCertificate | None:
    if certificate_file is None or key_file is None:
        return None
    return OwnCertificate(certificate_file, key_file, setting=setting)
