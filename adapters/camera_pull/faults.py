"""What goes wrong with a camera. The reasons are the labels of a metric: a closed set."""

from enum import StrEnum

from gateway.errors import GatewayError


class Reason(StrEnum):
    """Why there is no picture."""

    NAME_UNKNOWN = "name_unknown"
    ADDRESS_REFUSED = "address_refused"  # camera_pull.allowed_networks
    NOT_REACHED = "not_reached"
    CERTIFICATE_REFUSED = "certificate_refused"
    TLS_FAILED = "tls_failed"
    TIMED_OUT = "timed_out"
    LOGIN_REFUSED = "login_refused"
    LOGIN_UNKNOWN = "login_unknown"  # it asks for a kind of login that we do not know, or was not given
    REDIRECT_REFUSED = "redirect_refused"
    STATUS = "status"  # neither 200 nor one that has a reason of its own
    NOT_HTTP = "not_http"
    NO_PICTURE = "no_picture"
    TRUNCATED = "truncated"
    TOO_LARGE = "too_large"


class CameraFault(GatewayError):
    """The camera gave no picture this time. The text is bounded, and holds no login."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
