"""Every error that crosses a module's border.

Two families reach devices: :class:`Rejected` (do not send this again) and
:class:`Unavailable` (send the same again later). Each leaf carries a stable
``reason`` slug, the HTTP status that says the same thing, and a ``hint`` with
the cure. Adapters translate these, and only these, to their protocol.
"""

from typing import ClassVar


class GatewayError(Exception):
    """Base of all errors that this project raises on purpose."""


# --- what a device is told ----------------------------------------------------------------------------


class SubmissionError(GatewayError):
    """A submission was not committed. ``str(error)`` says what was wrong, ``hint`` how to mend it."""

    reason: ClassVar[str] = "submission_error"
    http_status: ClassVar[int] = 500
    hint: ClassVar[str] = ""

    def __init__(self, detail: str, *, hint: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.cure = self.hint if hint is None else hint


class Rejected(SubmissionError):
    """The submission will never be accepted as it is: the device must not send it again."""

    reason = "rejected"
    http_status = 400


class NotAnImage(Rejected):
    reason = "not_an_image"
    http_status = 415
    hint = "send a JPEG, PNG, BMP, GIF or WebP picture; the content counts, not the Content-Type"


class ImageDamaged(Rejected):
    reason = "image_damaged"
    http_status = 422
    hint = "the picture is truncated or broken: check the transfer and send it again from the camera"


class PayloadTooLarge(Rejected):
    reason = "payload_too_large"
    http_status = 413
    hint = "send fewer bytes, or raise limits.image_bytes_max or limits.reading_bytes_max"


class TooManyPixels(Rejected):
    reason = "too_many_pixels"
    http_status = 413
    hint = "send a smaller picture, or raise limits.memory_budget_mb"


class ReadingInvalid(Rejected):
    reason = "reading_invalid"
    http_status = 422
    hint = "send a JSON object of values, or an array of such objects (SenML records are accepted)"


class RequestInvalid(Rejected):
    """The request around the payload is wrong: device id, idempotency key, time stamp, form."""

    reason = "request_invalid"
    http_status = 400


class PayloadInvalid(Rejected):
    """The payload is a text around a picture, and that text is wrong."""

    reason = "payload_invalid"
    http_status = 422
    hint = (
        'send the picture\'s bytes, or JSON like {"image": "<base64 or data URL>"}; '
        "over MQTT mqtt.image_field names the field"
    )


class NotAuthenticated(Rejected):
    """The client has not proved to be a known device."""

    reason = "not_authenticated"
    http_status = 401
    hint = (
        "send the device's token (Authorization: Bearer, Basic, Prediction-Key or ?key=); "
        "`gateway devices add` makes one"
    )


class DeviceUnknown(Rejected):
    """The listener serves known devices only."""

    reason = "device_unknown"
    http_status = 403
    hint = "`gateway devices add` makes a device known"


class CommandInvalid(GatewayError):
    """A cloud-to-device message that no device can be told; ``str(error)`` says what is wrong and how to mend it."""


class CommandUnknown(GatewayError):
    """The device is here and knows no such command."""


class SubmissionIdReused(Rejected):
    reason = "submission_id_reused"
    http_status = 422
    hint = "use a new Idempotency-Key for each new payload"


class PoisonPayload(Rejected):
    """This payload was being worked on when the process crashed, more than once."""

    reason = "poison_payload"
    http_status = 422
    hint = "this exact payload crashed the gateway before; send a different picture and report its sha256"


class ProcessingFailed(Rejected):
    """A Python error while handling this one payload; the log has it under the same reference."""

    reason = "processing_failed"
    http_status = 422
    hint = "the gateway's log holds the error under the reference given"


class Unavailable(SubmissionError):
    """Nothing is wrong with the submission: the device keeps it and sends it again after ``retry_after_s``."""

    reason = "unavailable"
    http_status = 503
    retry_after_s: float = 5.0

    def __init__(self, detail: str, *, hint: str | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(detail, hint=hint)
        if retry_after_s is not None:
            self.retry_after_s = retry_after_s


class IntakeFull(Unavailable):
    reason = "intake_full"
    hint = "too many submissions at once: retry later"
    retry_after_s = 1.0


class TooManyFailures(Unavailable):
    reason = "too_many_failures"
    http_status = 429
    hint = "wait, then send the right secret"


class SubmitTimeout(Unavailable):
    reason = "submit_timeout"
    hint = "the gateway did not finish in time: send the same again"


class OutboxFull(Unavailable):
    reason = "outbox_full"
    hint = (
        "the outbox reached its cap; it empties when the uplink returns, or raise outbox.rows_max or outbox.bytes_max"
    )
    retry_after_s = 60.0


class DiskUnavailable(Unavailable):
    """The disk is full or failing: nothing was stored."""

    reason = "disk_unavailable"
    hint = "free disk space under gateway.data_dir, or check the card"
    retry_after_s = 60.0


class Stopping(Unavailable):
    reason = "stopping"
    hint = "the gateway is stopping or starting: send the same again"


# --- what an operator is told -------------------------------------------------------------------------


class OperatorError(GatewayError):
    """Stops a command with exit code 2; the text says what, where and how to mend it."""


class BundleInvalid(OperatorError):
    """A model bundle that can't be served."""


class DataDirectoryLocked(OperatorError):
    """Another gateway owns this data directory."""


class OutboxUnusable(OperatorError):
    """The outbox file can't be opened as it is: damaged, from a newer version, or not ours."""


class OutboxDamaged(OutboxUnusable):
    """The outbox file is damaged. The next start sets it aside, begins a new one and saves what is whole.

    ``why`` is what was seen, in a few words.
    """

    def __init__(self, detail: str, *, why: str = "") -> None:
        super().__init__(detail)
        self.why = why or detail


class DiskNotReady(GatewayError):
    """The outbox can't be opened because the disk is full or failing: worth another start later, unlike a mistake."""


class AdapterUnavailable(GatewayError):
    """An adapter can't start or has broken; it is restarted with back-off and the rest runs on."""


# --- what the forwarder handles -----------------------------------------------------------------------


class CloudError(GatewayError):
    """Base of what a cloud link reports. ``reason`` is a slug for logs and metrics."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(detail or reason)
        self.reason = reason
        self.detail = detail or reason


class LinkDown(CloudError):
    """There is no usable session. Says nothing on whether messages in flight arrived."""


class MessageRefused(CloudError):
    """This one message can never be accepted (too large, malformed); the session is still usable."""
