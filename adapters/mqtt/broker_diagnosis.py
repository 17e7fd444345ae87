"""Why a broker is not usable, in words an operator can act on. Pure: errors and codes in, :class:`Lost` out."""

import socket
import ssl

from adapters.mqtt.broker_options import BrokerOptions
from gateway.errors import AdapterUnavailable


class Lost(AdapterUnavailable):
    """The connection can't be made or has ended. ``reason`` is a slug for logs and metrics."""

    def __init__(self, reason: str, detail: str, cure: str = "") -> None:
        super().__init__(f"{detail}. {cure}" if cure else detail)
        self.reason = reason
        self.detail = detail
        self.cure = cure


# MQTT 3.1.1 section 3.2.2.3, table 3.1.
_REFUSALS = {
    1: ("protocol_refused", "does not speak MQTT 3.1.1", "Switch MQTT 3.1.1 on in the broker."),
    2: ("client_id_refused", "does not take our client id", "Set mqtt.client_id to one that the broker allows."),
    3: ("broker_unavailable", "says that it is not available", "Look at the broker's own log."),
    4: ("login_refused", "refuses the login", "Correct mqtt.username and mqtt.password_file."),
    5: (
        "not_authorised",
        "does not let us in",
        "Correct mqtt.username and mqtt.password_file, or allow this login (or anonymous ones) in the broker.",
    ),
}


def refused_connection(code: int, options: BrokerOptions) -> Lost:
    """Explain the return code of a CONNACK."""
    reason, detail, cure = _REFUSALS.get(code, ("refused", f"refuses us with code {code}", "Look at the broker's log."))
    return Lost(reason, f"the broker at {options.url} {detail}", cure)


def refused_subscription(filters: list[str], options: BrokerOptions) -> Lost:
    """Explain a SUBACK with failure codes."""
    return Lost(
        "subscription_refused",
        f"the broker at {options.url} does not let us subscribe to {', '.join(filters)}",
        f"Let {options.username or options.client_id} read these topics in the broker's access list.",
    )


def closed_by_broker(options: BrokerOptions, *, subscribed: bool) -> Lost:
    """Explain an end without a word. MQTT 3.1.1 brokers can't give a reason."""
    if subscribed:
        return Lost(
            "closed",
            f"the broker at {options.url} closed the connection",
            f'If this repeats, another client connects as "{options.client_id}": give each its own mqtt.client_id.',
        )
    cure = (
        "Look at the broker's log: it may want a client certificate (mqtt.certificate_file and mqtt.key_file)."
        if options.tls
        else "If that port is for TLS, write mqtts:// in mqtt.url."
    )
    return Lost("closed_at_connect", f"{options.url} closed the connection before accepting us", cure)


def unusable_files(error: OSError, options: BrokerOptions) -> Lost:
    """Explain TLS files that can't be loaded."""
    names = [str(path) for path in (options.ca_file, options.certificate_file, options.key_file) if path is not None]
    return Lost(
        "tls_files_unusable",
        f"TLS can't be set up with {', '.join(names) or 'the authorities of this system'}: {error}",
        "Correct mqtt.ca_file, mqtt.certificate_file and mqtt.key_file: PEM, readable, the key not encrypted.",
    )


def not_answering(options: BrokerOptions, awaited: str) -> Lost:
    """Explain a deadline that passed while connecting."""
    return Lost(
        "timeout",
        f"{options.url} sent no {awaited} within {options.connect_timeout_s:g} s",
        "Look whether it is an MQTT broker, and at the firewall between.",
    )


def silent(options: BrokerOptions) -> Lost:
    """Explain a half-open link."""
    return Lost("silent", f"{options.url} has been silent for {1.5 * options.keepalive_s:g} s")


def not_mqtt(options: BrokerOptions, error: Exception) -> Lost:
    """Explain bytes that are no MQTT."""
    return Lost(
        "protocol_error",
        f"{options.url} sends what is no MQTT 3.1.1 ({error})",
        "Look at mqtt.url: is that port an MQTT broker's? If it is for TLS, write mqtts://.",
    )


def network_error(error: OSError, options: BrokerOptions) -> Lost:
    """Explain what the operating system or TLS says."""
    if isinstance(error, ssl.SSLError):
        return _tls_error(error, options)
    if isinstance(error, socket.gaierror):
        return Lost(
            "name_unknown", f"the name {options.host} is not known here", "Correct mqtt.url, or the site's DNS."
        )
    if isinstance(error, ConnectionRefusedError):
        return Lost("connection_refused", f"nothing listens at {options.url}", "Start the broker, or correct mqtt.url.")
    if isinstance(error, TimeoutError):
        return Lost("timeout", f"{options.url} does not answer", "Look at mqtt.url and the firewall between.")
    if isinstance(error, ConnectionError):
        return Lost("connection_reset", f"the connection to {options.url} broke: {error}")
    return Lost("network", f"{options.url} can't be reached: {error}", "Look at this machine's network.")


def _tls_error(error: ssl.SSLError, options: BrokerOptions) -> Lost:
    if isinstance(error, ssl.SSLCertVerificationError):
        return Lost(
            "certificate_untrusted",
            f"the certificate of {options.url} is not to be trusted: {error.verify_message}",
            _certificate_cure(error.verify_code, options),
        )
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return Lost("closed", f"{options.url} broke the TLS connection off", "Look at the broker's log.")
    said = getattr(error, "reason", None) or str(error)
    if said == "WRONG_VERSION_NUMBER":
        return Lost("not_tls", f"{options.url} does not speak TLS", "Write mqtt:// in mqtt.url, or name the TLS port.")
    if "CERTIFICATE" in said or "UNKNOWN_CA" in said or "HANDSHAKE_FAILURE" in said:
        return Lost(
            "our_certificate_refused",
            f"{options.url} refuses our certificate: {said.lower().replace('_', ' ')}",
            "Name a certificate in mqtt.certificate_file and mqtt.key_file that the broker's authority has signed.",
        )
    return Lost("tls", f"TLS with {options.url} failed: {said.lower().replace('_', ' ')}", "Look at the broker's log.")


# X509_V_ERR_*, openssl/x509_vfy.h.
_NOT_YET_VALID, _EXPIRED, _HOSTNAME_MISMATCH, _IP_MISMATCH = 9, 10, 62, 64


def _certificate_cure(code: int, options: BrokerOptions) -> str:
    if code in {_HOSTNAME_MISMATCH, _IP_MISMATCH}:
        return "Write the name that the certificate is for in mqtt.url."
    if code in {_NOT_YET_VALID, _EXPIRED}:
        return "Renew the broker's certificate, or correct this machine's clock."
    if options.ca_file is None:
        return "Name the PEM of the authority that signed it in mqtt.ca_file."
    return f"mqtt.ca_file ({options.ca_file}) is not the authority that signed it: copy the new one there."
