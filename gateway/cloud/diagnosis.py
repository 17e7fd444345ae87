"""Why a connection failed, for logs and operators: a slug and a sentence with the cure. Pure.

The SDK wraps what happened in errors of its own that say little; the chain of causes still has the operating system's
or OpenSSL's error. SDK classes are known here by name, so that nobody but the SDK process imports them.
"""

import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from gateway import RELEASED_AT

_CLOCK = (
    "this machine's clock is wrong (it says {now:%Y-%m-%d %H:%M} UTC): mend NTP, or set the clock; certificates and "
    "keys are refused until then"
)
_CREDENTIALS = (
    "the hub refused the credentials: check that the device exists and is enabled, that the key is the device's "
    "(primary or secondary), and this machine's clock (it says {now:%Y-%m-%d %H:%M} UTC)"
)

_EDGE_REFUSED = (
    "the IoT Edge runtime did not sign for this module: was the module deployed anew (another generation id)? See "
    "`iotedge list` and `iotedge system logs`"
)
_PROVISIONING_REFUSED = (
    "the provisioning service did not assign a hub: check the scope and the registration id, and that the enrolment is "
    "enabled and of this kind (individual or group, key or certificate)"
)
_EDGE_SILENT = (
    "the IoT Edge runtime does not answer at its workload socket (IOTEDGE_WORKLOADURI): is it mounted into this "
    "container, and does aziot-edged run? See `iotedge check`"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """``reason`` is a slug with few values, for metrics; ``detail`` is for the operator."""

    reason: str
    detail: str


def diagnose(error: BaseException, *, now: datetime) -> Diagnosis:
    """Return what an error of the SDK means. Never holds a secret: only texts of ours, OpenSSL's and the system's."""
    chain = list(causes(error))
    finds = (_of_edge_runtime(chain), _of_provisioning(chain), *(_of_system(cause, now) for cause in reversed(chain)))
    for found in filter(None, finds):
        return found
    names = {type(cause).__name__ for cause in chain}
    if names & {"CredentialError", "UnauthorizedError"}:
        return _credentials(now)
    if "OperationTimeout" in names:
        return Diagnosis(reason="connect_timeout", detail="the hub did not answer in time")
    if names & {"ConnectionDroppedError", "OperationCancelled", "NoConnectionError"}:
        return Diagnosis(reason="dropped", detail="the connection was closed by the hub or the network")
    if "ConnectionFailedError" in names:
        return Diagnosis(reason="refused_by_hub", detail=f"the hub is not available now: {_words(chain[-1])}")
    return Diagnosis(reason="sdk_error", detail=_words(chain[-1]))


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, what caused it, and so on."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        # PySocks keeps the system's error in an attribute and chains nothing.
        cause = cause.__cause__ or getattr(cause, "socket_err", None)


def _of_edge_runtime(chain: list[BaseException]) -> Diagnosis | None:
    """Return what went wrong at the workload socket of IoT Edge; only a module speaks HTTP (requests) to it."""
    if any(type(cause).__name__ == "IoTEdgeError" for cause in chain):
        return Diagnosis(reason="edge_runtime_refused", detail=_EDGE_REFUSED)
    if any(type(cause).__module__.partition(".")[0] == "requests" for cause in chain):
        return Diagnosis(reason="edge_runtime_silent", detail=_EDGE_SILENT)
    return None


def _of_provisioning(chain: list[BaseException]) -> Diagnosis | None:
    for cause in chain:
        if type(cause).__name__ == "ServiceError":
            return Diagnosis(reason="provisioning_refused", detail=f"{_PROVISIONING_REFUSED} ({cause})")
    return None


def _of_system(cause: BaseException, now: datetime) -> Diagnosis | None:
    if isinstance(cause, ssl.SSLCertVerificationError):
        return _certificate(cause, now)
    if isinstance(cause, OSError) and cause.filename:
        return Diagnosis(reason="file_unreadable", detail=f"{cause.filename}: {cause.strerror}")
    if isinstance(cause, OSError) and _is_of_proxy(cause):
        return _proxy(cause)
    if isinstance(cause, TimeoutError) and "handshake" in str(cause):
        return Diagnosis(reason="tls_timeout", detail="the hub's port is open, but TLS was never answered")
    for kind, reason, detail in _SYSTEM_ERRORS:
        if isinstance(cause, kind):
            return Diagnosis(reason=reason, detail=f"{detail} ({_words(cause)})")
    return None


# In this order: each kind is a subclass of OSError, the last.
_SYSTEM_ERRORS: tuple[tuple[type[OSError], str, str], ...] = (
    (ssl.SSLError, "tls_failed", "TLS failed"),
    (socket.gaierror, "dns_failed", "the hub's (or the proxy's) name can't be resolved: no network, or a typo"),
    (TimeoutError, "tcp_timeout", "no answer from the hub's (or the proxy's) address: a firewall?"),
    (ConnectionRefusedError, "tcp_refused", "the hub's (or the proxy's) port is closed"),
    (OSError, "network_down", "the network failed"),
)


def _certificate(error: ssl.SSLCertVerificationError, now: datetime) -> Diagnosis:
    said = error.verify_message or _words(error)
    # X509_V_ERR_CERT_NOT_YET_VALID: the hub's certificate is from our future. (Expired may be the hub's fault.)
    if "not yet valid" in said or now < RELEASED_AT:
        return Diagnosis(reason="clock_wrong", detail=_CLOCK.format(now=now))
    return Diagnosis(
        reason="certificate_refused",
        detail=f"the hub's certificate was not accepted: {said}; for an edge gateway or a stand-in set cloud.ca_file",
    )


def _credentials(now: datetime) -> Diagnosis:
    if now < RELEASED_AT:
        return Diagnosis(reason="clock_wrong", detail=_CLOCK.format(now=now))
    return Diagnosis(reason="credentials_refused", detail=_CREDENTIALS.format(now=now))


def _is_of_proxy(cause: OSError) -> bool:
    return any(kind.__name__ == "ProxyError" for kind in type(cause).__mro__)


def _proxy(cause: OSError) -> Diagnosis:
    said = _words(cause)
    if "407" in said:
        return Diagnosis(reason="proxy_refused", detail="the proxy wants a user and a password, or others: cloud.proxy")
    return Diagnosis(reason="proxy_failed", detail=f"the proxy did not open a way to the hub: {said}")


def _words(cause: BaseException) -> str:
    return f"{type(cause).__name__}: {cause}" if str(cause) else type(cause).__name__
