"""Refusals that only HTTP can make; they travel like every other :class:`~gateway.errors.SubmissionError`."""

from gateway.errors import Rejected, Unavailable


class EventUnknown(Rejected):
    reason = "event_unknown"
    http_status = 404
    hint = "the id is the submission_id of the answer, with /n for an element of an array; old events are pruned"


class RouteUnknown(Rejected):
    reason = "route_unknown"
    http_status = 404
    hint = "POST pictures to /image or /v1/devices/{device_id}/images; case counts, and so does a slash at the end"


class MethodNotAllowed(Rejected):
    reason = "method_not_allowed"
    http_status = 405
    hint = "the Allow header names the methods of this path"


class UrlFetchOff(Rejected):
    reason = "url_fetch_off"
    http_status = 403
    hint = "send the picture's bytes to the path that ends in /image, or name the host in http.url_fetch.allowed_hosts"


class UrlRefused(Rejected):
    reason = "url_refused"
    http_status = 403
    hint = "http.url_fetch.allowed_hosts names the hosts, http.url_fetch.allowed_networks the private ranges"


class UrlAnswerUnusable(Rejected):
    """The other server answered, and sending the same again would not help."""

    reason = "url_answer_unusable"
    http_status = 422
    hint = "open the URL in a browser on the same network: it must answer 200 with a picture"


class UrlNotFetched(Unavailable):
    """The other server did not answer, or says that it may later."""

    reason = "url_not_fetched"
    hint = "the picture's server did not answer in time: send the same again later"
    retry_after_s = 10.0
